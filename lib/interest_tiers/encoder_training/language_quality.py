"""Measures a language model: perplexity, also of token frequencies, and how well its vectors predict categories."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.spark.worker import once_per_worker, task_resources

#: Blocks of tokens in a forward pass.
BLOCKS = 16

#: Inverse regularisation strengths of the category classifier, and cross-validation folds that choose among them.
STRENGTHS, FOLDS = (0.001, 0.01, 0.1, 1.0), 3


def perplexity(blocks: DataFrame, model: str) -> float:
    """Compute the perplexity of token blocks: exp of the mean negative log-likelihood, without the first token of a block.

    blocks: (tokens array<int>), from examples.token_blocks
    """

    # Part of the workers' cache key: another model may be put at the same path later.
    fingerprint = read_model_folder(model).fingerprint

    # A pandas function because the model is Python; over an iterator so that it loads once per task at most.
    def losses(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        device, threads = task_resources()
        for batch in batches:
            for start in range(0, len(batch), BLOCKS):
                yield _losses(np.stack(batch["tokens"].iloc[start : start + BLOCKS].tolist()), model, fingerprint, device, threads)

    of_blocks = blocks.select("tokens").mapInPandas(losses, "loss double, n bigint")
    sums = of_blocks.agg(F.sum("loss").alias("loss"), F.sum("n").alias("n")).first()
    assert sums is not None  # an aggregate without keys has one row
    return math.exp(sums["loss"] / sums["n"])


def unigram_perplexity(training: DataFrame, held_out: DataFrame, vocabulary: int) -> float:
    """Compute the perplexity of a unigram model: token frequencies of the training text, with one added to every count.

    training, held_out: (token int, n bigint), from examples.token_counts
    vocabulary:         number of tokens
    """
    both = held_out.withColumnRenamed("n", "held_out").join(training, "token", "left").toPandas()
    total = training.agg(F.sum("n").alias("n")).first()
    assert total is not None  # an aggregate without keys has one row
    probability = (both["n"].fillna(0) + 1) / (int(total["n"] or 0) + vocabulary)
    return float(np.exp(-(both["held_out"] * np.log(probability)).sum() / both["held_out"].sum()))


@dataclass(frozen=True)
class CategoryAccuracy:
    """Accuracy of a category classifier, and of always predicting the most frequent category (by_chance).

    plain:              share of rows whose category is predicted
    balanced:           accuracy within each category, averaged; of a classifier that weighs all categories alike
    balanced_by_chance: 1 over the number of categories
    """

    plain: float
    balanced: float
    plain_by_chance: float
    balanced_by_chance: float


def category_accuracy(training: pd.DataFrame, held_out: pd.DataFrame, seed: int) -> CategoryAccuracy:
    """Measure how well logistic regressions on the vectors predict the category.

    training, held_out: (embedding, category)

    Cross-validation within training chooses the regularisation.
    A row of held_out whose category is not in training is always wrong.
    """
    from sklearn.metrics import accuracy_score, recall_score

    vectors = [np.stack(rows["embedding"].tolist()) for rows in (training, held_out)]
    known, truth = training["category"], held_out["category"]
    predicted = [_classifier(seed, weights).fit(vectors[0], known).predict(vectors[1]) for weights in (None, "balanced")]
    most_frequent = np.full(len(truth), known.value_counts().sort_index().idxmax())

    def balanced(prediction: np.ndarray) -> float:
        return float(recall_score(truth, prediction, labels=sorted(set(truth)), average="macro", zero_division=0))

    return CategoryAccuracy(
        plain=float(accuracy_score(truth, predicted[0])),
        balanced=balanced(predicted[1]),
        plain_by_chance=float(accuracy_score(truth, most_frequent)),
        balanced_by_chance=balanced(most_frequent),
    )


def _classifier(seed: int, class_weight: str | None) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight=class_weight))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    scoring = "accuracy" if class_weight is None else "balanced_accuracy"
    return GridSearchCV(network, {"logisticregression__C": STRENGTHS}, scoring=scoring, cv=folds)


def _losses(tokens: np.ndarray, model: str, fingerprint: str, device: str, threads: int) -> pd.DataFrame:
    import torch

    ids = torch.from_numpy(tokens.astype(np.int64)).to(device)
    with torch.inference_mode():
        loss = _worker_network(model, fingerprint, device, threads)(ids.clamp(min=0), (ids >= 0).long()).item()
    return pd.DataFrame({"loss": [loss], "n": [int((tokens[:, 1:] >= 0).sum())]})


@once_per_worker
def _worker_network(model: str, fingerprint: str, device: str, threads: int) -> Any:
    import torch

    from interest_tiers.encoder_training.objectives import TokenLosses, loaded_model

    torch.set_num_threads(threads)
    return TokenLosses(loaded_model(read_model_folder(model), "next_token")).eval().to(device)
