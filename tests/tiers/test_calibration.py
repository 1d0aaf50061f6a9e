"""Counts of outcomes become probabilities."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.config import TIERS
from interest_tiers.tiers.calibration import calibrate

#: Outcomes (core, secondary, marginal) of each tier of the rule.
COUNTS = {"core": (6, 2, 1), "secondary": (1, 3, 3), "marginal": (0, 0, 5)}


def test_shares_of_outcomes_with_one_added_to_every_count(spark: SparkSession) -> None:
    rows = [(rule, label) for rule, counts in COUNTS.items() for label, n in zip(TIERS, counts, strict=True) for _ in range(n)]
    calibration = calibrate(spark.createDataFrame(rows, "rule_tier string, label string").withColumn("level", F.lit(1)))
    assert calibration.probabilities == {
        "core": {"core": 7 / 12, "secondary": 3 / 12, "marginal": 2 / 12},
        "secondary": {"core": 2 / 10, "secondary": 4 / 10, "marginal": 4 / 10},
        "marginal": {"core": 1 / 8, "secondary": 1 / 8, "marginal": 6 / 8},
    }
    assert calibration.prior == {"core": 8 / 24, "secondary": 6 / 24, "marginal": 10 / 24}
    assert calibration.n_pairs == 21
    for shares in (*calibration.probabilities.values(), calibration.prior):
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-12)

    tiers = spark.createDataFrame([("u1", "marginal"), ("u2", "core")], "user_id string, rule_tier string").withColumn("level", F.lit(1))
    assertDataFrameEqual(
        tiers.select("user_id", *calibration.columns(F.col("rule_tier"))),
        spark.createDataFrame(
            [("u1", 1 / 8, 1 / 8, 6 / 8), ("u2", 7 / 12, 3 / 12, 2 / 12)],
            "user_id string, p_core double, p_secondary double, p_marginal double",
        ),
    )


def test_without_any_outcome_every_tier_is_as_likely(spark: SparkSession) -> None:
    calibration = calibrate(spark.createDataFrame([], "level int, rule_tier string, label string"))
    third = dict.fromkeys(TIERS, 1 / 3)
    assert calibration.probabilities == dict.fromkeys(TIERS, third)
    assert calibration.prior == third
    assert calibration.n_pairs == 0
