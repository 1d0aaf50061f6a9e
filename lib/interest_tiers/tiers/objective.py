"""J and F1 of tiers: defined here once for Spark and once for numpy. The loss ``losses.brier`` is the same J for torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pyspark.sql import Column
from pyspark.sql import functions as F

from interest_tiers.config import TIERS


def squared_error(probabilities: Sequence[Column]) -> Column:
    """Compute J of a row: the sum over tiers of (y - p)^2, y one-hot from the column label (Brier 1950).

    probabilities: one column per tier, in the order of TIERS.
    """
    squares = [((F.col("label") == tier).cast("double") - p) ** 2 for tier, p in zip(TIERS, probabilities, strict=True)]
    return sum(squares[1:], start=squares[0])


def objective_j(probabilities: np.ndarray, tiers: np.ndarray, weights: np.ndarray) -> float:
    """Compute J: the weighted mean over rows of the sum over tiers of (y - p)^2.

    probabilities: (rows, 3). tiers: (rows,), positions in TIERS. weights: (rows,).
    """
    return float((squared_errors(probabilities, tiers) * weights).sum() / weights.sum())


def squared_errors(probabilities: np.ndarray, tiers: np.ndarray) -> np.ndarray:
    """Compute J of every row, (rows,). probabilities: (rows, 3). tiers: (rows,), positions in TIERS."""
    return ((np.eye(len(TIERS))[tiers] - probabilities) ** 2).sum(axis=1)


def macro_f1(tiers: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the mean F1 over tiers. tiers, predicted: (rows,), positions in TIERS."""
    hits, true, positive = (np.bincount(rows, minlength=len(TIERS)) for rows in (tiers[tiers == predicted], tiers, predicted))
    return float(mean_f1(hits, true + positive))


def mean_f1(hits: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Average 2 * hits / seen over tiers; a tier that neither occurs nor is predicted has F1 = 0.

    hits: (3, ...), correct predictions. seen: (3, ...), occurrences plus predictions.
    """
    return np.divide(2 * hits, seen, out=np.zeros_like(hits, dtype=float), where=seen > 0).mean(axis=0)
