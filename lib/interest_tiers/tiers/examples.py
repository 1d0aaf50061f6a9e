"""Examples: pairs of users and interests at cuts whose horizon is over, with what is known at the cut and what came true."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import TierTraining
from interest_tiers.evidence import exact_sum
from interest_tiers.hierarchy import rivals
from interest_tiers.tiers.rule import place_of
from interest_tiers.tiers.tier_training import Scaling

#: One user in so many trains nothing: they choose the epoch, the calibration and the decision.
HELD_OUT = 5

#: Sums over all examples are of millionths: billionths of ten billion would not fit a bigint.
PARTS = 10**6

#: A feature whose deviation is smaller tells rows apart by nothing but rounding.
SMALLEST_DEVIATION = 1e-6


def training_cuts(day: date, config: TierTraining, horizon_days: int) -> list[date]:
    """The cuts whose horizon is over by a day, latest first."""
    latest = day - timedelta(days=horizon_days)
    return [latest - timedelta(days=place * config.days_between_cuts) for place in range(config.cuts)]


def is_held_out(user_id: Column) -> Column:
    """Whether a user trains nothing, at any cut."""
    return F.pmod(F.xxhash64(F.lit("held out"), user_id), F.lit(HELD_OUT)) == 0


def with_weight(examples: DataFrame) -> DataFrame:
    """Add weight: every user counts alike at every cut, and level where there are levels; the mean is 1. examples: user_id, cut, …"""
    user = Window.partitionBy("cut", *rivals(examples))
    of_all = examples.agg(F.countDistinct("cut", *rivals(examples)).alias("users_of_all"), F.count(F.lit(1)).alias("rows_of_all"))
    mean = F.col("users_of_all") / F.col("rows_of_all")
    weighted = examples.withColumn("rows_of_user", F.count(F.lit(1)).over(user)).crossJoin(F.broadcast(of_all))
    return weighted.withColumn("weight", 1.0 / F.col("rows_of_user") / mean).drop("rows_of_user", "users_of_all", "rows_of_all")


def as_numbers(examples: DataFrame, features: Sequence[str], others: Sequence[str]) -> DataFrame:
    """The columns of a training: features as float, label as its place in TIERS, weight, and others as they are.

    In an order by hash, in files by hash: any row group is a sample of all rows, and the same whatever wrote it.
    """
    columns = [*[F.col(name).cast("float") for name in features], place_of(F.col("label")).alias("label"), F.col("weight").cast("float")]
    return examples.select(*columns, *others, F.xxhash64("user_id", "interest_id", "cut").alias("place"))


def in_files(numbers: DataFrame, n_files: int) -> DataFrame:
    """numbers: see as_numbers."""
    return numbers.repartition(n_files, "place").sortWithinPartitions("place").drop("place")


def scaling_of(examples: DataFrame, features: Sequence[str]) -> Scaling:
    """Mean and deviation of every feature over the examples of the training, and which are missing in some."""
    expressions = [F.count(F.lit(1)).alias("n")]
    for name in features:
        number = F.signum(name) * F.log1p(F.abs(name))
        expressions += [F.count(name).alias(f"n_{name}"), exact_sum(number, parts=PARTS).alias(f"sum_{name}")]
        expressions += [exact_sum(number * number, parts=PARTS).alias(f"squares_{name}")]
    found = examples.agg(*expressions).first()
    assert found is not None  # an aggregate without keys has one row
    means, deviations, missing = [], [], []
    for place, name in enumerate(features):
        n = found[f"n_{name}"] or 1
        mean = (found[f"sum_{name}"] or 0.0) / n
        variance = (found[f"squares_{name}"] or 0.0) / n - mean * mean
        means.append(mean)
        deviations.append(max(variance, 0.0) ** 0.5 if variance > SMALLEST_DEVIATION**2 else 1.0)
        if found[f"n_{name}"] < found["n"]:
            missing.append(place)
    return Scaling(tuple(means), tuple(deviations), tuple(missing))
