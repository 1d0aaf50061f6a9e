"""Gradient boosting on the features of the network: the usual alternative, which a network has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from interest_tiers.config import TIERS
from interest_tiers.recommend.boosted_trees import fit_trees, load_trees
from interest_tiers.spark.sampling import sample_by_hash
from interest_tiers.spark.worker import once_per_worker, task_resources

if TYPE_CHECKING:
    import xgboost

#: It learns on one machine, from at most this many rows, of users sampled by hash.
MAX_ROWS = 200_000

#: Threads of the driver; see boosted_trees.
THREADS = 2

#: Settings of XGBoost.
SETTINGS: dict[str, Any] = {
    "objective": "multi:softprob", "tree_method": "hist", "grow_policy": "lossguide", "max_depth": 0, "max_leaves": 31, "max_bin": 64,
    "eta": 0.15, "reg_lambda": 1.0, "min_child_weight": 30.0,
}  # fmt: skip
ROUNDS = 100

#: Share of the prior's logarithm that is subtracted from that of a probability before the largest is the tier.
PRIOR_REMOVED = 0.5

_PREDICTED = "user_id string, interest_id string, tier string, p_core double, p_secondary double, p_marginal double"


@dataclass(frozen=True)
class Boosting:
    """A fitted classifier.

    model:   in XGBoost's UBJSON; None where all examples have one tier
    classes: positions in TIERS of the tiers that the examples have, ascending
    prior:   their shares in the weight of the examples
    """

    model: bytes | None
    classes: tuple[int, ...]
    prior: tuple[float, ...]

    def probabilities(self, features: np.ndarray, booster: xgboost.Booster | None) -> np.ndarray:
        """Predict the probabilities of all tiers, (rows, 3): 0 for a tier that no example has. booster: the loaded model."""
        probabilities = np.zeros((len(features), len(TIERS)))
        probabilities[:, self.classes] = 1.0 if booster is None else booster.inplace_predict(features)
        return probabilities

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Return positions of tiers: the largest probability, after a share of the prior is removed."""
        prior = np.full(len(TIERS), 1e-6)
        prior[list(self.classes)] = self.prior
        return (np.log(np.maximum(probabilities, 1e-12)) - PRIOR_REMOVED * np.log(prior)).argmax(axis=1)


def fit_boosting(examples: DataFrame, seed: int) -> Boosting:
    """Fit the classifier.

    examples: (cutoff, user_id, interest_id, features array<float>, label, weight)
    """
    sample = sample_by_hash(examples, "user_id", MAX_ROWS, examples.count()).orderBy("user_id", "interest_id", "cutoff")
    rows = sample.select("features", "label", "weight").toPandas()
    weight = (rows["weight"] / rows["weight"].mean()).to_numpy()
    classes, labels = np.unique(rows["label"].map(TIERS.index), return_inverse=True)
    prior = np.bincount(labels, weight) / weight.sum()
    model = None
    if len(classes) > 1:
        features = np.stack(list(rows["features"]))
        model = fit_trees(features, labels, weight, {**SETTINGS, "num_class": len(classes), "seed": seed}, ROUNDS, THREADS)
    return Boosting(model, tuple(classes.tolist()), tuple(prior.tolist()))


@once_per_worker
def _load_once(model: bytes | None) -> xgboost.Booster | None:
    return None if model is None else load_trees(model, task_resources()[1])


def predict_by_boosting(rows: DataFrame, boosting: Boosting) -> DataFrame:
    """Predict the tiers of pairs.

    rows:    (user_id, interest_id, features array<float>)
    Returns: (user_id, interest_id, tier, p_core, p_secondary, p_marginal)
    """

    def predict(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            if batch.empty:
                continue
            probabilities = boosting.probabilities(np.stack(list(batch["features"])), _load_once(boosting.model))
            tiers = np.array(TIERS)[boosting.decide(probabilities)]
            columns = {f"p_{tier}": probabilities[:, position] for position, tier in enumerate(TIERS)}
            yield pd.DataFrame({"user_id": batch["user_id"], "interest_id": batch["interest_id"], "tier": tiers, **columns})

    return rows.select("user_id", "interest_id", "features").mapInPandas(predict, _PREDICTED)
