"""Items that the same users have had: similarities by hand and by numpy, and what goes with a user's own items."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.recommend import co_use
from interest_tiers.recommend.co_use import find_co_used_items, relate_items

OWN = "user_id string, interest_id string, item_id string, evidence double"
RELATED = "item_id string, other_id string, other_interest_id string, similarity double"


def own_items(spark: SparkSession, held: dict[str, str]) -> DataFrame:
    """The first letter of an item is its interest; every item has evidence 1."""
    return spark.createDataFrame([(user, item[0], item, 1.0) for user, items in held.items() for item in items.split()], OWN)


def kept(name: str, rows: DataFrame) -> DataFrame:
    return rows.localCheckpoint()


def similarities(own: DataFrame) -> dict[tuple[str, str], float]:
    return {(row["item_id"], row["other_id"]): row["similarity"] for row in relate_items(own, kept).collect()}


def test_similarity_is_the_shrunk_cosine_of_users_and_one_shared_user_is_none(spark: SparkSession) -> None:
    own = own_items(spark, {"u1": "a1 b1 c1", "u2": "a1 b1", "u3": "a1", "u4": "a1 c1 d1", "u5": "d1"})
    disliked = spark.createDataFrame([(f"u{number}", "e", "e1", 0.0) for number in range(1, 6)], OWN)
    of_b, of_c = 2 / (math.sqrt(4 * 2) + 5), 2 / (math.sqrt(4 * 2) + 5)
    found = similarities(own.unionByName(disliked))
    assert found == pytest.approx({("a1", "b1"): of_b, ("b1", "a1"): of_b, ("a1", "c1"): of_c, ("c1", "a1"): of_c})
    interests = {row["other_id"]: row["other_interest_id"] for row in relate_items(own, kept).collect()}
    assert interests == {"a1": "a", "b1": "b", "c1": "c"}


def test_similarities_are_those_of_numpy(spark: SparkSession) -> None:
    held = np.random.default_rng(3).random((40, 12)) < 0.3
    own = own_items(spark, {f"u{user}": " ".join(f"i{item:02d}" for item in np.flatnonzero(held[user])) for user in range(40)})
    both = held.T.astype(int) @ held.astype(int)
    users = held.sum(axis=0)
    expected = {
        (f"i{one:02d}", f"i{other:02d}"): both[one, other] / (math.sqrt(users[one] * users[other]) + 5)
        for one in range(12)
        for other in range(12)
        if one != other and both[one, other] >= 2
    }
    assert similarities(own) == pytest.approx(expected)


def test_items_of_a_user_and_neighbours_of_an_item_are_capped_by_strength(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_use, "ITEMS_PER_USER", 3)
    rows = [
        (f"u{user}", "a", item, evidence) for user in range(3) for item, evidence in (("a1", 4.0), ("a2", 3.0), ("a3", 2.0), ("a4", 1.0))
    ]
    assert {item for pair in similarities(spark.createDataFrame(rows, OWN)) for item in pair} == {"a1", "a2", "a3"}
    monkeypatch.setattr(co_use, "NEIGHBOURS", 1)
    # a3 is with a1 more often than a2 is; ties go by item.
    own = own_items(spark, {"u1": "a1 a2 a3", "u2": "a1 a2 a3", "u3": "a1 a3"})
    assert set(similarities(own)) == {("a1", "a3"), ("a2", "a1"), ("a3", "a1")}


def co_used(spark: SparkSession, own: Sequence[tuple[str, str, str, float]]) -> dict[tuple[str, str], tuple[str, float, str]]:
    related = spark.createDataFrame(
        [("a1", "b1", "b", 0.5), ("a1", "c1", "c", 0.25), ("a2", "b1", "b", 0.125), ("a2", "a1", "a", 0.9), ("d1", "c1", "c", 1.0)], RELATED
    )
    found = find_co_used_items(spark.createDataFrame(own, OWN), related).collect()
    return {(row["user_id"], row["item_id"]): (row["interest_id"], row["co_use"], row["because_id"]) for row in found}


def test_co_use_is_the_mean_similarity_to_own_items_by_evidence(spark: SparkSession) -> None:
    found = co_used(spark, [("u1", "a", "a1", 3.0), ("u1", "a", "a2", 1.0), ("u2", "d", "d1", 5.0)])
    # Own items are none, however similar.
    assert found == {
        ("u1", "b1"): ("b", pytest.approx(0.75 * 0.5 + 0.25 * 0.125), "a1"),
        ("u1", "c1"): ("c", pytest.approx(0.75 * 0.25), "a1"),
        ("u2", "c1"): ("c", pytest.approx(1.0), "d1"),
    }


def test_disliked_items_neither_speak_nor_are_offered(spark: SparkSession) -> None:
    assert co_used(spark, [("u1", "a", "a1", 1.0), ("u1", "b", "b1", 0.0), ("u1", "d", "d1", 0.0)]) == {("u1", "c1"): ("c", 0.25, "a1")}


def test_users_who_left_long_ago_are_served_by_what_they_had(spark: SparkSession) -> None:
    assert co_used(spark, [("u1", "a", "a1", 3e-200), ("u1", "a", "a2", 1e-200)]) == {
        ("u1", "b1"): ("b", pytest.approx(0.75 * 0.5 + 0.25 * 0.125), "a1"),
        ("u1", "c1"): ("c", pytest.approx(0.75 * 0.25), "a1"),
    }


def test_only_the_strongest_own_items_speak(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_use, "OWN_ITEMS", 1)
    assert co_used(spark, [("u1", "a", "a2", 2.0), ("u1", "d", "d1", 1.0)]) == {
        ("u1", "b1"): ("b", 0.125, "a2"),
        ("u1", "a1"): ("a", pytest.approx(0.9), "a2"),
    }


def test_a_user_gets_the_candidates_with_the_most_co_use(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_use, "CANDIDATES", 1)
    assert co_used(spark, [("u1", "a", "a1", 1.0)]) == {("u1", "b1"): ("b", 0.5, "a1")}
