"""Gradient boosting: bins by hand, and what it learns of features in bins."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import SparkSession

from interest_tiers.config import TIERS
from interest_tiers.evaluation import boosting
from interest_tiers.evaluation.boosting import find_edges, fit_boosting, predict_by_boosting, put_into_bins


def test_bins_hold_about_the_same_number_of_rows_and_what_is_undefined_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "BINS", 4)
    features = np.array([[1.0, 5.0, np.nan], [2.0, 5.0, np.nan], [3.0, np.nan, np.nan], [4.0, 5.0, np.nan], [100.0, 5.0, np.nan]])
    edges = find_edges(features)
    assert [edge.tolist() for edge in edges] == [[2.0, 3.0, 4.0], [5.0], []]
    binned = put_into_bins(np.vstack([features, [[2.5, 9.0, 1.0]]]), edges)
    np.testing.assert_array_equal(binned[:, 0], [0, 0, 1, 2, 3, 1])
    np.testing.assert_array_equal(binned[:, 1], [0, 0, np.nan, 0, 0, 1])
    # scikit-learn fails where a feature is undefined in every row.
    np.testing.assert_array_equal(binned[:, 2], [0.0] * 6)


def test_it_learns_a_rule_from_the_weighted_majority(spark: SparkSession) -> None:
    """Above 0.5 core, below marginal; rows of the opposite weigh nothing. A tier that never occurs has probability 0."""
    random = np.random.default_rng(7)
    rows = []
    for number in range(1200):
        x = float(random.random())
        is_true = number % 3 > 0
        label = TIERS[0] if (x > 0.5) == is_true else TIERS[2]
        rows.append((f"u{number}", "i", number, [x, float("nan")], label, 1.0 if is_true else 0.001))
    schema = "user_id string, interest_id string, cutoff int, features array<float>, label string, weight double"
    examples = spark.createDataFrame(rows, schema)
    asked = spark.createDataFrame(
        [("a", "i", [0.9, float("nan")]), ("b", "i", [0.1, 3.0])], "user_id string, interest_id string, features array<float>"
    )
    found = {row["user_id"]: row for row in predict_by_boosting(asked, fit_boosting(examples, 17)).collect()}
    assert (found["a"]["tier"], found["b"]["tier"]) == ("core", "marginal")
    assert min(found["a"]["p_core"], found["b"]["p_marginal"]) > 0.9
    assert found["a"]["p_secondary"] == found["b"]["p_secondary"] == 0.0
