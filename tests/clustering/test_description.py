"""Sizes, names, characteristic interests and items of clusters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.clustering.description import CLUSTERS, Candidate, describe_clusters, name_apart, rank_candidates

USER_CLUSTERS = "user_id string, cluster_id string, is_primary boolean, silhouette double"

Shares = Mapping[str, Mapping[str, float]]


def pairs_of(spark: SparkSession, shares: Shares) -> DataFrame:
    rows = [(user, interest, share) for user, held in shares.items() for interest, share in held.items()]
    return spark.createDataFrame(rows, "user_id string, interest_id string, share double")


def names_of(spark: SparkSession, shares: Shares) -> DataFrame:
    interests = sorted({interest for held in shares.values() for interest in held})
    return spark.createDataFrame([(interest, interest.upper()) for interest in interests], "interest_id string, name string")


def describe(
    spark: SparkSession, members: list[tuple[str, str, bool, float | None]], shares: Shares, had: list[tuple[str, str]]
) -> DataFrame:
    items = spark.createDataFrame([("p1", "Milk 1 l"), ("p2", "Milk 1 l"), ("p3", None)], "item_id string, text string")
    centroids = {"c01": np.array([1.0, 0.0]), "c02": np.array([0.0, 1.0]), "c03": np.array([-1.0, 0.0])}  # nobody is in the third
    before = spark.createDataFrame([("u1", "c01"), ("u9", "c01")], "user_id string, cluster_id string")
    return describe_clusters(
        spark.createDataFrame(members, USER_CLUSTERS),
        pairs_of(spark, shares),
        names_of(spark, shares),
        spark.createDataFrame(had, "user_id string, item_id string"),
        items,
        centroids,
        before,
    )


def test_clusters_by_hand(spark: SparkSession) -> None:
    """Milk, beer and nuts are had in c01 alone: their lift is 4/3, and the share decides. Two items have one text."""
    shares = {
        "u1": {"milk": 1.0},
        "u2": {"milk": 0.5, "beer": 0.5},
        "u3": {"milk": 0.25, "beer": 0.25, "nuts": 0.5},
        "u4": {"wine": 1.0},
    }
    members = [
        ("u1", "c01", True, 0.5),
        ("u2", "c01", True, 0.25),
        ("u3", "c01", True, 0.0),
        ("u4", "c02", True, -0.5),
        ("u4", "c01", False, -0.9),  # not the primary one: neither size nor interests nor silhouette count it
    ]
    had = [("u1", "p1"), ("u2", "p2"), ("u4", "p3"), ("u3", "p3")]
    expected = [
        ("c01", "Milk · beer · nuts", 3, 2, [1.0, 0.0], 0.25, ["MILK", "BEER", "NUTS"], ["Milk 1 l", "p3"], []),
        ("c02", "Wine", 1, None, [0.0, 1.0], -0.5, ["WINE"], ["p3"], []),
    ]
    assertDataFrameEqual(describe(spark, members, shares, had), spark.createDataFrame(expected, CLUSTERS))


def test_one_cluster_is_named_by_its_largest_interests(spark: SparkSession) -> None:
    shares = {"u1": {"c": 0.5, "b": 0.25, "a": 0.25}, "u2": {"d": 0.375, "c": 0.625}}
    got = describe(spark, [("u1", "c01", True, None), ("u2", "c01", True, None)], shares, []).first()
    assert got is not None
    assert (got["name"], got["top_interests"], got["top_items"], got["silhouette"]) == ("C · d · a", ["C", "D", "A", "B"], [], None)


def test_attributes_by_hand(spark: SparkSession) -> None:
    """Of 20 users each, 15 of c01 and 4 of c02 have children; 9 of c02 have a dog, which are too few; a town that all have says nothing."""
    members = [(f"u{n:02}", f"c0{1 + n // 20}", True, None) for n in range(40)]
    attributes = [
        (user, {"town": "Ulm", **({"kids": "yes" if n < 15 or n >= 35 else "no"} if n != 39 else {}), **({"pet": "dog"} if n > 30 else {})})
        for n, (user, *_) in enumerate(members)
    ]
    users = spark.createDataFrame(attributes, "user_id string, attributes map<string,string>")
    shares = {user: {"tea": 1.0} for user, *_ in members}
    described = describe_clusters(
        spark.createDataFrame(members, USER_CLUSTERS),
        pairs_of(spark, shares),
        names_of(spark, shares),
        spark.createDataFrame([], "user_id string, item_id string"),
        spark.createDataFrame([], "item_id string, text string"),
        {"c01": np.array([1.0, 0.0]), "c02": np.array([0.0, 1.0])},
        None,
        users,
    )
    found = {row["cluster_id"]: [tuple(each) for each in row["top_attributes"]] for row in described.collect()}
    # Of 39 users who say whether they have children, 15 + 4 do.
    assert found["c01"] == [("kids", "yes", 0.75, pytest.approx(0.75 / (19 / 39)))]
    assert found["c02"] == [("kids", "no", pytest.approx(15 / 19), pytest.approx(15 / 19 / (20 / 39)))]


def test_nobody_in_any_cluster_is_no_row(spark: SparkSession) -> None:
    assert describe(spark, [], {"u1": {"a": 1.0}}, []).collect() == []


def test_lift_ranks_what_is_large_enough_and_share_the_rest() -> None:
    staple, fancy, rare = Candidate("staple", 0.3, 1.1), Candidate("fancy", 0.02, 4.0), Candidate("rare", 0.001, 90.0)
    assert rank_candidates([rare, staple, fancy], floor=0.01) == ["fancy", "staple", "rare"]
    assert rank_candidates([rare, Candidate("rarer", 0.0005, 200.0)], floor=0.01) == ["rare", "rarer"]
    assert rank_candidates([fancy, Candidate("fancy", 0.05, 1.5)], floor=0.01) == ["fancy"]


def test_no_two_names_have_the_same_words() -> None:
    ranked = {"c02": ["BABY FOODS", "Tea", "MILK", "BEER"], "c01": ["MILK", "Tea", "WINE", "BREAD", "NUTS", "BEER"], "c03": ["MILK"]}
    assert name_apart(ranked) == {"c02": "Baby foods · Tea · milk", "c01": "Wine · bread · nuts", "c03": "Milk"}
    assert name_apart({"c01": []}) == {"c01": "c01"}
