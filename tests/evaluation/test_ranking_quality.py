"""Ranked lists against what users turned to, by hand, and by two independent implementations."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2

import numpy as np
import pytest
from pyspark.mllib.evaluation import RankingMetrics
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual
from sklearn.metrics import ndcg_score

from interest_tiers.evaluation.ranking_quality import (
    ACTIVITY,
    find_future_items,
    group_by_activity,
    measure_groups,
    measure_lists,
    name_lists,
)
from interest_tiers.intervals import Estimate
from interest_tiers.slices import Slice

TRUTH = "items string, user_id string, item_id string"
LISTS = "items string, model string, user_id string, item_id string, rank int"
CATALOGUE = "item_id string, user_share double"


def spread_catalogue(spark: SparkSession, items: str) -> DataFrame:
    """Half of the users had each item."""
    return spark.createDataFrame([(item, 0.5) for item in items], CATALOGUE)


def test_all_items_of_the_horizon_and_those_new_to_the_user(spark: SparkSession) -> None:
    after = [
        ("u1", "a", 1.0), ("u1", "a", 1.0), ("u1", "b", 0.1), ("u1", "gone", 1.0),  # "gone" is not in the catalogue
        ("u1", "c", -1.0),  # returned, which is no wish
        ("u2", "b", 2.0), ("u2", "b", -1.0), ("u2", "c", 0.0), ("u2", "a", 1.0), ("u2", "a", -1.0),  # a was given back
        ("u3", "a", 1.0),  # not judged
    ]  # fmt: skip
    pairs, one = "user_id string, item_id string", "item_id string"
    got = find_future_items(
        spark.createDataFrame(after, f"{pairs}, weight double"),
        spark.createDataFrame([("u1", "a"), ("u2", "a"), ("u3", "a"), ("u1", "gone")], pairs),
        spark.createDataFrame([("a",), ("b",), ("c",)], one),
        spark.createDataFrame([("u1",), ("u2",), ("u4",)], "user_id string"),
    )
    expected = [("all", "u1", "a"), ("all", "u1", "b"), ("all", "u2", "b"), ("new", "u1", "b"), ("new", "u2", "b")]
    assertDataFrameEqual(got, spark.createDataFrame(expected, TRUTH))


def test_lists_are_named(spark: SparkSession) -> None:
    lists = spark.createDataFrame([(1, "x", "u1", 0.5)], "rank int, item_id string, user_id string, score double")
    assertDataFrameEqual(name_lists("new", "popularity", lists), spark.createDataFrame([("new", "popularity", "u1", "x", 1)], LISTS))


def values_of(metrics: Mapping[str, Estimate]) -> dict[str, float]:
    return {name: found.value for name, found in metrics.items()}


def test_by_hand(spark: SparkSession) -> None:
    truth = [
        ("all", "u1", "a"), ("all", "u1", "b"), ("all", "u1", "c"), ("all", "u1", "d"),
        ("all", "u2", "a"),
        ("all", "u3", "b"),  # without a list
        ("new", "u1", "d"),
    ]  # fmt: skip
    lists = [
        # Hits at 1 and 3 of a list of 3; the ideal has 3 hits, since there are four to find.
        ("all", "m", "u1", "a", 1), ("all", "m", "u1", "x", 2), ("all", "m", "u1", "b", 3),
        # A short list, its only hit second.
        ("all", "m", "u2", "x", 1), ("all", "m", "u2", "a", 2),
        # With nothing to find, neither judged nor covering anything.
        ("all", "m", "u4", "e", 1),
        ("all", "other", "u3", "b", 1),
        ("new", "m", "u1", "d", 1), ("new", "m", "u2", "a", 1),
    ]  # fmt: skip
    judged = measure_lists(
        spark.createDataFrame(lists, LISTS),
        spark.createDataFrame(truth, TRUTH),
        spread_catalogue(spark, "abcdefghix"),
        k=3,
        samples=200,
        reference="m",
    )
    discounts = [1.0, 1 / log2(3), 1 / 2]
    expected = {
        "items=all,model=m": {
            "ndcg@3": ((discounts[0] + discounts[2]) / sum(discounts) + discounts[1] + 0) / 3,
            "recall@3": (2 / 4 + 1 + 0) / 3,
            "precision@3": (2 / 3 + 1 / 3 + 0) / 3,
            "map@3": ((1 + 2 / 3) / 3 + 1 / 2 + 0) / 3,
            "hit_rate@3": 2 / 3,
            "coverage@3": 3 / 10,  # a, b, x
            "gini@3": (5 * 1 + 7 * 2 + 9 * 2) / (10 * 5),  # once, twice and twice, and seven items never
            "novelty@3": 1.0,
            "n_users": 3.0,
        },
        "items=all,model=other": {
            "ndcg@3": 1 / 3, "recall@3": 1 / 3, "precision@3": 1 / 9, "map@3": 1 / 3, "hit_rate@3": 1 / 3,
            "coverage@3": 1 / 10, "gini@3": 0.9, "novelty@3": 1.0, "n_users": 3.0,
        },
        # u1, u2 and u3: what the other has minus what m has.
        "items=all,model=other,minus=m": {
            "ndcg@3": (-(discounts[0] + discounts[2]) / sum(discounts) - discounts[1] + 1) / 3,
            "recall@3": (-2 / 4 - 1 + 1) / 3,
            "precision@3": (-2 / 3 - 1 / 3 + 1 / 3) / 3,
            "map@3": (-(1 + 2 / 3) / 3 - 1 / 2 + 1) / 3,
            "hit_rate@3": (-1 - 1 + 1) / 3,
        },
        "items=new,model=m": {
            "ndcg@3": 1.0, "recall@3": 1.0, "precision@3": 1 / 3, "map@3": 1.0, "hit_rate@3": 1.0,
            "coverage@3": 1 / 10, "gini@3": 0.9, "novelty@3": 1.0, "n_users": 1.0,
        },
    }  # fmt: skip
    found = {str(where): values_of(metrics) for where, metrics in judged.items()}
    assert sorted(found) == sorted(expected)
    for key, metrics in expected.items():
        assert found[key] == pytest.approx(metrics), key
    # One user cannot say how sure the mean is.
    alone = judged[Slice(items="new", model="m")]
    assert (alone["ndcg@3"].lower, alone["ndcg@3"].upper) == (None, None)


def test_a_reference_without_lists_leaves_no_differences(spark: SparkSession) -> None:
    truth = spark.createDataFrame([("all", "u1", "a"), ("new", "u1", "a")], TRUTH)
    lists = spark.createDataFrame([("all", "m", "u1", "a", 1), ("new", "other", "u1", "a", 1)], LISTS)
    judged = measure_lists(lists, truth, spread_catalogue(spark, "a"), k=1, samples=10, reference="m")
    assert [str(where) for where in judged] == ["items=all,model=m", "items=new,model=other"]


@pytest.mark.filterwarnings("ignore:Deprecated in 3.0.0:FutureWarning")  # of RankingMetrics itself
def test_as_scikit_learn_and_mllib_have_it(spark: SparkSession) -> None:
    """150 users, lists of 0 to 10 items out of 40, 1 to 20 to find."""
    random = np.random.default_rng(12)
    k, n_items, users = 10, 40, range(150)
    sought = {u: random.choice(n_items, random.integers(1, 21), replace=False).tolist() for u in users}
    listed = {u: random.choice(n_items, random.integers(0, k + 1), replace=False).tolist() for u in users}
    truth = [("all", f"u{u}", f"i{item}") for u in users for item in sought[u]]
    lists = [("all", "m", f"u{u}", f"i{item}", rank) for u in users for rank, item in enumerate(listed[u], 1)]
    # A second model: the same lists without their first item.
    lists += [("all", "shorter", user, item, rank - 1) for _, _, user, item, rank in lists if rank > 1]
    catalogue = spark.createDataFrame([(f"i{item}", 0.5) for item in range(n_items)], CATALOGUE)
    judged = measure_lists(
        spark.createDataFrame(lists, LISTS), spark.createDataFrame(truth, TRUTH), catalogue, k, samples=500, reference="m"
    )

    relevance = np.array([[item in sought[u] for item in range(n_items)] for u in users], dtype=float)
    scores = np.array([[k - listed[u].index(i) if i in listed[u] else 0 for i in range(n_items)] for u in users], dtype=float)
    per_user = [ideal_truncated(relevance[u], scores[u], k) for u in users]
    metrics = judged[Slice(items="all", model="m")]
    assert metrics["ndcg@10"].value == pytest.approx(np.mean(per_user), abs=1e-12)
    reference = RankingMetrics(spark.sparkContext.parallelize([(listed[u], sought[u]) for u in users], 1))
    assert metrics["ndcg@10"].value == pytest.approx(reference.ndcgAt(k), abs=1e-12)
    assert metrics["recall@10"].value == pytest.approx(reference.recallAt(k), abs=1e-12)
    assert metrics["precision@10"].value == pytest.approx(reference.precisionAt(k), abs=1e-12)
    assert metrics["n_users"].value == len(users)
    hits = [[item in sought[u] for item in listed[u]] for u in users]
    precisions = [
        sum(np.cumsum(h)[place] / (place + 1) for place in np.flatnonzero(h)) / min(k, len(sought[u]))
        for u, h in zip(users, hits, strict=True)
    ]
    assert metrics["map@10"].value == pytest.approx(np.mean(precisions), abs=1e-12)
    assert metrics["hit_rate@10"].value == pytest.approx(np.mean([any(h) for h in hits]), abs=1e-12)
    shown = np.bincount([item for u in users for item in listed[u]], minlength=n_items)
    pairwise = np.abs(shown[:, None] - shown[None, :]).sum() / (2 * n_items * shown.sum())
    assert metrics["gini@10"].value == pytest.approx(pairwise, abs=1e-12)
    low, high = metrics["ndcg@10"].lower, metrics["ndcg@10"].upper
    assert low is not None
    assert high is not None
    assert low < np.mean(per_user) < high
    assert high - low == pytest.approx(2 * 1.96 * np.std(per_user) / np.sqrt(len(per_user)), rel=0.35)

    shorter = np.array([[max(0, len(listed[u]) - listed[u].index(i)) if i in listed[u][1:] else 0 for i in range(n_items)] for u in users])
    gaps = [ideal_truncated(relevance[u], shorter[u], k) - per_user[u] for u in users]
    difference = judged[Slice(items="all", model="shorter", minus="m")]["ndcg@10"]
    assert difference.value == pytest.approx(np.mean(gaps), abs=1e-12)
    assert difference.lower is not None
    assert difference.upper is not None
    width = 2 * 1.96 * np.std(gaps) / np.sqrt(len(gaps))
    assert difference.upper - difference.lower == pytest.approx(width, rel=0.35)
    assert difference.lower < np.mean(gaps) < difference.upper


def ideal_truncated(relevance: np.ndarray, scores: np.ndarray, k: int) -> float:
    """scikit-learn's NDCG at the length of the list (it would give items that are not listed a place), with the ideal at k."""
    n_listed = int((scores > 0).sum())
    if n_listed == 0:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    strict = np.empty(len(scores))
    strict[order] = np.arange(len(scores), 0, -1)
    ndcg = ndcg_score(relevance[None], strict[None], k=n_listed)
    ideal = {n: sum(1 / log2(rank + 1) for rank in range(1, int(min(relevance.sum(), n)) + 1)) for n in (n_listed, k)}
    return float(ndcg * ideal[n_listed] / ideal[k])


def test_groups_of_users_are_measured_each_by_itself(spark: SparkSession) -> None:
    """u1 hits at rank 1, u2 at rank 2, u3 not at all; u1 is in two groups."""
    lists = spark.createDataFrame(
        [("all", model, user, item, rank) for model in ("m", "n") for user in ("u1", "u2", "u3") for rank, item in ((1, "a"), (2, "b"))],
        LISTS,
    )
    truth = spark.createDataFrame([("all", "u1", "a"), ("all", "u2", "b"), ("all", "u3", "c")], TRUTH)
    popularity = spark.createDataFrame([("a", 0.5), ("b", 0.5), ("c", 0.5)], CATALOGUE)
    groups = spark.createDataFrame([("u1", "early"), ("u1", "both"), ("u2", "both"), ("u3", "late")], "user_id string, users string")
    found = measure_groups(lists, truth, popularity, groups, 2, 100, "m")
    ndcg = {(where.users, where.model): metrics["ndcg@2"].value for where, metrics in found.items() if where.minus is None}
    second = 1 / log2(3)
    assert ndcg == pytest.approx(
        {(users, m): v for users, v in (("early", 1), ("both", (1 + second) / 2), ("late", 0)) for m in ("m", "n")}
    )
    assert {where.items for where in found} == {"all"}
    assert found[Slice(users="both", items="all", model="n", minus="m")]["ndcg@2"].value == pytest.approx(0)
    assert {str(where) for where in found} >= {"users=both,items=all,model=m"}


def test_users_are_parted_by_their_days_of_activity(spark: SparkSession) -> None:
    active = spark.createDataFrame([(f"u{days}", days) for days in (1, 2, 3, 4, 5, 6, 100)], "user_id string, active_days bigint")
    users = active.where("active_days < 100").select("user_id")
    found = {row["user_id"]: row["users"] for row in group_by_activity(active, users).collect()}
    assert found == {f"u{days}": ACTIVITY[(days - 1) // 2] for days in range(1, 7)}
