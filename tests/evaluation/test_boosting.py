"""Gradient boosting: what it learns of weighted rows."""

from __future__ import annotations

import numpy as np
from pyspark.sql import SparkSession

from interest_tiers.config import TIERS
from interest_tiers.evaluation.boosting import Boosting, fit_boosting, predict_by_boosting


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


def test_examples_of_one_tier_teach_that_tier(spark: SparkSession) -> None:
    schema = "user_id string, interest_id string, cutoff int, features array<float>, label string, weight double"
    examples = spark.createDataFrame([("u", f"i{n}", 0, [float(n)], TIERS[1], 1.0) for n in range(3)], schema)
    boosting = fit_boosting(examples, 17)
    assert boosting == Boosting(None, (1,), (1.0,))
    assert [row["tier"] for row in predict_by_boosting(examples, boosting).collect()] == [TIERS[1]] * 3


def test_a_share_of_the_prior_is_removed_before_the_largest_probability_decides() -> None:
    """.5 / sqrt(.81) = .56 is below .3 / sqrt(.19) = .69."""
    assert Boosting(None, (0, 2), (0.81, 0.19)).decide(np.array([[0.5, 0.0, 0.3], [0.9, 0.0, 0.1]])).tolist() == [2, 0]
