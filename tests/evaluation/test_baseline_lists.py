"""The lists that a recommender has to beat."""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.evaluation.baseline_lists import (
    POPULAR_POOL,
    assign_to_one_cluster,
    find_popular_items,
    rank_own_items,
    rank_popular_items,
)

OWN = "user_id string, item_id string, n_days bigint, evidence double"
RANKED = "user_id string, item_id string, rank int"


def test_own_items_by_days_then_recency_then_id(spark: SparkSession) -> None:
    own = [
        ("u1", "a", 2, 0.5), ("u1", "b", 3, 0.1), ("u1", "c", 2, 0.75), ("u1", "e", 1, 0.5), ("u1", "d", 1, 0.5),
        ("u2", "a", 1, 0.5),
    ]  # fmt: skip
    expected = [("u1", "b", 1), ("u1", "c", 2), ("u1", "a", 3), ("u1", "d", 4), ("u2", "a", 1)]
    assertDataFrameEqual(rank_own_items(spark.createDataFrame(own, OWN), 4), spark.createDataFrame(expected, RANKED))


def test_popular_items_with_and_without_own_ones(spark: SparkSession) -> None:
    own = [
        ("u1", "a", 2, 1.0), ("u1", "c", 9, 1.0),
        ("u2", "a", 3, 1.0), ("u2", "b", 5, 1.0),
        ("u3", "d", 1, 1.0),
        ("u4", "a", 1, 1.0), ("u4", "b", 1, 1.0), ("u4", "c", 1, 1.0), ("u4", "d", 1, 1.0),
    ]  # fmt: skip
    # Days: c 10, a 6, b 6 (after a by id), d 2; a has the most users.
    own_items = spark.createDataFrame(own, OWN)
    popular = find_popular_items(own_items).cache()
    assertDataFrameEqual(popular, spark.createDataFrame([("c", 1), ("a", 2), ("b", 3), ("d", 4)], "item_id string, place int"))
    users = spark.createDataFrame([("u1",), ("u3",), ("u4",), ("newcomer",)], "user_id string")
    everyone = [(user, item, rank) for user in ("u1", "u3", "u4", "newcomer") for rank, item in enumerate("ca", 1)]
    assertDataFrameEqual(rank_popular_items(users, popular, own_items, 2, repeats=True), spark.createDataFrame(everyone, RANKED))
    unseen = [("u1", "b", 1), ("u1", "d", 2), ("u3", "c", 1), ("u3", "a", 2), ("newcomer", "c", 1), ("newcomer", "a", 2)]
    assertDataFrameEqual(rank_popular_items(users, popular, own_items, 2, repeats=False), spark.createDataFrame(unseen, RANKED))


def test_the_pool_of_popular_items_is_bounded(spark: SparkSession) -> None:
    own = spark.range(POPULAR_POOL + 50).selectExpr("format_string('i%04d', id) AS item_id", "1000 - id AS n_days", "1.0 AS evidence")
    places = {row["item_id"]: row["place"] for row in find_popular_items(own).collect()}
    assert places == {f"i{place:04}": place + 1 for place in range(POPULAR_POOL)}


def test_everyone_in_one_cluster(spark: SparkSession) -> None:
    users = spark.createDataFrame([("u1",), ("u2",)], "user_id string")
    expected = spark.createDataFrame(
        [("u1", "everyone", 1.0, True), ("u2", "everyone", 1.0, True)],
        "user_id string, cluster_id string, membership double, is_primary boolean",
    )
    assertDataFrameEqual(assign_to_one_cluster(users), expected)
