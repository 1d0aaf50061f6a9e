"""Examples: pairs of users and interests at cuts whose horizon is over, with what is known at the cut and what came true."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import TierTraining
from interest_tiers.evidence import exact_sum
from interest_tiers.hierarchy import rivals
from interest_tiers.sampling import drawn_by_hash
from interest_tiers.tiers.rule import place_of
from interest_tiers.tiers.tier_training import Scaling

#: One user in so many trains nothing: they choose the epoch, the calibration and the decision.
HELD_OUT = 5

#: Of about so many examples, of users drawn by hash, the scaling is found: their squares fit a bigint in parts fine enough.
SCALING_ROWS = 10_000_000

#: What the square of a scaled feature can be, that of the largest float: ln(1 + 3.4e38)².
LARGEST_SQUARE = 7_900

#: Finer parts than these say nothing more: a double has about so many digits.
FINEST_PARTS = 10**12


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


def as_numbers(examples: DataFrame, others: Sequence[str]) -> DataFrame:
    """The columns of a training: features, label as its place in TIERS, weight, and others as they are.

    In an order by hash, in files by hash: any row group is a sample of all rows, and the same whatever wrote it.
    """
    columns = [F.col("features"), place_of(F.col("label")).alias("label"), F.col("weight").cast("float")]
    return examples.select(*columns, *others, F.xxhash64("user_id", "interest_id", "cut").alias("place"))


def in_files(numbers: DataFrame, n_files: int) -> DataFrame:
    """numbers: see as_numbers."""
    return numbers.repartition(n_files, "place").sortWithinPartitions("place").drop("place")


def scaling_of(examples: DataFrame, n_features: int) -> Scaling:
    """Mean and deviation of every feature over the examples of the training, SCALING_ROWS of them, and which are missing in some.

    examples: user_id, features.
    """
    n_examples = examples.count()
    # As fine as a bigint can hold the sum of so many squares in, and of as many more that were drawn.
    parts = min(FINEST_PARTS, 2**62 // (LARGEST_SQUARE * max(1, min(n_examples, SCALING_ROWS))))
    expressions = [F.count(F.lit(1)).alias("n")]
    for place in range(n_features):
        number = F.nanvl(F.get("features", F.lit(place)).cast("double"), F.lit(None).cast("double"))
        scaled = F.signum(number) * F.log1p(F.abs(number))
        expressions += [F.count(number).alias(f"n_{place}"), exact_sum(scaled, parts).alias(f"sum_{place}")]
        expressions += [exact_sum(scaled * scaled, parts).alias(f"squares_{place}")]
    found = drawn_by_hash(examples, "user_id", SCALING_ROWS, n_examples).agg(*expressions).first()
    assert found is not None  # an aggregate without keys has one row
    means, deviations, missing = [], [], []
    for place in range(n_features):
        n = found[f"n_{place}"] or 1
        mean = (found[f"sum_{place}"] or 0.0) / n
        variance = (found[f"squares_{place}"] or 0.0) / n - mean * mean
        means.append(mean)
        # Below what rounding to parts can make of it, a feature is the same everywhere.
        deviations.append(variance**0.5 if variance > 4 * (1 + 2 * abs(mean)) / parts else 1.0)
        if found[f"n_{place}"] < found["n"]:
            missing.append(place)
    return Scaling(tuple(means), tuple(deviations), tuple(missing))
