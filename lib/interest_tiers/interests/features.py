"""user_interests: the evidence of every interest that a user touched, and its features."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.evidence import VALUE_PARTS, decay, exact_sum, summed_days, summed_evidence

PAIR = ["user_id", "interest_id"]


def user_interests(days_of_items: DataFrame, as_of: date, half_life_days: float, horizon_days: int) -> DataFrame:
    """One row per user and interest, as of a day.

    days_of_items: see evidence.item_days, all before as_of.
    Returns the columns of the table user_interests but as_of.
    """
    touched = _days_and_items(days_of_items).groupBy(*PAIR)
    return with_shares(touched.agg(*_features(as_of, half_life_days, horizon_days))).select(
        "user_id",
        "interest_id",
        "evidence",
        F.lit(0.0).alias("borrowed"),
        "share",
        "rank",
        "n_days",
        "n_items",
        "recency_days",
        "tenure_days",
        "n_interactions",
        "n_days_recent",
        "n_days_previous",
        F.log2((F.col("n_days_recent") + 1) / (F.col("n_days_previous") + 1)).alias("trend"),
        F.when(F.col("n_days") > 1, (F.col("tenure_days") - F.col("recency_days")) / (F.col("n_days") - 1)).alias("mean_gap_days"),
        "total_value",
    )


def _days_and_items(days_of_items: DataFrame) -> DataFrame:
    """One row per user, interest and day (item_id is null), and one per user, interest and item (event_date is null).

    Counting the items in a frame of their own would compute the days of items twice and shuffle them once more per
    level. Here they are shuffled once, by user and interest, and all that follows stays where it is.
    """
    is_of_day = F.explode(F.array(F.lit(True), F.lit(False)))
    twice = days_of_items.repartition(*PAIR).withColumn("is_of_day", is_of_day)
    keys = (
        F.when(F.col("is_of_day"), F.col("event_date")).alias("event_date"),
        F.when(~F.col("is_of_day"), F.col("item_id")).alias("item_id"),
    )
    return twice.groupBy(*PAIR, *keys).agg(*summed_days())


def _features(as_of: date, half_life_days: float, horizon_days: int) -> list[Column]:
    recent, previous = (as_of - timedelta(days=horizon_days * periods) for periods in (1, 2))
    # Null for the rows of items, which aggregates pass over.
    day = F.col("event_date")
    return [
        summed_evidence(F.col("weight") * decay(as_of, half_life_days)).alias("evidence"),
        F.count(day).alias("n_days"),
        F.count("item_id").alias("n_items"),
        F.datediff(F.lit(as_of), F.max(day)).cast("bigint").alias("recency_days"),
        F.datediff(F.lit(as_of), F.min(day)).cast("bigint").alias("tenure_days"),
        F.sum(F.when(day.isNotNull(), F.col("n_interactions"))).alias("n_interactions"),
        F.count_if(day >= F.lit(recent)).alias("n_days_recent"),
        F.count_if((day >= F.lit(previous)) & (day < F.lit(recent))).alias("n_days_previous"),
        exact_sum(F.when(day.isNotNull(), F.col("value")), parts=VALUE_PARTS).alias("total_value"),
    ]


def with_shares(pairs: DataFrame) -> DataFrame:
    """Add share (of the user's evidence) and rank (1 for the most, ties by interest_id). pairs: user_id, interest_id, evidence."""
    user = Window.partitionBy("user_id")
    by_evidence = user.orderBy(F.desc("evidence"), "interest_id")
    # Summed in the order of the ranks, so that the last digit does not depend on how rows arrive.
    total = F.sum("evidence").over(by_evidence.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing))
    # Evidence so old that it rounds to nothing, or all taken away, is shared out evenly, so that shares sum to 1 for every user.
    even = F.lit(1.0) / F.count(F.lit(1)).over(user)
    return pairs.withColumn("rank", F.row_number().over(by_evidence).cast("bigint")).withColumn(
        "share", F.when(total > 0, F.col("evidence") / total).otherwise(even)
    )
