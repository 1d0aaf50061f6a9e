"""Examples: pairs of users and interests at past cutoffs, with the features known then and the label of the horizon since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import TierTraining
from interest_tiers.tiers.cutoffs import USER_AT
from interest_tiers.tiers.rule import place_of
from interest_tiers.tiers.shapes import Scaling

#: One user in so many is held out of the training. Half of them tune (epoch, calibration, decision), half judge network and rule.
HELD_OUT = 5

#: The scaling is fitted on about so many examples.
SCALING_ROWS = 1_000_000

#: Variance of a constant, over 1 + mean²: what is left of it by rounding.
SMALLEST_VARIANCE = 1e-12

#: What an example is for.
TRAINING, TUNING, JUDGING = "training", "tuning", "judging"


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


def weigh(labels: DataFrame) -> DataFrame:
    """Add weight: the rows of a user sum to 1 at every cutoff and level.

    labels: (cutoff, user_id, level, ...), all rows of each user
    """
    return labels.withColumn("weight", 1.0 / F.count(F.lit(1)).over(Window.partitionBy(*USER_AT)))


def part_of(cutoff: Column, user_id: Column, latest: date) -> Column:
    """Say what an example is for: training, tuning (epoch, calibration, decision) or judging (network or rule); null for nothing.

    latest: the latest cutoff, at which held-out users tune and judge
    """
    held_out = F.when(cutoff == F.lit(latest), F.when(is_judge(user_id), JUDGING).otherwise(TUNING))
    return F.when(is_held_out(user_id), held_out).otherwise(TRAINING)


@dataclass(frozen=True)
class PartSize:
    """How many rows and users a part of the examples has. mean_weight: of the rows, before they are scaled to a mean of 1."""

    rows: int = 0
    users: int = 0
    mean_weight: float = 1.0


def measure_parts(examples: DataFrame) -> dict[str, PartSize]:
    """Count every part. examples: (cutoff, user_id, level, part, ...)"""
    counted = examples.groupBy("part").agg(
        F.count(F.lit(1)).alias("rows"), F.countDistinct("user_id").alias("users"), F.countDistinct(*USER_AT).alias("total_weight")
    )
    found = {row["part"]: PartSize(row["rows"], row["users"], row["total_weight"] / row["rows"]) for row in counted.collect()}
    return {part: found.get(part, PartSize()) for part in (TRAINING, TUNING, JUDGING)}


def to_numbers(examples: DataFrame, others: Sequence[str], mean_weight: float) -> DataFrame:
    """Select what a training reads: features, label as position in TIERS, weight with a mean of 1, and other columns unchanged.

    Returns: (features, label, weight, others..., place bigint). place is a hash of the key, see spread.
    """
    weight = (F.col("weight") / F.lit(mean_weight)).cast("float").alias("weight")
    columns = [F.col("features"), place_of(F.col("label")).alias("label"), weight]
    return examples.select(*columns, *others, F.xxhash64("user_id", "interest_id", "cutoff").alias("place"))


def spread(numbers: DataFrame, n_files: int) -> DataFrame:
    """Spread rows over files in an order by hash: every row group is then a sample of all rows, the same in every run.

    numbers: see to_numbers
    """
    return numbers.repartition(n_files, "place").sortWithinPartitions("place").drop("place")


def fit_scaling(batches: Iterable[np.ndarray], n_features: int) -> Scaling:
    """Compute mean, deviation and bounds of every feature over the first SCALING_ROWS rows, and which features are missing in some.

    batches: features of examples, float32 (rows, n_features), NaN where undefined; one row at least, in an order by hash
    """
    n_rows, n_known = 0, np.zeros(n_features)
    sums, squares = np.zeros(n_features), np.zeros(n_features)
    lowest, highest = np.full(n_features, np.inf), np.full(n_features, -np.inf)
    for batch in batches:
        number = batch.astype(np.float64)
        scaled = np.sign(number) * np.log1p(np.abs(number))
        is_known = ~np.isnan(scaled)
        known = np.where(is_known, scaled, 0.0)
        n_rows, n_known = n_rows + len(batch), n_known + is_known.sum(axis=0)
        sums, squares = sums + known.sum(axis=0), squares + (known * known).sum(axis=0)
        lowest = np.minimum(lowest, np.where(is_known, scaled, np.inf).min(axis=0))
        highest = np.maximum(highest, np.where(is_known, scaled, -np.inf).max(axis=0))
        if n_rows >= SCALING_ROWS:
            break
    mean = sums / np.maximum(n_known, 1)
    variance = squares / np.maximum(n_known, 1) - mean * mean
    # A smaller variance is an effect of rounding: the feature is constant.
    is_constant = variance <= SMALLEST_VARIANCE * (1 + mean * mean)
    return Scaling(
        mean=tuple(mean.tolist()),
        deviation=tuple(np.where(is_constant, 1.0, np.sqrt(np.maximum(variance, 0.0))).tolist()),
        lowest=tuple(np.where(n_known > 0, lowest, 0.0).tolist()),
        highest=tuple(np.where(n_known > 0, highest, 0.0).tolist()),
        missing=tuple(np.flatnonzero(n_known < n_rows).tolist()),
    )
