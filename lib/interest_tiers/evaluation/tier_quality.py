"""How close predicted tiers and their probabilities are to what users did next."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.intervals import Estimate, assign_bucket, divide_sums, estimate, estimate_difference
from interest_tiers.slices import Slice
from interest_tiers.tiers.objective import mean_f1, squared_error

LOGGER = logging.getLogger(__name__)

#: Of the calibration error.
CALIBRATION_BINS = 15

#: No part of the rows.
EVERYTHING = Slice()

PROBABILITIES = [f"p_{tier}" for tier in TIERS]


def measure_tiers(predicted: DataFrame, samples: int, reference: str, within: Slice = EVERYTHING) -> dict[Slice, dict[str, Estimate]]:
    """Measure every model, and how far it is from a reference model.

    predicted: (model, user_id, label, tier, p_core, p_secondary, p_marginal)
    reference: the model that J and macro-F1 of the others are compared with. within: the slice of these rows, such as a level
    Returns:   for model=A the metrics below; for model=A,minus=reference the paired differences of J and macro_f1, where both models
               predict the same pairs; for bin=N,model=reference what a reliability diagram shows

    J: the mean over users of the mean over a user's interests of the squared error (see tiers.objective). Its difference is the mean
    over users of the model's error minus that of the reference.
    calibration_error_TIER: pairs in CALIBRATION_BINS bins of equal width by the tier's p. The mean over pairs of the bin's
    |mean p - share of the tier| (expected calibration error, Naeini et al. 2015). It has no interval: a resample of the same users
    has a larger error than they have, however well calibrated.
    mean_probability_TIER, observed_share_TIER, n_pairs_TIER: of one of these bins.
    """
    errors = _sum_errors(predicted, reference)
    confusions = _count_confusions(predicted)
    bins = _count_bins(predicted)
    calibration_errors = _measure_calibration(bins)
    measured: dict[Slice, dict[str, Estimate]] = {}
    for model, sums in errors.items():
        measured[replace(within, model=model)] = {
            "J": estimate([sums["error"].to_numpy(), sums["users"].to_numpy()], divide_sums, samples),
            **_classification(confusions[model], samples),
            **calibration_errors[model],
        }
        if model != reference and reference in errors and _has_same_pairs(model, confusions[model], reference, confusions[reference]):
            measured[replace(within, model=model, minus=reference)] = {
                "J": estimate([sums["difference"].to_numpy(), sums["users"].to_numpy()], divide_sums, samples),
                "macro_f1": estimate_difference(_cells(confusions[model]), _cells(confusions[reference]), macro_f1_of_cells, samples),
            }
    return measured | _measure_reliability(bins, replace(within, model=reference))


def macro_f1_of_cells(*cells: np.ndarray, axis: int = -1) -> np.ndarray:
    """Compute macro-F1 of summed confusions. cells: counts of (label, tier), all tiers of the first label first."""
    summed = np.array([cell.sum(axis=axis) for cell in cells])
    confusion = summed.reshape(len(TIERS), len(TIERS), *summed.shape[1:])
    hits = np.stack([confusion[i, i] for i in range(len(TIERS))])
    return mean_f1(hits, confusion.sum(axis=0) + confusion.sum(axis=1))


def _sum_errors(predicted: DataFrame, reference: str) -> dict[str, pd.DataFrame]:
    """Sum the users' mean squared errors: bucket, users, error, difference (from the reference), per model."""
    error = F.avg(squared_error([F.col(p) for p in PROBABILITIES])).alias("error")
    per_user = predicted.groupBy("user_id", "model").agg(error)
    of_reference = F.max(F.when(F.col("model") == reference, F.col("error"))).over(Window.partitionBy("user_id"))
    paired = per_user.withColumn("difference", F.col("error") - of_reference)
    sums = paired.groupBy("model", assign_bucket().alias("bucket")).agg(
        F.count(F.lit(1)).alias("users"), F.sum("error").alias("error"), F.sum("difference").alias("difference")
    )
    rows = sums.orderBy("model", "bucket").toPandas()  # models times buckets
    return {str(model): of_model for model, of_model in rows.groupby("model")}


def _count_confusions(predicted: DataFrame) -> dict[str, np.ndarray]:
    """Count pairs: (bucket, label, tier) per model; a bucket without pairs of any model is left out."""
    counted = predicted.groupBy("model", assign_bucket().alias("bucket"), "label", "tier").count()
    rows = counted.toPandas()  # models times buckets times nine
    buckets = {bucket: place for place, bucket in enumerate(sorted(rows["bucket"].unique()))}
    confusions = {}
    for model, of_model in rows.groupby("model"):
        counts = np.zeros((len(buckets), len(TIERS), len(TIERS)))
        places = [of_model["bucket"].map(buckets), *(of_model[c].map(TIERS.index) for c in ("label", "tier"))]
        counts[tuple(places)] = of_model["count"]
        confusions[str(model)] = counts
    return confusions


def _has_same_pairs(model: str, confusions: np.ndarray, reference: str, of_reference: np.ndarray) -> bool:
    """Compare the labels of every bucket, and warn where they differ."""
    is_same = np.array_equal(confusions.sum(axis=2), of_reference.sum(axis=2))
    if not is_same:
        n_pairs, n_reference = int(confusions.sum()), int(of_reference.sum())
        LOGGER.warning("%s predicts other pairs than %s (%d and %d): no difference is measured", model, reference, n_pairs, n_reference)
    return is_same


def _count_bins(predicted: DataFrame) -> pd.DataFrame:
    """Count pairs by the probability of every tier: model, tier, bin, n, sum of p, and y, the number that had the tier."""
    of_tiers = [
        F.struct(F.lit(tier).alias("tier"), F.col(p).alias("p"), (F.col("label") == tier).cast("double").alias("y"))
        for tier, p in zip(TIERS, PROBABILITIES, strict=True)
    ]
    bin_ = F.least(F.floor(F.col("of.p") * CALIBRATION_BINS), F.lit(CALIBRATION_BINS - 1)).alias("bin")
    rows = predicted.select("model", F.explode(F.array(*of_tiers)).alias("of"))
    bins = rows.groupBy("model", "of.tier", bin_).agg(F.count(F.lit(1)).alias("n"), F.sum("of.p").alias("p"), F.sum("of.y").alias("y"))
    return bins.orderBy("model", "tier", "bin").toPandas()  # models times tiers times bins


def _measure_calibration(bins: pd.DataFrame) -> Mapping[str, dict[str, Estimate]]:
    """Measure the calibration error of every tier, per model. bins: see _count_bins."""
    errors: dict[str, dict[str, Estimate]] = {}
    for (model, tier), of_tier in bins.groupby(["model", "tier"]):
        error = float((of_tier["p"] - of_tier["y"]).abs().sum() / of_tier["n"].sum())
        errors.setdefault(str(model), {})[f"calibration_error_{tier}"] = Estimate(error)
    return errors


def _measure_reliability(bins: pd.DataFrame, where: Slice) -> dict[Slice, dict[str, Estimate]]:
    """Measure every bin of one model. bins: see _count_bins. where: the slice of the model."""
    measured: dict[Slice, dict[str, Estimate]] = {}
    own = bins[bins["model"] == where.model]
    for tier, number, n, p, y in zip(*(own[column].tolist() for column in ("tier", "bin", "n", "p", "y")), strict=True):
        of_bin = measured.setdefault(replace(where, bin=number), {})
        of_bin[f"mean_probability_{tier}"], of_bin[f"observed_share_{tier}"] = Estimate(p / n), Estimate(y / n)
        of_bin[f"n_pairs_{tier}"] = Estimate(float(n))
    return measured


def _classification(confusions: np.ndarray, samples: int) -> dict[str, Estimate]:
    """Estimate macro-F1, and the recall of every tier that occurs. confusions: (bucket, label, tier)."""
    present = confusions[confusions.sum(axis=(1, 2)) > 0]
    recalls = {f"recall_{tier}": _recall(present, i, samples) for i, tier in enumerate(TIERS) if present[:, i].sum() > 0}
    return {"macro_f1": estimate(_cells(present), macro_f1_of_cells, samples), **recalls}


def _cells(confusions: np.ndarray) -> list[np.ndarray]:
    return [confusions[:, i, j] for i in range(len(TIERS)) for j in range(len(TIERS))]


def _recall(confusions: np.ndarray, label: int, samples: int) -> Estimate:
    """Estimate over the buckets where the label occurs: a resample of others alone has no recall."""
    seen = confusions[confusions[:, label].sum(axis=1) > 0]
    return estimate([seen[:, label, label], seen[:, label].sum(axis=1)], divide_sums, samples)
