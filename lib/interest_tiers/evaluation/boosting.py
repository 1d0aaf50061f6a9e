"""Gradient boosting on the features of the network: the usual alternative, which a network has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from interest_tiers.config import TIERS
from interest_tiers.spark.sampling import sample_by_hash

#: It learns on one machine, from at most this many rows, of users sampled by hash.
MAX_ROWS = 200_000

#: Share of the prior's logarithm that is subtracted from that of a probability before the largest is the tier.
PRIOR_REMOVED = 0.5

_PREDICTED = "user_id string, interest_id string, tier string, p_core double, p_secondary double, p_marginal double"


def fit_boosting(examples: DataFrame, seed: int) -> Any:
    """Fit a scikit-learn HistGradientBoostingClassifier.

    examples: (cutoff, user_id, interest_id, features array<float>, label, weight)
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    sample = sample_by_hash(examples, "user_id", MAX_ROWS, examples.count()).orderBy("user_id", "interest_id", "cutoff")
    rows = sample.select("features", "label", "weight").toPandas()
    classifier = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.15, min_samples_leaf=100, l2_regularization=1.0, early_stopping=False, random_state=seed
    )
    weight = rows["weight"] / rows["weight"].mean()
    return classifier.fit(np.stack(list(rows["features"])), rows["label"].map(TIERS.index).to_numpy(), sample_weight=weight)


def predict_by_boosting(rows: DataFrame, classifier: Any) -> DataFrame:
    """Predict the tiers of pairs.

    rows:    (user_id, interest_id, features array<float>)
    Returns: (user_id, interest_id, tier, p_core, p_secondary, p_marginal)
    """
    prior = _prior(classifier)

    def predict(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            probabilities = _probabilities(classifier, np.stack(list(batch["features"])))
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


def _probabilities(classifier: Any, rows: np.ndarray) -> np.ndarray:
    """Predict the probabilities of all tiers: 0 for a tier that the classifier never saw."""
    probabilities = np.zeros((len(rows), len(TIERS)))
    probabilities[:, classifier.classes_] = classifier.predict_proba(rows)
    return probabilities
