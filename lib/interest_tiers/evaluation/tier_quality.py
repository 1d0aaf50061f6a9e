"""How right tiers and their probabilities are about what users did next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.evaluation.intervals import Estimate, bucket, estimate, ratio

#: Of the calibration error.
CALIBRATION_BINS = 15

PROBABILITIES = [f"p_{tier}" for tier in TIERS]


def tier_quality(predicted: DataFrame, samples: int) -> dict[str, dict[str, Estimate]]:
    """J, macro_f1, and of every tier the recall and the calibration error, per model.

    predicted: model, user_id, label, tier, p_core, p_secondary, p_marginal.
    J = mean over users of the mean over the user's interests of sum over tiers of (y - p)^2, y one-hot (Brier 1950).
    calibration_error_TIER: pairs in CALIBRATION_BINS bins of equal width by the tier's p; mean over pairs of the bin's
    |mean p - share that came true| (expected calibration error, Naeini et al. 2015).
    """
    per_user = predicted.groupBy("model", "user_id").agg(F.avg(squared_error([F.col(p) for p in PROBABILITIES])).alias("error"))
    errors = per_user.groupBy("model", bucket().alias("bucket")).agg(F.sum("error").alias("total"), F.count(F.lit(1)).alias("users"))
    calibration_errors = _calibration_errors(predicted)
    outcomes = predicted.groupBy("model", bucket().alias("bucket"), "label", "tier").count()
    # Bounded: models times buckets, and that times nine.
    errors_by_model = dict(list(errors.orderBy("model", "bucket").toPandas().groupby("model")))
    outcomes_by_model = dict(list(outcomes.orderBy("model", "bucket", "label", "tier").toPandas().groupby("model")))
    return {
        str(model): {
            "J": estimate([of_model["total"].to_numpy(), of_model["users"].to_numpy()], ratio, samples),
            **_classification(_confusions(outcomes_by_model[model]), samples),
            **calibration_errors[model],
        }
        for model, of_model in errors_by_model.items()
    }


def squared_error(probabilities: Sequence[Column]) -> Column:
    """Sum over tiers of (y - p)^2 for the column label. probabilities: p of each of TIERS."""
    squares = [((F.col("label") == tier).cast("double") - p) ** 2 for tier, p in zip(TIERS, probabilities, strict=True)]
    return sum(squares[1:], start=squares[0])


def _calibration_errors(predicted: DataFrame) -> dict[object, dict[str, Estimate]]:
    """Per model. Without intervals: a draw of the same users has a larger error than they have, however well calibrated."""
    of_tiers = [
        F.struct(F.lit(tier).alias("of_tier"), F.col(p).alias("p"), (F.col("label") == tier).cast("double").alias("y"))
        for tier, p in zip(TIERS, PROBABILITIES, strict=True)
    ]
    bin_ = F.least(F.floor(F.col("of.p") * CALIBRATION_BINS), F.lit(CALIBRATION_BINS - 1)).alias("bin")
    rows = predicted.select("model", F.explode(F.array(*of_tiers)).alias("of"))
    apart = F.abs(F.sum("of.p") - F.sum("of.y")).alias("apart")
    bins = rows.groupBy("model", "of.of_tier", bin_).agg(F.count(F.lit(1)).alias("n"), apart)
    errors: dict[object, dict[str, Estimate]] = {}
    found = bins.groupBy("model", "of_tier").agg((F.sum("apart") / F.sum("n")).alias("error"))
    for row in found.orderBy("model", "of_tier").collect():  # three rows a model
        errors.setdefault(row["model"], {})[f"calibration_error_{row['of_tier']}"] = Estimate(row["error"], None, None)
    return errors


def macro_f1(*cells: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean over tiers of 2 * precision * recall / (precision + recall), 0 for a tier that neither occurs nor is said.

    cells: the nine counts label by tier, row by row, each an array of groups that is summed over axis.
    """
    confusion = np.stack([cell.sum(axis=axis) for cell in cells]).reshape(len(TIERS), len(TIERS), *cells[0].sum(axis=axis).shape)
    hits = np.stack([confusion[i, i] for i in range(len(TIERS))])
    seen = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.divide(2 * hits, seen, out=np.zeros_like(hits, dtype=float), where=seen > 0).mean(axis=0)


def _classification(confusions: np.ndarray, samples: int) -> dict[str, Estimate]:
    """confusions: (groups, label, tier)."""
    cells = [confusions[:, i, j] for i in range(len(TIERS)) for j in range(len(TIERS))]
    recalls = {f"recall_{tier}": _recall(confusions, i, samples) for i, tier in enumerate(TIERS) if confusions[:, i].sum() > 0}
    return {"macro_f1": estimate(cells, macro_f1, samples), **recalls}


def _recall(confusions: np.ndarray, label: int, samples: int) -> Estimate:
    """Over the groups where the label occurs: a draw of others alone has no recall."""
    seen = confusions[confusions[:, label].sum(axis=1) > 0]
    return estimate([seen[:, label, label], seen[:, label].sum(axis=1)], ratio, samples)


def _confusions(outcomes: pd.DataFrame) -> np.ndarray:
    groups = {bucket_: place for place, bucket_ in enumerate(sorted(outcomes["bucket"].unique()))}
    counts = np.zeros((len(groups), len(TIERS), len(TIERS)))
    places = [outcomes["bucket"].map(groups), *(outcomes[c].map(TIERS.index) for c in ("label", "tier"))]
    counts[tuple(places)] = outcomes["count"]
    return counts
