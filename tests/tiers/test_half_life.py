"""The half-life of the rule: tiers by hand, and J as pandas finds it."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.config import TIERS, Tiers
from interest_tiers.tiers.choice import measure_rule
from interest_tiers.tiers.examples import is_held_out, weigh
from interest_tiers.tiers.half_life import apply_rules, list_half_lives

CUT = date(2024, 6, 1)


def test_half_lives_reach_from_a_thirteenth_of_the_horizon_to_four_and_hold_the_one_given() -> None:
    assert list_half_lives(3, 91, 90.0) == [7.0, 50.0, 90.0, 364.0]
    assert list_half_lives(1, 91, 7.0) == [7.0]
    assert list_half_lives(4, 1, 0.5) == [0.5, 1.0, 4.0]  # whole days, each once, one at least


def test_the_rule_by_each_half_life_sees_nothing_from_the_cut_on(spark: SparkSession) -> None:
    ages = [("old", 20), ("old", 21), ("old", 22), ("old", 23), ("new", 1), ("new", 2)]
    rows = [("u", 1, interest, CUT - timedelta(days=age), 1.0) for interest, age in ages]
    later = [("u", 1, "new", CUT + timedelta(days=day), 1.0) for day in range(9)]
    days = spark.createDataFrame(rows + later, "user_id string, level int, interest_id string, event_date date, weight double")
    found = {row["interest_id"]: (row["tier_0"], row["tier_1"]) for row in apply_rules(days, CUT, Tiers(), [5.0, 1000.0]).collect()}
    # By 5 days: 0.21 old, 1.63 new. By 1000: 3.94 old, 2.00 new.
    assert found == {"new": ("core", "secondary"), "old": ("marginal", "core")}


def test_j_is_that_of_held_out_users_by_the_calibration_of_the_others(spark: SparkSession) -> None:
    random = np.random.default_rng(5)
    rows = [
        (
            f"u{user}",
            1,
            CUT,
            TIERS[label := int(random.integers(3))],
            TIERS[label] if random.random() < 0.8 else "core",
            TIERS[random.integers(3)],
        )
        for user in range(60)
        for _ in range(random.integers(1, 6))
    ]
    examples = spark.createDataFrame(rows, "user_id string, level int, cutoff date, label string, tier_0 string, tier_1 string")
    pairs = examples.withColumn("held", is_held_out(F.col("user_id"))).toPandas()
    is_judged = is_held_out(F.col("user_id"))
    found = [measure_rule(examples.where(~is_judged), weigh(examples.where(is_judged)), tier) for tier in ("tier_0", "tier_1")]
    assert found == pytest.approx([expected_j(pairs, "tier_0"), expected_j(pairs, "tier_1")])
    assert found[0] < found[1] - 0.1


def expected_j(pairs: pd.DataFrame, tier: str) -> float:
    """Mean over held-out users of the mean over their pairs."""
    others, held = pairs[~pairs["held"]], pairs[pairs["held"]]
    counts = pd.crosstab(others[tier], others["label"]).reindex(index=TIERS, columns=TIERS, fill_value=0) + 1
    said = counts.div(counts.sum(axis=1), axis=0).loc[held[tier]].to_numpy()
    came = np.array([[label == name for name in TIERS] for label in held["label"]], float)
    errors = pd.Series(((came - said) ** 2).sum(axis=1), index=held["user_id"])
    return float(errors.groupby(level=0).mean().mean())
