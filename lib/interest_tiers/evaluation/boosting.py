"""Gradient boosting on the features of the network: the usual alternative, which a network has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from interest_tiers.config import TIERS
from interest_tiers.spark.sampling import sample_by_hash

#: It learns on one machine, from at most this many rows, of users sampled by hash.
MAX_ROWS = 400_000

#: Bins of a feature.
BINS = 255

#: Share of the prior's logarithm that is subtracted from that of a probability before the largest is the tier.
PRIOR_REMOVED = 0.5

_PREDICTED = "user_id string, interest_id string, tier string, p_core double, p_secondary double, p_marginal double"


@dataclass(frozen=True)
class Boosting:
    """A fitted classifier on features in bins.

    edges: by feature, the upper edges of its bins, ascending
    """

    classifier: Any
    edges: list[np.ndarray]

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Predict the probabilities of all tiers, (rows, 3): 0 for a tier that the classifier never saw."""
        probabilities = np.zeros((len(features), len(TIERS)))
        probabilities[:, self.classifier.classes_] = self.classifier.predict_proba(put_into_bins(features, self.edges))
        return probabilities


def fit_boosting(examples: DataFrame, seed: int) -> Boosting:
    """Fit a scikit-learn HistGradientBoostingClassifier.

    examples: (cutoff, user_id, interest_id, features array<float>, label, weight)
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    sample = sample_by_hash(examples, "user_id", MAX_ROWS, examples.count()).orderBy("user_id", "interest_id", "cutoff")
    rows = sample.select("features", "label", "weight").toPandas()
    features, weight = np.stack(list(rows["features"])), rows["weight"] / rows["weight"].mean()
    classifier = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.15, min_samples_leaf=100, l2_regularization=1.0, early_stopping=False, random_state=seed
    )
    edges = find_edges(features)
    # In our bins: with weights, scikit-learn takes a minute to find its own for 100,000 rows.
    classifier.fit(put_into_bins(features, edges), rows["label"].map(TIERS.index).to_numpy(), sample_weight=weight)
    return Boosting(classifier, edges)


def find_edges(features: np.ndarray) -> list[np.ndarray]:
    """Find the edges of bins with about the same number of rows, at most BINS per feature. features: (rows, n), NaN where undefined."""
    parts = np.linspace(0, 1, BINS + 1)[1:-1]
    known = (column[~np.isnan(column)] for column in features.T)
    return [np.unique(np.quantile(column, parts, method="lower")) if len(column) else np.empty(0) for column in known]


def put_into_bins(features: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Replace every number by its bin; NaN stays, but for a feature without bins, which is 0: nothing was learned from it."""
    binned = np.zeros(features.shape)
    for position, edge in enumerate(edges):
        if len(edge):
            column = features[:, position]
            binned[:, position] = np.where(np.isnan(column), np.nan, np.searchsorted(edge, column))
    return binned


def predict_by_boosting(rows: DataFrame, boosting: Boosting) -> DataFrame:
    """Predict the tiers of pairs.

    rows:    (user_id, interest_id, features array<float>)
    Returns: (user_id, interest_id, tier, p_core, p_secondary, p_marginal)
    """
    prior = _prior(boosting.classifier)

    def predict(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            if batch.empty:
                continue
            probabilities = boosting.probabilities(np.stack(list(batch["features"])))
            tiers = (np.log(np.maximum(probabilities, 1e-12)) - PRIOR_REMOVED * np.log(prior)).argmax(axis=1)
            columns = {f"p_{tier}": probabilities[:, position] for position, tier in enumerate(TIERS)}
            yield pd.DataFrame(
                {"user_id": batch["user_id"], "interest_id": batch["interest_id"], "tier": np.array(TIERS)[tiers], **columns}
            )

    return rows.select("user_id", "interest_id", "features").mapInPandas(predict, _PREDICTED)


def _prior(classifier: Any) -> np.ndarray:
    """Read the share of each tier in the training rows, by the classifier's first guess."""
    baseline = np.exp(classifier._baseline_prediction.ravel())
    prior = np.full(len(TIERS), 1e-6)
    prior[classifier.classes_] = baseline / baseline.sum()
    return prior
