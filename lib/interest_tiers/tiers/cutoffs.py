"""Repeats days for several cutoffs, so that one pass computes what is known at each of them. The column cutoff tells their rows apart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import reduce
from operator import or_

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import PAIR
from interest_tiers.interests.hierarchy import USER_LEVEL
from interest_tiers.spark.sampling import is_sampled

#: Keys of rows of several cutoffs. The user comes first: a sort compares the first bytes of a key, and cutoffs are few.
PAIR_AT, USER_AT = [*PAIR, "cutoff"], [*USER_LEVEL, "cutoff"]


def at_cutoffs(rows: DataFrame, cutoffs: Sequence[date]) -> DataFrame:
    """Repeat every row for every cutoff, in the column cutoff."""
    # One array for all cutoffs: the code that Spark compiles holds no date, and is compiled once.
    return rows.withColumn("cutoff", F.explode(F.array(*[F.lit(cutoff) for cutoff in sorted(cutoffs)])))


def days_before_cutoffs(days: DataFrame, cutoffs: Sequence[date]) -> DataFrame:
    """Repeat every day for the cutoffs that it is before.

    days:    (event_date, ...)
    Returns: the columns of days, and cutoff date
    """
    known = days.where(F.col("event_date") < F.lit(max(cutoffs)))
    return at_cutoffs(known, cutoffs).where(F.col("event_date") < F.col("cutoff"))


def days_after_cutoffs(days: DataFrame, cutoffs: Sequence[date], horizon_days: int) -> DataFrame:
    """Repeat every day for the cutoffs in whose horizon it is.

    days:    (event_date, ...)
    Returns: the columns of days, and cutoff date
    """
    age = F.datediff("event_date", "cutoff")
    known = days.where(F.col("event_date") >= F.lit(min(cutoffs)))
    return at_cutoffs(known, cutoffs).where((age >= 0) & (age < horizon_days))


def sample_at(rows: DataFrame, key: str, wanted: int, counted: DataFrame) -> DataFrame:
    """Sample keys by hash at every cutoff by itself, as spark.sampling.sample_by_hash does; keep all where there are no more.

    rows:    (cutoff, key, ...)
    wanted:  about how many keys of each cutoff are kept
    counted: (cutoff, key, ...), whose distinct keys are counted
    """
    found = counted.select("cutoff", key).distinct().groupBy("cutoff").count().collect()  # a row per cutoff
    if all(row["count"] <= wanted for row in found):
        return rows
    kept = [(F.col("cutoff") == F.lit(row["cutoff"])) & is_sampled(key, wanted, row["count"]) for row in found]
    return rows.where(reduce(or_, kept))
