"""Borrowed evidence, worked out by hand: who lends, how much, and to whom alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.config import Augmentation
from interest_tiers.interests import augmentation
from interest_tiers.interests.augmentation import borrow_evidence, build_profiles, find_neighbours
from interest_tiers.interests.features import user_interests
from interest_tiers.storage.schemas import USER_INTERESTS

AS_OF = date(2024, 6, 1)
DAYS = "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions long, value double, level long"

#: Evidence of four days each (they halve so slowly that a day counts 1): user to interest to days.
KNOWN = {"k1": {"A": 2, "B": 2}, "k2": {"A": 1, "C": 3}, "k3": {"D": 4}}

Rows = Mapping[tuple[str, str], dict[str, Any]]


def days_of(spark: SparkSession, users: Mapping[str, Mapping[str, int]], weight: float = 1.0) -> DataFrame:
    """Each user's days follow each other, one interest a day."""
    rows = []
    for user, interests in users.items():
        touched = [interest for interest, n in interests.items() for _ in range(n)]
        rows += [(user, i, f"item of {i}", AS_OF - timedelta(days=1 + n), weight, 1, 2.0, 1) for n, i in enumerate(touched)]
    return spark.createDataFrame(rows, DAYS)


def augmented(days: DataFrame, config: Augmentation) -> Rows:
    pairs = user_interests(days, AS_OF, 1e12, 7).cache()
    lending = build_profiles(pairs, days, config).cache()
    got = borrow_evidence(pairs, lending, find_neighbours(pairs, days, lending, config).cache(), config)
    assert got.schema.names == pairs.schema.names == [name for name in USER_INTERESTS.schema.names if name != "as_of"]
    return {(row["user_id"], row["interest_id"]): row.asDict() for row in got.collect()}


def of_user(rows: Rows, user: str) -> dict[str, tuple[float, float, float]]:
    """interest to evidence, borrowed and share."""
    return {i: (row["evidence"], row["borrowed"], pytest.approx(row["share"], abs=1e-12)) for (u, i), row in rows.items() if u == user}


def test_the_closest_lend_their_mean_share_of_the_own_evidence(spark: SparkSession) -> None:
    days = days_of(spark, {**KNOWN, "thin": {"A": 2}})
    got = augmented(days, Augmentation(neighbours=2, weight=0.3, max_interests=2))
    # cosine with A: k1 0.5 / 0.707, k2 0.25 / 0.79; k3 has nothing in common. Mean shares: A 0.375, B 0.25, C 0.375.
    lent = 0.225  # 0.3 * 2 * 0.375
    assert of_user(got, "thin") == {"A": (2 + lent, lent, (2 + lent) / (2 + 2 * lent)), "C": (lent, lent, lent / (2 + 2 * lent))}
    assert got["thin", "C"] == {
        "user_id": "thin", "interest_id": "C", "evidence": lent, "borrowed": lent, "share": got["thin", "C"]["share"], "rank": 2,
        "n_days": 0, "n_items": 0, "recency_days": None, "tenure_days": None, "n_interactions": 0, "n_days_recent": 0,
        "n_days_previous": 0, "trend": 0.0, "mean_gap_days": None, "total_value": 0.0, "level": 1,
    }  # fmt: skip
    assert (got["thin", "A"]["n_days"], got["thin", "A"]["total_value"], got["thin", "A"]["rank"]) == (2, 4.0, 1)
    # The well-known keep what they have.
    assert of_user(got, "k2") == {"A": (1.0, 0.0, 0.25), "C": (3.0, 0.0, 0.75)}
    assert sum(row["borrowed"] for (user, _), row in got.items() if user != "thin") == 0


def test_only_the_closest_lend_where_one_is_asked_for(spark: SparkSession) -> None:
    got = augmented(days_of(spark, {**KNOWN, "thin": {"A": 2}}), Augmentation(neighbours=1, weight=0.5))
    assert of_user(got, "thin") == {"A": (2.5, 0.5, 2.5 / 3), "B": (0.5, 0.5, 0.5 / 3)}


def test_who_has_days_enough_nothing_to_compare_or_no_evidence_left_borrows_nothing(spark: SparkSession) -> None:
    given_back = days_of(spark, {"gave back": {"A": 1}}, weight=-1.0)
    days = days_of(spark, {**KNOWN, "three days": {"A": 3}, "alone": {"Z": 1}}).unionByName(given_back)
    got = augmented(days, Augmentation(min_days=3))
    assert of_user(got, "three days") == {"A": (3.0, 0.0, 1.0)}
    assert of_user(got, "alone") == {"Z": (1.0, 0.0, 1.0)}
    assert of_user(got, "gave back") == {"A": (0.0, 0.0, 0.0)}
    assert of_user(augmented(days, Augmentation(min_days=4, weight=1.0)), "three days")["A"][1] > 0


def test_representatives_are_few_and_met_by_the_strongest_interests_alone(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "REPRESENTATIVES", 1)
    # A is represented by k1 alone (1/2 against 1/4), C by k2, D by k3.
    got = augmented(days_of(spark, {**KNOWN, "thin": {"A": 1}}), Augmentation(weight=1.0))
    assert of_user(got, "thin") == {"A": (1.5, 0.5, 0.75), "B": (0.5, 0.5, 0.25)}
    # The strongest interest is A on a tie with D, which is not looked at.
    got = augmented(days_of(spark, {**KNOWN, "thin": {"D": 1, "A": 1}}), Augmentation(weight=1.0, max_interests=1))
    assert of_user(got, "thin") == {"A": (2.0, 1.0, 2 / 3), "D": (1.0, 0.0, 1 / 3)}


def test_no_order_and_no_partitioning_matters(spark: SparkSession) -> None:
    users = {f"k{n}": {"A": 1 + n % 3, "B": 1 + n % 5, "C": 2} for n in range(40)} | {f"t{n}": {"A": 1, "BC"[n % 2]: 1} for n in range(6)}
    days = days_of(spark, users)
    config = Augmentation(neighbours=3)
    found = augmented(days, config)
    assert found == augmented(days.orderBy("item_id", "event_date").repartition(5), config)
    assert sum(row["borrowed"] > 0 for row in found.values()) == 6 * 3
