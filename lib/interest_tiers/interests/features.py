"""Compute user_interests: the evidence of every interest that a user touched, and its features."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import (
    PAIR,
    band_and_decay,
    count_bands,
    exact_sum_of_values,
    find_ages,
    sum_bands,
    summed_days,
)
from interest_tiers.interests.hierarchy import USER_LEVEL

#: Earlier days count as this one.
CALENDAR_BEGINS = date(1900, 1, 1)


def user_interests(days_of_items: DataFrame, cutoff: date, half_life_days: float, horizon_days: int) -> DataFrame:
    """Compute one row per user and interest, as of the cutoff.

    days_of_items: (user_id, level, interest_id, item_id, event_date, weight, n_interactions, value), all before the cutoff
    Returns:       the columns of user_interests but as_of
    """
    oldest_age, newest_age = find_ages(days_of_items, cutoff)
    # Where all is on one day, as in data without times, days tell nothing apart: every item of the day counts.
    days_and_items = _days_and_items(days_of_items, cutoff, half_life_days, oldest_age, every_item=oldest_age == newest_age)
    features = _features(cutoff, horizon_days, count_bands(oldest_age, half_life_days))
    pairs = add_shares(days_and_items.groupBy(*PAIR, "level").agg(*features))
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


def _days_and_items(days_of_items: DataFrame, cutoff: date, half_life_days: float, oldest_age: int, every_item: bool) -> DataFrame:
    """Sum up per user, interest and day (item_id is null), and per user, interest and item (event_date is null).

    One shuffle by user and interest serves both. Counting the items in a frame of their own would compute the days
    of items twice and shuffle them once more.
    """
    calendar = _calendar(days_of_items.sparkSession, cutoff, half_life_days, oldest_age)
    first_day = F.lit(CALENDAR_BEGINS)
    calendar_day = F.when(F.col("event_date") < first_day, first_day).otherwise(F.col("event_date")).alias("calendar_day")
    # Every day is in the calendar; an inner join would have every row of the source checked for a day.
    twice = days_of_items.repartition(*PAIR).select("*", calendar_day).join(F.broadcast(calendar), "calendar_day", "left")
    keys = (
        F.when(F.col("is_of_day"), F.col("event_date")).alias("event_date"),
        F.when(~F.col("is_of_day"), F.col("item_id")).alias("item_id"),
    )
    return twice.groupBy(*PAIR, "level", *keys).agg(*summed_days(every_item), F.max("decay").alias("decay"), F.max("band").alias("band"))


def _calendar(spark: SparkSession, cutoff: date, half_life_days: float, oldest_age: int) -> DataFrame:
    """Build two rows for every day from the oldest one on.

    A join with it repeats every row, with the decay of its day, without an explode and a power per row.

    Returns: (calendar_day date, decay double, band int, is_of_day boolean), decay null where is_of_day is false
    """
    oldest = max(0, min(oldest_age, (cutoff - CALENDAR_BEGINS).days))
    half_days = spark.range(0, 2 * (oldest + 1), numPartitions=1)
    age, is_of_day = F.floor(F.col("id") / 2).cast("int"), F.col("id") % 2 == 0
    band, decay = band_and_decay(age, half_life_days, count_bands(oldest_age, half_life_days))
    return half_days.select(
        F.date_sub(F.lit(cutoff), age).alias("calendar_day"),
        F.when(is_of_day, decay).alias("decay"),
        band.alias("band"),
        is_of_day.alias("is_of_day"),
    )


def _features(cutoff: date, horizon_days: int, n_bands: int) -> list[Column]:
    recent, previous = (cutoff - timedelta(days=horizon_days * periods) for periods in (1, 2))
    # Null for the rows of items, which aggregates pass over.
    day = F.col("event_date")
    return [
        sum_bands(F.col("weight"), F.col("band"), F.col("decay"), n_bands).alias("evidence"),
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

    Shares are 0 where all evidence was taken away: no interest holds a part of nothing.

    pairs: (user_id, level, interest_id, evidence, ...)
    """
    user = Window.partitionBy(*USER_LEVEL)
    by_evidence = user.orderBy(F.desc("evidence"), "interest_id")
    # Summed in the order of the ranks, so that the last digit does not depend on how rows arrive.
    total = F.sum("evidence").over(by_evidence.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing))
    return pairs.withColumn("rank", F.row_number().over(by_evidence).cast("bigint")).withColumn(
        "share", F.when(total > 0, F.col("evidence") / total).otherwise(F.lit(0.0))
    )
