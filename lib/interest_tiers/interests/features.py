"""Compute user_interests: the evidence of every interest that a user touched, and its features."""

from __future__ import annotations

import math
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import EVIDENCE_PARTS, LARGEST_WEIGHT, PAIR, exact_sum_of_values, summed_days, summed_evidence
from interest_tiers.interests.hierarchy import USER_LEVEL

#: Earlier days count as this one.
CALENDAR_BEGINS = date(1900, 1, 1)


def user_interests(days_of_items: DataFrame, cutoff: date, half_life_days: float, horizon_days: int, every_item: bool = False) -> DataFrame:
    """Compute one row per user and interest, as of the cutoff.

    days_of_items: (user_id, level, interest_id, item_id, event_date, weight, n_interactions, value), all before the cutoff
    every_item:    whether every item of a day counts, see evidence.are_on_one_day
    Returns:       the columns of user_interests but as_of
    """
    days_and_items = _days_and_items(days_of_items, cutoff, half_life_days, every_item)
    pairs = add_shares(days_and_items.groupBy(*PAIR, "level").agg(*_features(cutoff, horizon_days)))
    recency, tenure = (F.datediff(F.lit(cutoff), F.col(day)).cast("bigint") for day in ("last_day", "first_day"))
    return pairs.select(
        "user_id",
        "interest_id",
        "evidence",
        F.lit(0.0).alias("borrowed"),
        "share",
        "rank",
        "n_days",
        "n_items",
        recency.alias("recency_days"),
        tenure.alias("tenure_days"),
        "n_interactions",
        "n_days_recent",
        "n_days_previous",
        F.log2((F.col("n_days_recent") + 1) / (F.col("n_days_previous") + 1)).alias("trend"),
        F.when(F.col("n_days") > 1, (tenure - recency) / (F.col("n_days") - 1)).alias("mean_gap_days"),
        "total_value",
        "level",
    )


def _days_and_items(days_of_items: DataFrame, cutoff: date, half_life_days: float, every_item: bool) -> DataFrame:
    """Sum up per user, interest and day (item_id is null), and per user, interest and item (event_date is null).

    One shuffle by user and interest serves both. Counting the items in a frame of their own would compute the days
    of items twice and shuffle them once more.
    """
    calendar = _calendar(days_of_items.sparkSession, cutoff, half_life_days)
    first_day = F.date_sub(F.lit(cutoff), _days_that_count(half_life_days, cutoff))
    calendar_day = F.when(F.col("event_date") < first_day, first_day).otherwise(F.col("event_date")).alias("calendar_day")
    # Every day is in the calendar; an inner join would have every row of the source checked for a day.
    twice = days_of_items.repartition(*PAIR).select("*", calendar_day).join(F.broadcast(calendar), "calendar_day", "left")
    keys = (
        F.when(F.col("is_of_day"), F.col("event_date")).alias("event_date"),
        F.when(~F.col("is_of_day"), F.col("item_id")).alias("item_id"),
    )
    return twice.groupBy(*PAIR, "level", *keys).agg(*summed_days(every_item), F.max("decay").alias("decay"))


def _calendar(spark: SparkSession, cutoff: date, half_life_days: float) -> DataFrame:
    """Build two rows for every day that counts.

    A join with it repeats every row, with the decay of its day, without an explode and a power per row.

    Returns: (calendar_day date, decay double, is_of_day boolean), decay null where is_of_day is false
    """
    oldest = _days_that_count(half_life_days, cutoff)
    half_days = spark.range(0, 2 * (oldest + 1), numPartitions=1)
    age, is_of_day = F.floor(F.col("id") / 2).cast("int"), F.col("id") % 2 == 0
    decay = F.pow(F.lit(2.0), -age / F.lit(float(half_life_days)))
    return half_days.select(
        F.date_sub(F.lit(cutoff), age).alias("calendar_day"), F.when(is_of_day, decay).alias("decay"), is_of_day.alias("is_of_day")
    )


def _days_that_count(half_life_days: float, cutoff: date) -> int:
    """Compute the age in days at which the largest weight decays to nothing; at most that of CALENDAR_BEGINS."""
    until_nothing = math.ceil(half_life_days * math.log2(2 * LARGEST_WEIGHT * EVIDENCE_PARTS)) + 1
    return max(0, min(until_nothing, (cutoff - CALENDAR_BEGINS).days))


def _features(cutoff: date, horizon_days: int) -> list[Column]:
    recent, previous = (cutoff - timedelta(days=horizon_days * periods) for periods in (1, 2))
    # Null for the rows of items, which aggregates pass over.
    day = F.col("event_date")
    return [
        summed_evidence(F.col("weight") * F.col("decay")).alias("evidence"),
        F.count(day).alias("n_days"),
        F.count("item_id").alias("n_items"),
        F.max(day).alias("last_day"),
        F.min(day).alias("first_day"),
        F.sum(F.when(day.isNotNull(), F.col("n_interactions"))).alias("n_interactions"),
        F.count_if(day >= F.lit(recent)).alias("n_days_recent"),
        F.count_if((day >= F.lit(previous)) & (day < F.lit(recent))).alias("n_days_previous"),
        exact_sum_of_values(F.when(day.isNotNull(), F.col("value"))).alias("total_value"),
    ]


def add_shares(pairs: DataFrame) -> DataFrame:
    """Add share (of the user's evidence) and rank (1 for the most, ties by interest_id), within each level.

    pairs: (user_id, level, interest_id, evidence, ...)
    """
    user = Window.partitionBy(*USER_LEVEL)
    by_evidence = user.orderBy(F.desc("evidence"), "interest_id")
    # Summed in the order of the ranks, so that the last digit does not depend on how rows arrive.
    total = F.sum("evidence").over(by_evidence.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing))
    # Evidence so old that it rounds to nothing, or all taken away, is shared out evenly, so that shares sum to 1 for every user.
    even = F.lit(1.0) / F.count(F.lit(1)).over(user)
    return pairs.withColumn("rank", F.row_number().over(by_evidence).cast("bigint")).withColumn(
        "share", F.when(total > 0, F.col("evidence") / total).otherwise(even)
    )
