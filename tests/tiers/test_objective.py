"""J and F1 of Spark, numpy, torch and scikit-learn agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from scipy.special import softmax
from sklearn.metrics import f1_score

from interest_tiers.config import TIERS
from interest_tiers.tiers.losses import brier
from interest_tiers.tiers.objective import macro_f1, mean_f1, objective_j, squared_error


def test_j_by_hand() -> None:
    """Errors of 0.06, 2 and 0; the second counts twice."""
    probabilities = np.array([[0.8, 0.1, 0.1], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert objective_j(probabilities, np.array([0, 2, 1]), np.array([1.0, 2.0, 1.0])) == pytest.approx((0.06 + 2 * 2 + 0) / 4)


def test_j_is_the_same_by_spark_numpy_and_torch(spark: SparkSession) -> None:
    random = np.random.default_rng(6)
    scores, tiers = random.normal(size=(200, 3)), random.integers(0, 3, size=200)
    probabilities, weights = softmax(scores, axis=1), random.uniform(0.1, 1, size=200)
    by_numpy = objective_j(probabilities, tiers, weights)
    rows = pd.DataFrame({**dict(zip(TIERS, probabilities.T, strict=True)), "label": np.array(TIERS)[tiers], "weight": weights})
    error = squared_error([F.col(tier) for tier in TIERS])
    by_spark = spark.createDataFrame(rows).agg(F.sum(error * F.col("weight")) / F.sum("weight")).first()
    assert by_spark is not None
    assert by_spark[0] == pytest.approx(by_numpy, abs=1e-12)
    of_rows = brier(torch.from_numpy(scores), torch.from_numpy(tiers), torch.ones(3)).numpy()
    assert np.average(of_rows, weights=weights) == pytest.approx(by_numpy, abs=1e-6)


@pytest.mark.parametrize("last", [2, 1])  # 1: marginal neither occurs nor is predicted
def test_macro_f1_is_that_of_scikit_learn(last: int) -> None:
    random = np.random.default_rng(7)
    tiers, predicted = random.integers(0, last + 1, size=(2, 100))
    assert macro_f1(tiers, predicted) == f1_score(tiers, predicted, labels=range(3), average="macro", zero_division=0)


def test_mean_f1_averages_over_tiers_only() -> None:
    assert mean_f1(np.array([[1, 0], [2, 0], [0, 0]]), np.array([[4, 1], [4, 0], [0, 0]])) == pytest.approx([(0.5 + 1 + 0) / 3, 0])
