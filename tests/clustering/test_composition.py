"""Clusters as of a cutoff: frozen models, refits that keep ids, and data in which there is little to find."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from sklearn.metrics import adjusted_rand_score

from interest_tiers.clustering.composition import ClusteredUsers, ClusterInputs, Memory, cluster_users
from interest_tiers.clustering.measures import explain_activity, measure_clusters
from interest_tiers.config import Clustering

CUTOFF = date(2024, 3, 1)
GROUPS, PER_GROUP, CATEGORIES, ITEMS_PER_CATEGORY = 4, 30, 3, 3
CONFIG = Clustering(k=[3, 4, 6], starts=5, min_item_users=2)

PAIRS = "user_id string, interest_id string, evidence double, n_days bigint, n_items bigint"


def keep(name: str, rows: DataFrame) -> DataFrame:
    return rows.cache()


def inputs_of(spark: SparkSession, evidence: dict[str, dict[str, float]], items: dict[str, list[str]]) -> ClusterInputs:
    pairs = [
        (user, each, value, max(1, round(value)) if math.isfinite(value) else 1, 1)
        for user, held in evidence.items()
        for each, value in held.items()
    ]
    had = [(user, item) for user, held in items.items() for item in held]
    return ClusterInputs(
        spark.createDataFrame(pairs, PAIRS).cache(),
        spark.createDataFrame(had, "user_id string, item_id string").cache(),
        None,
        spark.createDataFrame([], "item_id string, text_hash string"),
        None,
    )


def shoppers(seed: int, groups: int = GROUPS, moved: int = 0) -> tuple[dict[str, dict[str, float]], dict[str, list[str]]]:
    """Users of a few groups, each with categories and items of its own besides bread. How much a user does says nothing of the group.

    moved: users of the first group who now live like the second
    """
    random = np.random.default_rng(seed)
    evidence: dict[str, dict[str, float]] = {}
    items: dict[str, list[str]] = {}
    for group in range(groups):
        for number in range(PER_GROUP):
            user, likes = f"g{group}u{number:02}", 1 if group == 0 and number < moved else group
            amount = float(np.exp(random.normal(2.0, 1.0)))
            parts = random.dirichlet([2.0] * CATEGORIES)
            evidence[user] = {"bread": amount, **{f"c{likes}{i}": float(amount * 2 * part) for i, part in enumerate(parts)}}
            known = [f"p{likes}{i}{j}" for i in range(CATEGORIES) for j in range(ITEMS_PER_CATEGORY)]
            items[user] = ["loaf", *sorted(str(each) for each in random.choice(known, 4, replace=False))]
    return evidence, items


def primary(clustered: ClusteredUsers) -> dict[str, str]:
    return {row["user_id"]: row["cluster_id"] for row in clustered.user_clusters.where("is_primary").collect()}


def run(inputs: ClusterInputs, cutoff: date = CUTOFF, config: Clustering = CONFIG, memory: Memory | None = None) -> ClusteredUsers:
    return cluster_users(inputs, cutoff, config, "settings", keep, memory)


@pytest.fixture(scope="module")
def first(spark: SparkSession) -> ClusteredUsers:
    return run(inputs_of(spark, *shoppers(1)))


def groups_of(labels: dict[str, str]) -> dict[str, set[str]]:
    """Clusters to the groups of their users."""
    found: dict[str, set[str]] = {}
    for user, cluster in labels.items():
        found.setdefault(cluster, set()).add(user[:2])
    return found


def test_groups_are_found_and_activity_is_not(first: ClusteredUsers) -> None:
    assert first.model is not None and first.fit is not None
    assert first.fit.k == GROUPS
    assert sorted(first.model.cluster_ids) == ["c01", "c02", "c03", "c04"]
    assert sorted(map(sorted, groups_of(primary(first)).values())) == [["g0"], ["g1"], ["g2"], ["g3"]]
    quality = measure_clusters(first.vectors, first.user_clusters, 1000, GROUPS * PER_GROUP)
    assert quality.activity_explained is not None and quality.activity_explained < 0.1
    assert quality.silhouette is not None and quality.silhouette > 0.5
    assert quality.n_users == GROUPS * PER_GROUP


def test_a_later_day_assigns_by_the_frozen_model(spark: SparkSession, first: ClusteredUsers) -> None:
    """A user who now lives like another group changes its cluster, and the others stay."""
    before = first.user_clusters.where("is_primary").select("user_id", "cluster_id")
    later = run(inputs_of(spark, *shoppers(1, moved=1)), date(2024, 3, 2), memory=Memory(None, first.model, before))
    assert later.fit is None and later.model is first.model
    was, now = primary(first), primary(later)
    assert {user for user in was if was[user] != now[user]} == {"g0u00"}
    assert now["g0u00"] == now["g1u00"]


def test_the_same_day_again_gives_the_same_rows_by_the_same_model(spark: SparkSession, first: ClusteredUsers) -> None:
    def find(version: str) -> object:
        return first.model if first.model is not None and version == first.model.version else None

    again = run(inputs_of(spark, *shoppers(1)), memory=Memory(find, None, None))  # type: ignore[arg-type]
    assert again.fit is None and again.model is first.model
    assert sorted(again.user_clusters.collect()) == sorted(first.user_clusters.collect())
    changed = run(inputs_of(spark, *shoppers(2)), memory=Memory(find, None, None))  # type: ignore[arg-type]
    assert changed.fit is not None, "other evidence of the same day is another model"


def test_a_refit_keeps_the_ids(spark: SparkSession, first: ClusteredUsers) -> None:
    """28 days later with other evidence of the same people."""
    before = first.user_clusters.where("is_primary").select("user_id", "cluster_id")
    later = run(inputs_of(spark, *shoppers(5)), date(2024, 3, 29), memory=Memory(None, first.model, before))
    assert later.fit is not None and later.reason == "the model is of 2024-03-01"
    assert later.model is not None
    assert {change.change for change in later.model.changes} == {"kept"}
    assert primary(later) == primary(first)


def test_a_group_that_comes_is_born_and_one_that_goes_died(spark: SparkSession, first: ClusteredUsers) -> None:
    before = first.user_clusters.where("is_primary").select("user_id", "cluster_id")
    evidence, items = shoppers(7, groups=6)
    for held in (evidence, items):
        for user in [user for user in held if user.startswith("g0")]:
            del held[user]
    later = run(
        inputs_of(spark, evidence, items),
        date(2024, 3, 29),
        Clustering(k=[5], starts=10, min_item_users=2),
        Memory(None, first.model, before),
    )
    assert later.model is not None
    labels, was = primary(later), primary(first)
    assert all(labels[f"g{group}u00"] == was[f"g{group}u00"] for group in (1, 2, 3))
    assert {labels["g4u00"], labels["g5u00"]} == {"c05", "c06"}
    assert later.model.last_number == 6


def test_other_settings_keep_the_ids_too(spark: SparkSession, first: ClusteredUsers) -> None:
    """Another model, of the same people: they know themselves by their clusters. A number of another day is not used again."""
    before = first.user_clusters.where("is_primary").select("user_id", "cluster_id")
    config = CONFIG.model_copy(update={"vectors": ["items"]})
    other = cluster_users(inputs_of(spark, *shoppers(1)), date(2024, 3, 2), config, "others", keep, Memory(None, None, before, 9))
    assert primary(other) == primary(first)
    fresh = run(inputs_of(spark, *shoppers(1)), memory=Memory(last_number=9))
    assert fresh.model is not None and sorted(fresh.model.cluster_ids) == ["c10", "c11", "c12", "c13"]


def test_users_who_drift_make_a_refit(spark: SparkSession, first: ClusteredUsers) -> None:
    before = first.user_clusters.where("is_primary").select("user_id", "cluster_id")
    drifted = inputs_of(spark, *shoppers(1, moved=PER_GROUP // 2))
    later = run(drifted, date(2024, 3, 2), memory=Memory(None, first.model, before))
    assert later.fit is not None
    assert later.reason.startswith("the population stability index of sizes is 0.")
    relaxed = CONFIG.model_copy(update={"max_population_stability_index": 5.0, "max_distance_growth": 5.0})
    assert run(drifted, date(2024, 3, 2), relaxed, Memory(None, first.model, before)).fit is None


def test_topics_are_matched_by_their_vectors_since_their_ids_change(spark: SparkSession) -> None:
    evidence, items = shoppers(1)
    names = sorted({each for held in evidence.values() for each in held})
    config = CONFIG.model_copy(update={"vectors": ["interests"]})

    def with_topics(rename: Callable[[str], str]) -> ClusterInputs:
        renamed = {user: {rename(each): value for each, value in held.items()} for user, held in evidence.items()}
        rows = [(rename(each), np.eye(len(names))[place].tolist()) for place, each in enumerate(names)]
        return replace(inputs_of(spark, renamed, items), topics=spark.createDataFrame(rows, "interest_id string, embedding array<float>"))

    one = run(with_topics(lambda each: each), config=config)
    other_ids = dict(zip(names, names[1:] + names[:1], strict=True))
    later = run(with_topics(other_ids.__getitem__), date(2024, 3, 2), config, Memory(None, one.model, None))
    assert later.fit is None
    assert primary(later) == primary(one)


@pytest.mark.parametrize("vectors", [["interests"], ["items"], ["interests", "items"]])
def test_one_user_alone_is_one_cluster(spark: SparkSession, vectors: list[str]) -> None:
    config = CONFIG.model_copy(update={"vectors": vectors})
    clustered = run(inputs_of(spark, {"u": {"a": 1.0}}, {"u": ["x"]}), config=config)
    assert primary(clustered) == {"u": "c01"}
    quality = measure_clusters(clustered.vectors, clustered.user_clusters, 10, 1)
    assert (quality.silhouette, quality.activity_explained) == (None, None)


def test_users_who_are_all_alike_are_one_cluster(spark: SparkSession) -> None:
    users = [f"u{n}" for n in range(6)]
    clustered = run(inputs_of(spark, {user: {"a": 2.0, "b": 1.0} for user in users}, {user: ["x", "y"] for user in users}))
    assert primary(clustered) == dict.fromkeys(users, "c01")
    assert clustered.model is not None
    again = run(inputs_of(spark, {"u7": {"z": 1.0}}, {"u7": ["x"]}), date(2024, 3, 2), memory=Memory(None, clustered.model, None))
    assert primary(again) == {"u7": "c01"}


def test_fewer_kinds_of_users_than_k_are_as_many_clusters(spark: SparkSession) -> None:
    evidence = {f"u{n}": {"a": 3.0} if n < 6 else {"b": 3.0} for n in range(12)}
    clustered = run(inputs_of(spark, evidence, {"u0": ["x"]}))
    assert sorted(set(primary(clustered).values())) == ["c01", "c02"]


def test_a_single_interest_leaves_the_items_to_tell_users_apart(spark: SparkSession) -> None:
    _, items = shoppers(1)
    clustered = run(inputs_of(spark, {user: {"all": 5.0} for user in items}, items))
    assert sorted(map(sorted, groups_of(primary(clustered)).values())) == [["g0"], ["g1"], ["g2"], ["g3"]]


def test_users_without_evidence_have_no_vector_and_no_cluster(spark: SparkSession) -> None:
    evidence, items = shoppers(1)
    evidence["gone"] = {"bread": 0.0}
    clustered = run(inputs_of(spark, evidence, items))
    assert "gone" not in primary(clustered)
    nobody = run(inputs_of(spark, {"gone": {"bread": 0.0}}, {"u": ["x"]}))
    assert nobody.model is None
    assert nobody.user_clusters.collect() == []


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_evidence_that_is_no_number_is_none(spark: SparkSession, first: ClusteredUsers, broken: float) -> None:
    """It moves nobody else, and a user who has nothing else has no cluster."""
    evidence, items = shoppers(1)
    evidence["broken"] = {"bread": broken}
    assert primary(run(inputs_of(spark, evidence, items))) == primary(first)


def odd_users(kind: str) -> tuple[dict[str, dict[str, float]], dict[str, list[str]]]:
    """Six users, 5 % of those of shoppers, who belong to none of the groups."""
    random = np.random.default_rng(3)
    interests, items = (sorted({each for held in of_users.values() for each in held}) for of_users in shoppers(1))
    names = [f"odd{n}" for n in range(6)]
    if kind == "random users":
        chosen = {name: (random.choice(interests, 5, replace=False), random.choice(items, 6, replace=False)) for name in names}
        evidence = {name: {str(each): float(random.integers(1, 9)) for each in held} for name, (held, _) in chosen.items()}
        return evidence, {name: sorted(map(str, held)) for name, (_, held) in chosen.items()}
    if kind == "one event":
        return {name: {str(random.choice(interests)): 1.0} for name in names}, {name: [str(random.choice(items))] for name in names}
    if kind == "outliers":
        return {name: {interests[n]: 1e6} for n, name in enumerate(names)}, dict.fromkeys(names, items)
    return {name: {"bread": 9.0, "c00": 3.0} for name in names}, {name: ["loaf", *items[:3]] for name in names}


@pytest.mark.parametrize("kind", ["random users", "one event", "outliers", "duplicates"])
def test_five_percent_of_odd_users_move_nobody_else(spark: SparkSession, first: ClusteredUsers, kind: str) -> None:
    """They are in the fit of the space, in the choice of k and in k-means."""
    evidence, items = shoppers(1)
    more_evidence, more_items = odd_users(kind)
    found = run(inputs_of(spark, evidence | more_evidence, items | more_items))
    labels, was = primary(found), primary(first)
    assert adjusted_rand_score([was[user] for user in sorted(was)], [labels[user] for user in sorted(was)]) > 0.97
    assert set(more_evidence) <= set(labels)


def test_activity_explained_by_hand() -> None:
    assert explain_activity(np.array([1.0, 1.0, 10.0, 10.0]), np.array([0, 0, 1, 1])) == pytest.approx(1.0)
    assert explain_activity(np.array([1.0, 10.0, 1.0, 10.0]), np.array([0, 0, 1, 1])) == pytest.approx(0.0)
    assert explain_activity(np.array([1.0, 10.0, 10.0, 100.0]), np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    assert explain_activity(np.array([2.0, 2.0]), np.array([0, 1])) is None
