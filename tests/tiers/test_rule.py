"""Tiers by mass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.config import TIERS, Tiers
from interest_tiers.tiers.rule import with_tier

#: evidence of each interest of a user, and the tiers that follow; core_mass 0.5, secondary_mass 0.8.
BY_HAND: dict[str, tuple[dict[str, float], dict[str, str]]] = {
    "a boundary is met exactly": (
        {"a": 5.0, "b": 3.0, "c": 2.0},
        {"a": "core", "b": "secondary", "c": "marginal"},
    ),
    "a boundary is missed by one": (
        {"a": 499.0, "b": 300.0, "c": 100.0, "d": 101.0},
        {"a": "core", "b": "core", "c": "marginal", "d": "secondary"},
    ),
    "one interest is passed both times": (
        {"a": 9.0, "b": 1.0},
        {"a": "core", "b": "marginal"},
    ),
    "ties go by interest_id": (
        {"d": 1.0, "b": 1.0, "a": 1.0, "c": 1.0},
        {"a": "core", "b": "core", "c": "secondary", "d": "secondary"},
    ),
    "one interest": ({"a": 0.001}, {"a": "core"}),
    "an interest without evidence": (
        {"a": 1.0, "b": 0.0},
        {"a": "core", "b": "marginal"},
    ),
    "no evidence at all": ({"a": 0.0, "b": 0.0}, {"a": "marginal", "b": "marginal"}),
    "parts that no double can hold": (
        {"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.1, "e": 0.1, "f": 0.1},
        {"a": "core", "b": "core", "c": "core", "d": "secondary", "e": "secondary", "f": "marginal"},
    ),
}

Users = Mapping[str, Mapping[str, float]]


def tiers_of(spark: SparkSession, users: Users, config: Tiers) -> dict[str, dict[str, str]]:
    rows = [(user, interest, float(evidence)) for user, held in users.items() for interest, evidence in held.items()]
    frame = spark.createDataFrame(rows, "user_id string, interest_id string, evidence double").withColumn("level", F.lit(1))
    found: dict[str, dict[str, str]] = {user: {} for user in users}
    for row in with_tier(frame, config, "evidence", "tier").collect():
        found[row["user_id"]][row["interest_id"]] = row["tier"]
    return found


@pytest.fixture(scope="module")
def by_hand(spark: SparkSession) -> dict[str, dict[str, str]]:
    return tiers_of(spark, {case: evidence for case, (evidence, _) in BY_HAND.items()}, Tiers())


@pytest.mark.parametrize("case", BY_HAND)
def test_tiers_by_hand(by_hand: dict[str, dict[str, str]], case: str) -> None:
    assert by_hand[case] == BY_HAND[case][1]


def test_a_boundary_is_met_exactly_at_any_mass(spark: SparkSession) -> None:
    """0.07 * 100 and 0.57 * 100 are no whole numbers in doubles."""
    days = {f"i{place:03}": 1 for place in range(100)}
    found = tiers_of(spark, {"u": days}, Tiers(core_mass=0.07, secondary_mass=0.57))["u"]
    assert [sum(tier == name for tier in found.values()) for name in TIERS] == [7, 50, 43]


def test_the_other_columns_stay_and_the_name_is_given(spark: SparkSession) -> None:
    pairs = spark.createDataFrame(
        [("u1", "a", 3, 1.0, 1), ("u1", "b", 4, 9.0, 1), ("u2", "a", 5, 1.0, 1)],
        "user_id string, interest_id string, n int, days double, level int",
    )
    expected = spark.createDataFrame(
        [("u1", "a", 3, 1.0, 1, "marginal"), ("u1", "b", 4, 9.0, 1, "core"), ("u2", "a", 5, 1.0, 1, "core")],
        "user_id string, interest_id string, n int, days double, level int, label string",
    )
    assertDataFrameEqual(with_tier(pairs, Tiers(), "days", "label"), expected)


def by_definition(days: Mapping[str, int], core_mass: float, secondary_mass: float) -> dict[str, str]:
    """Core is the smallest set that reaches core_mass, in exact arithmetic."""
    ranked = sorted(days, key=lambda interest: (-days[interest], interest))
    total = sum(days.values())

    def smallest(mass: float) -> int:
        wanted = Fraction(str(mass)) * total
        return next(n for n in range(len(ranked) + 1) if sum(days[interest] for interest in ranked[:n]) >= wanted)

    n_core, n_listed = smallest(core_mass), smallest(secondary_mass)
    names = ["core"] * n_core + ["secondary"] * (n_listed - n_core) + ["marginal"] * (len(ranked) - n_listed)
    return dict(zip(ranked, names, strict=True))


USER = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 12), min_size=1)
MASSES = st.sampled_from([(0.5, 0.8), (0.3, 0.7), (0.28, 0.57), (0.01, 0.99)])


@given(users=st.lists(USER, min_size=40, max_size=80), masses=MASSES)
@settings(
    max_examples=5,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
def test_core_is_the_smallest_set_that_reaches_its_mass(
    spark: SparkSession, users: Sequence[Mapping[str, int]], masses: tuple[float, float]
) -> None:
    named = {f"u{i}": days for i, days in enumerate(users)}
    core_mass, secondary_mass = masses
    found = tiers_of(spark, named, Tiers(core_mass=core_mass, secondary_mass=secondary_mass))
    assert found == {user: by_definition(days, core_mass, secondary_mass) for user, days in named.items()}
