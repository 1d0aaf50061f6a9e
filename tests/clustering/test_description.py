"""Sizes, names and characteristic interests of clusters."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.clustering.description import TOP_INTERESTS, describe_clusters

USER_CLUSTERS = "user_id string, cluster_id string, is_primary boolean, silhouette double"
CLUSTERS = "cluster_id string, name string, size bigint, centroid array<float>, silhouette double, top_interests array<string>"

Shares = Mapping[str, Mapping[str, float]]


def pairs_of(spark: SparkSession, shares: Shares) -> DataFrame:
    rows = [(user, interest, share) for user, held in shares.items() for interest, share in held.items()]
    return spark.createDataFrame(rows, "user_id string, interest_id string, share double")


def names_of(spark: SparkSession, shares: Shares) -> DataFrame:
    interests = sorted({interest for held in shares.values() for interest in held})
    return spark.createDataFrame([(interest, interest.upper()) for interest in interests], "interest_id string, name string")


def test_clusters_by_hand(spark: SparkSession) -> None:
    """Of all shares milk has 1.75 / 4, beer 0.75 / 4, nuts 0.5 / 4, wine 1 / 4; in c01 milk has 1.75 / 3, and so on."""
    shares = {
        "u1": {"milk": 1.0},
        "u2": {"milk": 0.5, "beer": 0.5},
        "u3": {"milk": 0.25, "beer": 0.25, "nuts": 0.5},
        "u4": {"wine": 1.0},
    }
    user_clusters = [
        ("u1", "c01", True, 0.5),
        ("u2", "c01", True, 0.25),
        ("u3", "c01", True, 0.0),
        ("u4", "c02", True, -0.5),
        ("u4", "c01", False, -0.9),  # not the primary one: neither size nor interests nor silhouette count it
    ]
    gains = {"milk": 1.75 / 3 * math.log(4 / 3), "beer": 0.75 / 3 * math.log(4 / 3), "nuts": 0.5 / 3 * math.log(4 / 3)}
    assert sorted(gains, key=lambda interest: -gains[interest]) == ["milk", "beer", "nuts"]
    expected = [
        ("c01", "MILK · BEER · NUTS", 3, [1.0, 0.0], 0.25, ["MILK", "BEER", "NUTS"]),
        ("c02", "WINE", 1, [0.0, 1.0], -0.5, ["WINE"]),
    ]
    centroids = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)  # nobody is in the third
    got = describe_clusters(
        spark.createDataFrame(user_clusters, USER_CLUSTERS), pairs_of(spark, shares), names_of(spark, shares), centroids
    )
    assertDataFrameEqual(got, spark.createDataFrame(expected, CLUSTERS))


def divergences(shares: Shares, users: list[str]) -> dict[str, float]:
    """s_c * ln(s_c / s) of every interest that a cluster of these users holds, by mean shares of users."""
    interests = sorted({interest for user in users for interest in shares[user]})
    mean = {i: float(np.mean([held.get(i, 0.0) for held in shares.values()])) for i in interests}
    within = {i: float(np.mean([shares[user].get(i, 0.0) for user in users])) for i in interests}
    return {i: within[i] * math.log(within[i] / mean[i]) for i in interests}


def test_the_most_characteristic_interests_are_listed_not_the_largest(spark: SparkSession) -> None:
    """Everyone buys the staple most; ten further interests have different weights in the two clusters."""
    random = np.random.default_rng(11)
    interests = [f"i{n}" for n in range(10)]
    shares: dict[str, dict[str, float]] = {}
    for n in range(12):
        lean = np.linspace(1, 4, 10) if n < 5 else np.linspace(4, 1, 10)
        parts = random.dirichlet(20 * lean) * 0.5
        shares[f"u{n:02}"] = {"staple": 0.5, **dict(zip(interests, parts.tolist(), strict=True))}
    clusters = {"c01": sorted(shares)[5:], "c02": sorted(shares)[:5]}
    rows = [(user, cluster, True, 0.1) for cluster, users in clusters.items() for user in users]
    got = describe_clusters(
        spark.createDataFrame(rows, USER_CLUSTERS), pairs_of(spark, shares), names_of(spark, shares), np.eye(2, dtype=np.float32)
    ).collect()
    assert len(got) == 2
    for row in got:
        gains = divergences(shares, clusters[row["cluster_id"]])
        ranked = sorted(gains, key=lambda interest: -gains[interest])
        assert row["top_interests"] == [interest.upper() for interest in ranked[:TOP_INTERESTS]]
        assert row["name"] == " · ".join(interest.upper() for interest in ranked[:3])
        assert "STAPLE" not in row["name"]


def test_one_cluster_is_named_by_its_largest_interests(spark: SparkSession) -> None:
    shares = {"u1": {"c": 0.5, "b": 0.25, "a": 0.25}, "u2": {"d": 0.375, "c": 0.625}}
    rows = [("u1", "c01", True, None), ("u2", "c01", True, None)]
    got = describe_clusters(
        spark.createDataFrame(rows, USER_CLUSTERS), pairs_of(spark, shares), names_of(spark, shares), np.array([[0.0, 1.0]])
    )
    expected = [("c01", "C · D · A", 2, [0.0, 1.0], None, ["C", "D", "A", "B"])]
    assertDataFrameEqual(got, spark.createDataFrame(expected, CLUSTERS))
