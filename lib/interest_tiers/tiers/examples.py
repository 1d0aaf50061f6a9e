"""Examples: pairs of users and interests at cuts whose horizon is over, with what is known at the cut and what came true."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from interest_tiers.config import TierTraining
from interest_tiers.interests.evidence import exact_sum
from interest_tiers.interests.hierarchy import USER_LEVEL
from interest_tiers.spark.sampling import sample_by_hash
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
    user = Window.partitionBy("cut", *USER_LEVEL)
    of_all = examples.agg(F.countDistinct("cut", *USER_LEVEL).alias("users_of_all"), F.count(F.lit(1)).alias("rows_of_all"))
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
    """Mean, deviation and bounds of every feature over the examples of the training, SCALING_ROWS of them, and which are missing in some.

    examples: user_id, features; there is one at least.
    """
    n_examples = examples.count()
    # As fine as a bigint can hold the sum of so many squares in, and of as many more that were drawn.
    parts = min(FINEST_PARTS, 2**62 // (LARGEST_SQUARE * min(n_examples, SCALING_ROWS)))
    drawn = sample_by_hash(examples, "user_id", SCALING_ROWS, n_examples)
    number = F.nanvl(F.col("feature").cast("double"), F.lit(None).cast("double"))
    scaled = F.signum(number) * F.log1p(F.abs(number))
    found = drawn.select(F.posexplode("features").alias("place", "feature")).groupBy("place").agg(
        F.count(F.lit(1)).alias("rows"), F.count(scaled).alias("n"), F.min(scaled).alias("lowest"), F.max(scaled).alias("highest"),
        exact_sum(scaled, parts).alias("sum"), exact_sum(scaled * scaled, parts).alias("squares"),
    )  # fmt: skip
    of_place = {row["place"]: row for row in found.collect()}
    rows = [of_place[place] for place in range(n_features)]
    moments = [_moments(row, parts) for row in rows]
    return Scaling(
        mean=tuple(mean for mean, _ in moments),
        deviation=tuple(deviation for _, deviation in moments),
        lowest=tuple(row["lowest"] or 0.0 for row in rows),
        highest=tuple(row["highest"] or 0.0 for row in rows),
        missing=tuple(place for place, row in enumerate(rows) if row["n"] < row["rows"]),
    )


def _moments(row: Row, parts: int) -> tuple[float, float]:
    """Mean and deviation, 0 and 1 of what is nowhere known. row: n, sum, squares."""
    if row["n"] == 0:
        return 0.0, 1.0
    mean = row["sum"] / row["n"]
    variance = row["squares"] / row["n"] - mean * mean
    # Below what rounding to parts can make of it, a feature is the same everywhere.
    return mean, variance**0.5 if variance > 4 * (1 + 2 * abs(mean)) / parts else 1.0
