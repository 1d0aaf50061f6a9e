"""Sum up what users did with items before a cutoff, per user and item."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import decayed_evidence, find_oldest_age, summed_evidence
from interest_tiers.recommend.histories import HALF_LIVES, LONG


def summarise_use(days: DataFrame, cutoff: date) -> DataFrame:
    """Sum up each user's days with each item.

    A user has had an item where their evidence of it is above 0. An item that they touched and have no evidence of (a
    dislike, a return) excludes itself.

    days:    (user_id, interest_id, item_id, event_date, weight, n_interactions), all before the cutoff
    Returns: (user_id, interest_id, item_id, is_had, n_days, n_interactions, first_age, last_age, days_28d, days_91d,
             evidence_15d, evidence_60d, evidence_120d), ages in days; days are those that gave evidence, ages null without one
    """
    age, counts = F.datediff(F.lit(cutoff), F.col("event_date")), F.col("weight") > 0
    short = {f"evidence_{half_life}d": _decay(age, half_life) for half_life in HALF_LIVES if half_life != LONG}
    long = decayed_evidence(cutoff, LONG, find_oldest_age(days, cutoff))
    summed = days.groupBy("user_id", "interest_id", "item_id").agg(
        F.count(F.when(counts, 1)).alias("n_days"),
        F.sum("n_interactions").alias("n_interactions"),
        F.max(F.when(counts, age)).alias("first_age"),
        F.min(F.when(counts, age)).alias("last_age"),
        F.count(F.when(counts & (age <= 28), 1)).alias("days_28d"),
        F.count(F.when(counts & (age <= 91), 1)).alias("days_91d"),
        *[column.alias(name) for name, column in short.items()],
        long.alias(f"evidence_{LONG}d"),
    )
    return summed.withColumn("is_had", (F.col(f"evidence_{LONG}d") > 0) & (F.col("n_days") > 0))


def _decay(age: Column, half_life: int) -> Column:
    return summed_evidence(F.col("weight") * F.pow(F.lit(2.0), -age / F.lit(float(half_life))))


def count_active_days(days: DataFrame, cutoff: date) -> DataFrame:
    """Count the days on which users did anything.

    days:    see summarise_use
    Returns: (user_id, active_days, active_days_28d, active_days_91d)
    """
    age = F.datediff(F.lit(cutoff), F.col("event_date"))
    return (
        days.select("user_id", age.alias("age"))
        .distinct()
        .groupBy("user_id")
        .agg(
            F.count(F.lit(1)).alias("active_days"),
            *[F.count(F.when(F.col("age") <= window, 1)).alias(f"active_days_{window}d") for window in (28, 91)],
        )
    )


def find_used(days: DataFrame) -> DataFrame:
    """Find what users used. What was given back or disliked in sum is left out.

    days:    (user_id, item_id, weight, ...)
    Returns: (user_id, item_id), each once
    """
    summed = days.groupBy("user_id", "item_id").agg(summed_evidence(F.col("weight")).alias("evidence"))
    return summed.where("evidence > 0").select("user_id", "item_id")


def find_widely_used(had: DataFrame, min_users: int) -> DataFrame:
    """Find the items that at least min_users users have had.

    had:     (user_id, item_id, ...), a row per user and item
    Returns: (item_id)
    """
    counted = had.groupBy("item_id").agg(F.count(F.lit(1)).alias("n_users"))
    return counted.where(F.col("n_users") >= min_users).select("item_id")
