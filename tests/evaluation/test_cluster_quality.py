"""What clusters say about the future: interest lift and list lift, by hand and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.evaluation.cluster_quality import (
    SMOOTHING_DAYS,
    SMOOTHING_OF_ITEMS,
    SMOOTHING_USERS,
    measure_interest_lift,
    measure_list_lift,
    rank_cluster_items,
)
from interest_tiers.slices import Slice

USERS, INTERESTS = 30, 5


def keep(name: str, rows: DataFrame) -> DataFrame:
    return rows.cache()


def test_the_interest_lift_is_that_of_numpy(spark: SparkSession) -> None:
    random = np.random.default_rng(2)
    labels = np.arange(USERS) % 3
    evidence = random.poisson(np.array([[6, 1, 1, 2, 0], [1, 6, 1, 2, 0], [1, 1, 6, 2, 1]])[labels]).astype(float)
    evidence[evidence.sum(axis=1) == 0, 0] = 1
    future = random.poisson(np.array([[6, 1, 1, 2, 0], [1, 6, 1, 2, 0], [1, 1, 6, 2, 1]])[labels]).astype(float)
    future[0] = 0  # no future: does not count
    shares = evidence / evidence.sum(axis=1, keepdims=True)
    pairs = [(f"u{u}", f"i{i}", float(evidence[u, i]), float(shares[u, i])) for u in range(USERS) for i in range(INTERESTS)]
    after = [(f"u{u}", f"i{i}", float(future[u, i])) for u in range(USERS) for i in range(INTERESTS)]
    primary = [(f"u{u}", f"c{label}") for u, label in enumerate(labels)]
    measured = measure_interest_lift(
        spark.createDataFrame(pairs, "user_id string, interest_id string, evidence double, share double"),
        spark.createDataFrame(primary, "user_id string, cluster_id string"),
        spark.createDataFrame(after, "user_id string, interest_id string, evidence double"),
        100,
    )

    def gain(predicted: np.ndarray, user: int) -> float:
        part = future[user] / future[user].sum()
        return float((part * np.log(np.maximum(predicted, 1e-7)))[part > 0].sum())

    mean, by_cluster, by_all, own = shares.mean(axis=0), 0.0, 0.0, dict.fromkeys(SMOOTHING_DAYS, 0.0)
    for user in range(1, USERS):
        others = [other for other in range(USERS) if other != user]
        alike = [other for other in others if labels[other] == labels[user]]
        by_cluster += gain((shares[alike].sum(axis=0) + SMOOTHING_USERS * mean) / (len(alike) + SMOOTHING_USERS), user)
        by_all += gain(shares[others].mean(axis=0), user)
        for days in own:
            own[days] += gain((evidence[user] + days * mean) / (evidence[user].sum() + days), user)
    found = measured[Slice(model="clusters")]
    assert found["interest_lift"].value == pytest.approx((by_cluster - by_all) / (max(own.values()) - by_all), abs=1e-9)
    assert found["n_users"].value == USERS - 1


def test_without_a_future_there_is_no_lift(spark: SparkSession) -> None:
    pairs = spark.createDataFrame([("u", "i", 1.0, 1.0)], "user_id string, interest_id string, evidence double, share double")
    nobody = spark.createDataFrame([], "user_id string, interest_id string, evidence double")
    assert measure_interest_lift(pairs, spark.createDataFrame([("u", "c")], "user_id string, cluster_id string"), nobody, 100) == {}


CLUSTERS = "user_id string, cluster_id string, membership double, is_primary boolean"
HAD = "user_id string, item_id string"


def test_lists_by_hand(spark: SparkSession) -> None:
    """In c1 two of two users had a; b has one of two, and one in c2. Own items are left out."""
    members = [
        ("u1", "c1", 1.0, True),
        ("u2", "c1", 1.0, True),
        ("u3", "c2", 1.0, True),
        ("u4", "c1", 0.75, True),
        ("u4", "c2", 0.25, False),
    ]
    had = [("u1", "a"), ("u1", "b"), ("u2", "a"), ("u3", "b"), ("u3", "c"), ("u4", "d")]
    clusters, items = spark.createDataFrame(members, CLUSTERS), spark.createDataFrame(had, HAD)
    rows = rank_cluster_items(items, clusters, spark.createDataFrame([("u2",), ("u4",)], "user_id string"), 2).collect()
    got = {user: [row["item_id"] for row in sorted(rows, key=lambda row: row["rank"]) if row["user_id"] == user] for user in ("u2", "u4")}
    of_all, smooth = {"a": 2 / 4, "b": 2 / 4, "c": 1 / 4, "d": 1 / 4}, SMOOTHING_OF_ITEMS
    c1 = {"a": (2 + smooth * of_all["a"]) / (3 + smooth), "b": (1 + smooth * of_all["b"]) / (3 + smooth)}
    c2 = {"b": (1 + smooth * of_all["b"]) / (1 + smooth), "c": (1 + smooth * of_all["c"]) / (1 + smooth)}
    assert got["u2"] == ["b", "d"]
    assert 0.75 * c1["a"] < 0.75 * c1["b"] + 0.25 * c2["b"]
    assert got["u4"] == ["b", "a"]


def test_the_lift_of_lists_is_that_of_their_ndcg(spark: SparkSession) -> None:
    """Two groups turn to what the others of their group had; popularity among all puts the items of the larger group first."""
    members, had, wanted = [], [], []
    for n in range(12):
        group = "small" if n < 4 else "large"
        members.append((f"u{n:02}", group, 1.0, True))
        had += [(f"u{n:02}", f"{group}{i}") for i in range(3) if i != n % 3]
        wanted.append((f"u{n:02}", f"{group}{n % 3}"))
    frames = spark.createDataFrame(had, HAD), spark.createDataFrame(members, CLUSTERS), spark.createDataFrame(wanted, HAD)
    measured = measure_list_lift(*frames, 100, 1, 100, keep)
    ours, theirs = (
        measured[Slice(users="clustered", items="new", model=model)]["ndcg@1"].value for model in ("cluster_popularity", "user_popularity")
    )
    assert (ours, theirs) == (pytest.approx(1.0), pytest.approx(8 / 12))
    assert measured[Slice(users="clustered", items="new", model="cluster_popularity")]["list_lift"].value == pytest.approx(1.5)
