"""Fit and load the trees of XGBoost, which is imported where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xgboost


def fit_trees(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray, settings: Mapping[str, Any], rounds: int, threads: int
) -> bytes:
    """Fit the boosting; returns the model in XGBoost's UBJSON.

    features: (rows, n) float32, NaN where undefined
    settings: of XGBoost; with max_bin
    threads:  with other numbers, sums of floats are others, and so are the trees
    """
    import xgboost

    data = xgboost.QuantileDMatrix(features, labels, weight=weights, max_bin=settings["max_bin"], nthread=threads)
    return bytes(xgboost.train({**settings, "nthread": threads}, data, rounds).save_raw("ubj"))


def load_trees(model: bytes, threads: int) -> xgboost.Booster:
    """Load a model of fit_trees."""
    import xgboost

    booster = xgboost.Booster({"nthread": threads})
    booster.load_model(bytearray(model))
    return booster
