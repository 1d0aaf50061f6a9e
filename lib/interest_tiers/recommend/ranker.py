"""Score candidates: by gradient boosting where enough users teach it, else by a sum that a reader can follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interest_tiers.recommend.boosted_trees import fit_trees, load_trees
from interest_tiers.recommend.features import FEATURES, SCORES
from interest_tiers.recommend.histories import LONG

if TYPE_CHECKING:
    import xgboost

#: Settings of the boosting. They were chosen one horizon before the judged window; see docs/results.md.
SETTINGS: dict[str, Any] = {
    "objective": "binary:logistic", "tree_method": "hist", "grow_policy": "lossguide", "max_depth": 0, "max_leaves": 31, "max_bin": 64,
    "eta": 0.06, "subsample": 0.7, "colsample_bytree": 0.4, "reg_lambda": 5.0, "min_child_weight": 10.0,
}  # fmt: skip
ROUNDS = 200

#: Without a model: days of evidence that an own item gains if all active users had it in the last 28 days.
POPULARITY_WEIGHT = 8.0

#: Without a model: co-use by EASE that a new item gains if all active users began to use it in the last 28 days.
ADOPTION_WEIGHT = 0.5

#: Groups of features, as reasons and ablations name them.
GROUPS = {
    "repeat": ("own_", "is_own"),
    "co_use": tuple(name for name in SCORES if not name.startswith("text")),
    "text": ("text",),
    "adoption": ("item_",),
    "interest": ("interest_",),
    "user": ("user_",),
}


def group_of(feature: str) -> str:
    """Name the group of a feature."""
    return next(group for group, prefixes in GROUPS.items() if feature.startswith(prefixes))


@dataclass(frozen=True)
class Ranker:
    """A model in XGBoost's UBJSON, and the features that it reads; see SETTINGS."""

    model: bytes
    features: tuple[str, ...] = FEATURES

    def load(self, threads: int) -> xgboost.Booster:
        """Load the model."""
        return load_trees(self.model, threads)

    def select(self, features: np.ndarray) -> np.ndarray:
        """Select the columns that the model reads. features: (rows, FEATURES)."""
        return features if self.features == FEATURES else features[:, [FEATURES.index(name) for name in self.features]]


def fit_ranker(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, seed: int, threads: int) -> bytes:
    """Fit the boosting; returns the model in XGBoost's UBJSON.

    features: (rows, n) float32, NaN where undefined; labels: 0 or 1
    """
    return fit_trees(features, labels, weights, {**SETTINGS, "seed": seed}, ROUNDS, threads)


def score_without_model(features: np.ndarray) -> np.ndarray:
    """Score candidates without a model: own items above 1, new ones between 0 and 1.

    An own item scores 1, its evidence with a half-life of LONG days, and POPULARITY_WEIGHT times the share of active users who
    had it in 28 days. A new item scores by co-use with the user's items, and by its new users.
    """
    own_evidence = features[:, FEATURES.index(f"own_evidence_{LONG}d")]
    popular = np.nan_to_num(features[:, FEATURES.index("item_users_28d")])
    adopted = np.nan_to_num(features[:, FEATURES.index("item_adopters_28d")])
    of_new = np.maximum(np.nan_to_num(features[:, FEATURES.index("ease")]), 0) + ADOPTION_WEIGHT * adopted
    return np.where(features[:, 0] > 0, 1 + own_evidence + POPULARITY_WEIGHT * popular, of_new / (1 + of_new))
