"""Examples: pairs of users and interests at past cutoffs, with the features known then and the label of the horizon since."""

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
from interest_tiers.tiers.shapes import Scaling

#: One user in so many is held out of the training. Half of them tune (epoch, calibration, decision), half judge network and rule.
HELD_OUT = 5

#: The scaling is fitted on about so many examples: the sum of their squares fits a bigint in fine enough parts.
SCALING_ROWS = 10_000_000

#: The largest square of a scaled feature, that of the largest float: ln(1 + 3.4e38)².
LARGEST_SQUARE = 7_900

#: Finer parts add nothing: a double has about so many digits.
FINEST_PARTS = 10**12


def training_cutoffs(day: date, config: TierTraining, horizon_days: int) -> list[date]:
    """List the cutoffs whose horizon is over by a day, latest first."""
    latest = day - timedelta(days=horizon_days)
    return [latest - timedelta(days=number * config.days_between_cuts) for number in range(config.cuts)]


def is_held_out(user_id: Column) -> Column:
    """Say whether a user is held out of the training, at every cutoff."""
    return F.pmod(F.xxhash64(F.lit("held out"), user_id), F.lit(HELD_OUT)) == 0


def is_judge(user_id: Column) -> Column:
    """Say whether a held-out user judges network and rule; the others tune the network."""
    return F.pmod(F.xxhash64(F.lit("judge"), user_id), F.lit(2)) == 0


def weigh(examples: DataFrame) -> DataFrame:
    """Add weight: at every cutoff and level all users weigh the same; the mean is 1.

    examples: (user_id, level, cut, ...)
    """
    user = Window.partitionBy("cut", *USER_LEVEL)
    of_all = examples.agg(F.countDistinct("cut", *USER_LEVEL).alias("users_of_all"), F.count(F.lit(1)).alias("rows_of_all"))
    mean = F.col("users_of_all") / F.col("rows_of_all")
    weighted = examples.withColumn("rows_of_user", F.count(F.lit(1)).over(user)).crossJoin(F.broadcast(of_all))
    return weighted.withColumn("weight", 1.0 / F.col("rows_of_user") / mean).drop("rows_of_user", "users_of_all", "rows_of_all")


def to_numbers(examples: DataFrame, others: Sequence[str]) -> DataFrame:
    """Select what a training reads: features, label as position in TIERS, weight, and other columns unchanged.

    Returns: (features, label, weight, others..., place bigint). place is a hash of the key, see spread.
    """
    columns = [F.col("features"), place_of(F.col("label")).alias("label"), F.col("weight").cast("float")]
    return examples.select(*columns, *others, F.xxhash64("user_id", "interest_id", "cut").alias("place"))


def spread(numbers: DataFrame, n_files: int) -> DataFrame:
    """Spread rows over files in an order by hash: every row group is then a sample of all rows, the same in every run.

    numbers: see to_numbers
    """
    return numbers.repartition(n_files, "place").sortWithinPartitions("place").drop("place")


def fit_scaling(examples: DataFrame, n_features: int) -> Scaling:
    """Compute mean, deviation and bounds of every feature over a sample of examples, and which features are missing in some.

    examples: (user_id, features array<float>), one row at least
    """
    n_examples = examples.count()
    # As fine as a bigint can sum so many squares in, with room for a sample that is larger than wanted.
    parts = min(FINEST_PARTS, 2**62 // (LARGEST_SQUARE * min(n_examples, SCALING_ROWS)))
    sampled = sample_by_hash(examples, "user_id", SCALING_ROWS, n_examples)
    number = F.nanvl(F.col("feature").cast("double"), F.lit(None).cast("double"))
    scaled = F.signum(number) * F.log1p(F.abs(number))
    found = sampled.select(F.posexplode("features").alias("place", "feature")).groupBy("place").agg(
        F.count(F.lit(1)).alias("rows"), F.count(scaled).alias("n"), F.min(scaled).alias("lowest"), F.max(scaled).alias("highest"),
        exact_sum(scaled, parts).alias("sum"), exact_sum(scaled * scaled, parts).alias("squares"),
    )  # fmt: skip
    by_position = {row["place"]: row for row in found.collect()}
    rows = [by_position[position] for position in range(n_features)]
    moments = [_moments(row, parts) for row in rows]
    return Scaling(
        mean=tuple(mean for mean, _ in moments),
        deviation=tuple(deviation for _, deviation in moments),
        lowest=tuple(row["lowest"] or 0.0 for row in rows),
        highest=tuple(row["highest"] or 0.0 for row in rows),
        missing=tuple(position for position, row in enumerate(rows) if row["n"] < row["rows"]),
    )


def _moments(row: Row, parts: int) -> tuple[float, float]:
    """Compute mean and deviation, 0 and 1 for a feature that is missing everywhere. row: n, sum, squares."""
    if row["n"] == 0:
        return 0.0, 1.0
    mean = row["sum"] / row["n"]
    variance = row["squares"] / row["n"] - mean * mean
    # A smaller variance is an effect of rounding to parts: the feature is constant.
    return mean, variance**0.5 if variance > 4 * (1 + 2 * abs(mean)) / parts else 1.0
