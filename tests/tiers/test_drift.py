"""Drift between the tiers of two days, by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.config import TierDrift
from interest_tiers.tiers.drift import Drift, drift_between, stability_index

SCHEMA = "user_id string, interest_id string, tier string, p_core double, method string, model_version string"
SINCE = date(2024, 6, 1)
COUNTS = st.lists(st.integers(0, 10**9), min_size=3, max_size=3)


def tiers(spark: SparkSession, rows: list[tuple[str, str, str, float]], model: str = "m1") -> DataFrame:
    return spark.createDataFrame([(*row, "model", model) for row in rows], SCHEMA)


def test_users_with_other_core_interests(spark: SparkSession) -> None:
    """a keeps its core interest; b changes its; c gains one that it did not have; d is new, e is gone."""
    before = [
        ("a", "x", "core", 0.9), ("a", "y", "marginal", 0.1), ("b", "x", "core", 0.9), ("b", "y", "secondary", 0.3),
        ("c", "x", "core", 0.9), ("e", "x", "core", 0.9),
    ]  # fmt: skip
    after = [
        ("a", "x", "core", 0.8), ("a", "y", "secondary", 0.2), ("b", "x", "secondary", 0.4), ("b", "y", "core", 1.0),
        ("c", "x", "core", 0.9), ("c", "z", "core", 0.7), ("d", "x", "core", 0.9),
    ]  # fmt: skip
    drift = drift_between(tiers(spark, before), tiers(spark, after), SINCE, have_identity=True)
    assert drift.core_changed_share == pytest.approx(2 / 3)
    assert drift.is_same_model
    # Of six pairs four are core, one secondary, one marginal; of seven five, two, none. One is added to each.
    first, second = np.array([5, 2, 2]) / 9, np.array([6, 3, 1]) / 10
    assert drift.of_tiers == pytest.approx(((second - first) * np.log(second / first)).sum())
    # Tenths: 1, 3, and four times 9; then 2, 4, 7, 8, and 9 three times, 1.0 among them.
    first, second = np.ones(10), np.ones(10)
    first[[1, 3, 9]] += [1, 1, 4]
    second[[2, 4, 7, 8, 9]] += [1, 1, 1, 1, 3]
    assert drift.of_p_core == pytest.approx(stability_index(first - 1, second - 1))


def test_without_identity_and_with_another_model(spark: SparkSession) -> None:
    rows = [("a", "x", "core", 0.9)]
    drift = drift_between(tiers(spark, rows), tiers(spark, rows, "m2"), SINCE, have_identity=False)
    assert drift == Drift(SINCE, 0.0, 0.0, None, is_same_model=False)
    nobody = drift_between(tiers(spark, rows), tiers(spark, [("b", "x", "core", 0.9)]), SINCE, have_identity=True)
    assert nobody.core_changed_share is None


@given(COUNTS, COUNTS)
def test_the_index_is_0_for_the_same_and_the_same_both_ways(one: list[int], other: list[int]) -> None:
    first, second = np.array(one, dtype=float), np.array(other, dtype=float)
    assert stability_index(first, first) == 0.0
    assert stability_index(first, second) == pytest.approx(stability_index(second, first))
    assert stability_index(first, second) >= 0.0


def test_only_what_is_above_a_limit_is_named() -> None:
    limits = TierDrift(max_population_stability_index=0.2, max_core_changed_share=0.4)
    assert Drift(SINCE, 0.2, 0.1, 0.4, is_same_model=True).beyond(limits) == []
    assert Drift(SINCE, 0.3, 0.1, None, is_same_model=True).beyond(limits) == [
        "the population stability index of the tiers is 0.300 (at most 0.2)"
    ]
    (found,) = Drift(SINCE, 0.1, 0.1, 0.5, is_same_model=True).beyond(limits)
    assert found == "the share of users with other core interests is 0.500 (at most 0.4)"
    assert Drift(SINCE, 9.0, 9.0, 1.0, is_same_model=False).beyond(limits) == []
