"""Candidate items and their scores."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.config import Recommend
from interest_tiers.recommend.candidates import (
    find_widely_used,
    list_interests,
    offer_popular_items,
    rank_popular_items,
    score_candidates,
    sum_item_evidence,
)

AS_OF = date(2018, 1, 1)
OWN = "user_id string, interest_id string, item_id string, evidence double, n_days bigint, last_day date"
OFFERED = "user_id string, interest_id string, item_id string, popularity double, cluster_id string, cluster_share double"
SCORED = (
    "user_id string, interest_id string, item_id string, score double, n_days bigint, last_day date, "
    "cluster_id string, cluster_share double"
)
POPULAR = "cluster_id string, interest_id string, item_id string, user_share double"
USER_CLUSTERS = "user_id string, cluster_id string, membership double, is_primary boolean"


def ago(days: int) -> date:
    return AS_OF - timedelta(days=days)


def test_evidence_of_items_halves_with_age(spark: SparkSession) -> None:
    days = [
        ("u1", "dairy", "milk", ago(10), 1.0),
        ("u1", "dairy", "milk", ago(20), 2.0),
        ("u1", "dairy", "cheese", ago(30), 1.0),
        ("u2", "dairy", "milk", ago(40), 4.0),
        ("u2", "dairy", "cheese", ago(20), 1.0),
        ("u2", "dairy", "cheese", ago(10), -1.0),  # returned
        ("u3", "dairy", "cheese", ago(10), -1.0),  # disliked
        ("u3", "dairy", "milk", ago(400), 1.0),
    ]
    expected = [
        ("u1", "dairy", "milk", 1 / 2 + 2 / 4, 2, ago(10)),
        ("u1", "dairy", "cheese", 1 / 8, 1, ago(30)),
        ("u2", "dairy", "milk", 4 / 16, 1, ago(40)),
        ("u2", "dairy", "cheese", 0.0, 1, ago(20)),
        ("u3", "dairy", "cheese", 0.0, 0, None),
        ("u3", "dairy", "milk", 2.0**-40, 1, ago(400)),
    ]
    frame = spark.createDataFrame(days, "user_id string, interest_id string, item_id string, event_date date, weight double")
    own = sum_item_evidence(frame, AS_OF, 10)
    assertDataFrameEqual(own, spark.createDataFrame(expected, OWN))
    # u3 has had milk, however long ago; u2 and u3 have not had cheese.
    assert [row["item_id"] for row in find_widely_used(own, 3).collect()] == ["milk"]
    assert [row["item_id"] for row in find_widely_used(own, 1).orderBy("item_id").collect()] == ["cheese", "milk"]


def test_popular_items_are_those_of_a_clusters_primary_users(spark: SparkSession) -> None:
    """The first letter of an item is its interest. u4 holds nothing, and still is one of the four users of c01."""
    held = {"u1": "a1 a2 a3 b1", "u2": "a2 a3", "u3": "a3", "u5": "a1 a2", "u6": "a9"}
    own = spark.createDataFrame([(u, i[0], i, 1.0, 1, AS_OF) for u, items in held.items() for i in items.split()], OWN)
    clusters = [
        ("u1", "c01", 0.6, True),
        ("u2", "c01", 1.0, True),
        ("u3", "c01", 1.0, True),
        ("u4", "c01", 1.0, True),
        ("u5", "c02", 0.7, True),
        ("u5", "c01", 0.3, False),  # counts in c02 alone
        ("u1", "c02", 0.4, False),
    ]  # u6 is in no cluster
    disliked = spark.createDataFrame([(u, "a", "a0", 0.0, 0, None) for u in ("u1", "u2", "u3", "u5")], OWN)
    expected = [
        ("c01", "a", "a3", 3 / 4),
        ("c01", "a", "a2", 2 / 4),  # a1 is one too many
        ("c01", "b", "b1", 1 / 4),
        ("c02", "a", "a1", 1.0),  # ties go by item
        ("c02", "a", "a2", 1.0),
    ]
    popular = rank_popular_items(own.unionByName(disliked), spark.createDataFrame(clusters, USER_CLUSTERS), per_interest=2)
    assertDataFrameEqual(popular, spark.createDataFrame(expected, POPULAR))


def test_the_strongest_core_and_secondary_interests_are_listed(spark: SparkSession) -> None:
    both = spark.createDataFrame(
        [
            ("u1", "d", "core", 3),
            ("u1", "c", "marginal", 2),
            ("u1", "b", "secondary", 4),
            ("u1", "a", "secondary", 5),
            ("u2", "a", "marginal", 1),
        ],
        "user_id string, interest_id string, tier string, rank bigint",
    )
    got = list_interests(both.drop("rank"), both.drop("tier"), max_interests=2)
    assertDataFrameEqual(got, spark.createDataFrame([("u1", "d"), ("u1", "b")], "user_id string, interest_id string"))


def test_popularity_is_the_mean_over_the_users_clusters_by_membership(spark: SparkSession) -> None:
    interests = spark.createDataFrame([("u1", "a"), ("u2", "a"), ("u3", "a"), ("u4", "b")], "user_id string, interest_id string")
    clusters = [
        ("u1", "c01", 0.6, True),
        ("u1", "c02", 0.4, False),
        ("u2", "c02", 1.0, True),
        ("u4", "c01", 1.0, True),
    ]  # u3 is in no cluster
    popular = [
        ("c01", "a", "a1", 0.5),
        ("c01", "a", "a2", 0.25),
        ("c02", "a", "a2", 0.875),
        ("c02", "b", "b1", 1.0),  # of no use to u4, who is in c01
    ]
    expected = [
        ("u1", "a", "a1", 0.3, "c01", 0.5),
        ("u1", "a", "a2", 0.15 + 0.35, "c02", 0.875),  # c02 says more of it although u1 is more in c01
        ("u2", "a", "a2", 0.875, "c02", 0.875),
    ]
    got = offer_popular_items(interests, spark.createDataFrame(clusters, USER_CLUSTERS), spark.createDataFrame(popular, POPULAR))
    assertDataFrameEqual(got, spark.createDataFrame(expected, OFFERED))


def test_own_items_beyond_the_cap_are_candidates_only_where_a_cluster_offers_them(spark: SparkSession) -> None:
    rows = [("u1", "x", item, evidence, 1, ago(1)) for item, evidence in [("x3", 1.0), ("x2", 1.0), ("x1", 0.5), ("x0", 0.25), ("x4", 2.0)]]
    offered = [("u1", "x", "x0", 0.5, "c01", 0.5)]
    own, from_cluster = spark.createDataFrame(rows, OWN), spark.createDataFrame(offered, OFFERED)
    got = score_candidates(own, from_cluster, Recommend(max_repeats=2, cluster_weight=2.0), repeats=True)
    found = {row["item_id"]: (row["score"], row["n_days"]) for row in got.collect()}
    assert found == {"x4": (2.0, 1), "x2": (1.0, 1), "x0": (0.25 + 2.0 * 0.5, 1)}


def test_scores_with_and_without_repeats(spark: SparkSession) -> None:
    own = [
        ("u1", "a", "a1", 2.5, 3, ago(1)),  # also offered
        ("u1", "a", "a2", 1.5, 2, ago(2)),  # a habit alone
        ("u1", "a", "a3", 0.5, 1, ago(9)),  # beyond max_repeats
        ("u2", "a", "a1", 1.0, 1, ago(5)),  # the only item that is offered to this user
    ]
    offered = [
        ("u1", "a", "a1", 0.5, "c01", 0.75),
        ("u1", "a", "a4", 0.125, "c01", 0.25),
        ("u2", "a", "a1", 0.5, "c01", 0.5),
        ("u3", "a", "a4", 1.0, "c02", 1.0),
    ]
    config = Recommend(cluster_weight=4.0, max_repeats=2)
    frames = spark.createDataFrame(own, OWN), spark.createDataFrame(offered, OFFERED)
    with_repeats = [
        ("u1", "a", "a1", 2.5 + 4 * 0.5, 3, ago(1), "c01", 0.75),
        ("u1", "a", "a2", 1.5, 2, ago(2), None, None),
        ("u1", "a", "a4", 4 * 0.125, None, None, "c01", 0.25),
        ("u2", "a", "a1", 1.0 + 4 * 0.5, 1, ago(5), "c01", 0.5),
        ("u3", "a", "a4", 4.0, None, None, "c02", 1.0),
    ]
    assertDataFrameEqual(score_candidates(*frames, config, repeats=True), spark.createDataFrame(with_repeats, SCORED))
    # u2 has had everything and is left without a list; nobody else loses anything but own items.
    new_alone = [
        ("u1", "a", "a4", 4 * 0.125, None, None, "c01", 0.25),
        ("u3", "a", "a4", 4.0, None, None, "c02", 1.0),
    ]
    assertDataFrameEqual(score_candidates(*frames, config, repeats=False), spark.createDataFrame(new_alone, SCORED))


def test_what_a_user_disliked_is_no_candidate_though_the_whole_cluster_had_it(spark: SparkSession) -> None:
    own = spark.createDataFrame([("u1", "a", "bad", 0.0, 0, None), ("u1", "a", "good", 1.0, 1, ago(1))], OWN)
    offered = spark.createDataFrame([("u1", "a", item, 1.0, "c01", 1.0) for item in ("bad", "good", "new")], OFFERED)
    lists = {
        repeats: sorted(row["item_id"] for row in score_candidates(own, offered, Recommend(), repeats).collect())
        for repeats in (True, False)
    }
    assert lists == {True: ["good", "new"], False: ["new"]}
