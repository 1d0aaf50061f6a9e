"""Gradient boosting on the features of the network: what many would use instead of one, and so what it has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from interest_tiers.config import TIERS
from interest_tiers.spark.sampling import sample_by_hash

#: It learns on one machine, from so many rows at most, of users drawn by hash.
MAX_ROWS = 400_000

#: Of the logarithm of the prior, so much is taken from that of a probability before the largest is the tier.
PRIOR_REMOVED = 0.5

_SAID = "user_id string, interest_id string, tier string, p_core double, p_secondary double, p_marginal double"


def fitted_boosting(examples: DataFrame, seed: int) -> Any:
    """A scikit-learn HistGradientBoostingClassifier. examples: user_id, interest_id, cut, features (in one column), label, weight."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    drawn = sample_by_hash(examples, "user_id", MAX_ROWS, examples.count()).orderBy("user_id", "interest_id", "cut")
    rows = drawn.select("features", "label", "weight").toPandas()
    classifier = HistGradientBoostingClassifier(
        max_iter=200, learning_rate=0.08, min_samples_leaf=100, l2_regularization=1.0, early_stopping=False, random_state=seed
    )
    return classifier.fit(np.stack(list(rows["features"])), rows["label"].map(TIERS.index).to_numpy(), sample_weight=rows["weight"])


def said_by_boosting(rows: DataFrame, classifier: Any) -> DataFrame:
    """What it says of pairs: user_id, interest_id, tier, p_core, p_secondary, p_marginal. rows: user_id, interest_id, features."""
    prior = _prior(classifier)

    def say(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            probabilities = _of_all_tiers(classifier, np.stack(list(batch["features"])))
            places = (np.log(np.maximum(probabilities, 1e-12)) - PRIOR_REMOVED * np.log(prior)).argmax(axis=1)
            said = {f"p_{tier}": probabilities[:, place] for place, tier in enumerate(TIERS)}
            yield pd.DataFrame({"user_id": batch["user_id"], "interest_id": batch["interest_id"], "tier": np.array(TIERS)[places], **said})

    return rows.select("user_id", "interest_id", "features").mapInPandas(say, _SAID)


def _prior(classifier: Any) -> np.ndarray:
    """How often each tier was there, as its first guess has it."""
    baseline = np.exp(classifier._baseline_prediction.ravel())
    prior = np.full(len(TIERS), 1e-6)
    prior[classifier.classes_] = baseline / baseline.sum()
    return prior


def _of_all_tiers(classifier: Any, rows: np.ndarray) -> np.ndarray:
    probabilities = np.zeros((len(rows), len(TIERS)))
    probabilities[:, classifier.classes_] = classifier.predict_proba(rows)
    return probabilities
