"""The numbers of the report, counted by hand from small tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.report import content
from interest_tiers.report.content import (
    Cluster,
    CoreInterest,
    QuarantineReason,
    SilhouetteChoice,
    Sources,
    StoryCluster,
    StoryInterest,
    StoryRecommendation,
    TierShare,
)
from interest_tiers.storage.schemas import RUNS

DAY, EARLIER = date(2018, 1, 1), date(2017, 12, 31)
TIER_COLUMNS = (
    "user_id string, interest_id string, tier string, p_core double, p_secondary double, p_marginal double, "
    "method string, model_version string"
)
PROBABILITIES = {"core": (0.7, 0.2, 0.1), "secondary": (0.2, 0.5, 0.3), "marginal": (0.0, 0.1, 0.9)}


def tier_rows(user_id: str, **interests_by_tier: Sequence[str]) -> list[tuple[Any, ...]]:
    return [
        (user_id, interest_id, tier, *PROBABILITIES[tier], "rule", "v1")
        for tier, interest_ids in interests_by_tier.items()
        for interest_id in interest_ids
    ]


def in_order_of_hash(user_ids: Sequence[str]) -> list[str]:
    return sorted(user_ids, key=lambda user_id: hashlib.sha256(user_id.encode()).hexdigest())


@pytest.fixture(scope="module")
def user_tiers(spark: SparkSession) -> DataFrame:
    """Ten pairs of three users."""
    rows = [
        *tier_rows("u1", core=["milk", "bread", "tea"], secondary=["beer"], marginal=["soap", "wine"]),
        *tier_rows("u2", core=["milk"], marginal=["soap"]),
        *tier_rows("u3", core=["bread"], secondary=["milk"]),
    ]
    return spark.createDataFrame(rows, TIER_COLUMNS)


@pytest.fixture(scope="module")
def interests(spark: SparkSession) -> DataFrame:
    names = {"milk": "FLUID MILK", "bread": "BREAD", "tea": "TEA", "beer": "BEER", "soap": "SOAP"}  # wine is not in the catalogue
    return spark.createDataFrame(list(names.items()), "interest_id string, name string")


@pytest.fixture(scope="module")
def sources(spark: SparkSession, user_tiers: DataFrame, interests: DataFrame) -> Sources:
    """u1 and u2 in the large cluster a, u3 in the small cluster b; only u1 and u3 have recommendations."""
    frame = spark.createDataFrame
    evidence = [("u1", "bread", 9.0, 0.6, 1, 5, 2), ("u1", "wine", 6.0, 0.4, 2, 4, 30)]
    listed = [("u1", 2, "i2", 1.5, "tea", "core", "you like tea"), ("u1", 1, "i1", 2.5, "milk", "core", "bought on 5 days")]
    return Sources(
        interactions=frame([("e1",)] * 7, "interaction_id string"),
        quarantine=frame([("h1",)] * 2, "row_hash string"),
        items=frame([("i1", "whole milk"), ("i3", None)], "item_id string, text string"),
        users=frame([("u1",), ("u2",), ("u3",)], "user_id string"),
        interests=interests,
        user_interests=frame(
            evidence, "user_id string, interest_id string, evidence double, share double, rank long, n_days long, recency_days long"
        ),
        user_tiers=user_tiers,
        user_vectors=frame([("u1", [0.6, 0.8, 0.0])], "user_id string, vector array<float>"),
        clusters=frame([("a", "Milk and bread", 2), ("b", "Beer", 1)], "cluster_id string, name string, size long"),
        user_clusters=frame(
            [("u1", "b", 0.25, False), ("u1", "a", 0.75, True), ("u2", "a", 1.0, True), ("u3", "b", 1.0, True)],
            "user_id string, cluster_id string, membership double, is_primary boolean",
        ),
        recommendations=frame(
            [*listed, ("u3", 1, "i1", 1.0, "milk", "core", "")],
            "user_id string, rank long, item_id string, score double, interest_id string, tier string, reason string",
        ),
        metrics=None,
        runs=None,
    )


def test_tiers_are_shares_of_pairs_and_counts_per_user(user_tiers: DataFrame) -> None:
    summary = content.summarise_tiers(user_tiers)
    assert (summary.users, summary.pairs, summary.methods) == (3, 10, (("rule", "v1"),))
    core, secondary, marginal = summary.tiers
    assert core == TierShare("core", pairs=5, share=0.5, users=3, mean_per_user=5 / 3, low_per_user=1, median_per_user=1, high_per_user=3)
    assert (secondary.pairs, secondary.share, secondary.users, secondary.median_per_user) == (2, 0.2, 2, 1)
    assert (marginal.pairs, marginal.share, marginal.users, marginal.high_per_user) == (3, 0.3, 2, 2)


def test_core_interests_come_in_the_order_of_their_core_users(user_tiers: DataFrame, interests: DataFrame) -> None:
    assert content.find_core_interests(user_tiers, interests) == (
        CoreInterest("FLUID MILK", core_users=2, secondary_users=1),
        CoreInterest("BREAD", core_users=2, secondary_users=0),
        CoreInterest("TEA", core_users=1, secondary_users=0),
    )


def test_core_interests_are_limited(user_tiers: DataFrame, interests: DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "CORE_INTERESTS_LIMIT", 1)
    assert [i.name for i in content.find_core_interests(user_tiers, interests)] == ["FLUID MILK"]


def test_a_row_in_quarantine_counts_once_for_every_rule_that_it_breaks(spark: SparkSession) -> None:
    rows = [("interactions", ["no user", "no item"]), ("interactions", ["no item", "no item"]), ("items", ["no item"])]
    assert content.count_reasons(spark.createDataFrame(rows, "source string, reasons array<string>")) == (
        QuarantineReason("interactions", "no item", 2),
        QuarantineReason("interactions", "no user", 1),
        QuarantineReason("items", "no item", 1),
    )


def test_an_empty_quarantine_has_no_reasons(spark: SparkSession) -> None:
    assert content.count_reasons(spark.createDataFrame([], "source string, reasons array<string>")) == ()


def test_stages_show_their_newest_run_of_the_day_in_the_order_of_the_pipeline(spark: SparkSession) -> None:
    def run(run_id: str, stage: str, as_of: date | None, hour: int, rows: int | None, status: str = "done") -> tuple[Any, ...]:
        started, ended = datetime(2026, 1, 5, hour, 0), datetime(2026, 1, 5, hour, 1, 30)
        return (run_id, stage, as_of, status, started, ended, rows, rows, "c" * 64, "0.1.0", {}, None)

    rows = [
        run("r3", "recommend", DAY, 4, None, "failed"),
        run("r1", "recommend", DAY, 3, 50),
        run("r2", "recommend", EARLIER, 5, 99),
        run("r2", "embed", EARLIER, 2, 30),
        run("r1", "clean", None, 1, 70),
        run("r1", "report", DAY, 6, 1),
    ]
    stages = content.list_stages(spark.createDataFrame(rows, RUNS.schema), DAY)
    assert [(s.stage, s.run_id, s.status, s.rows_in) for s in stages] == [
        ("clean", "r1", "done", 70),
        ("embed", "r2", "done", 30),
        ("recommend", "r3", "failed", None),
    ]
    assert (stages[0].seconds, stages[0].message) == (90.0, "")


def test_clusters_come_largest_first(spark: SparkSession) -> None:
    rows = [("b", "Beer", 10, None, ["BEER"]), ("a", "Milk", 30, 0.5, ["MILK", "TEA"])]
    frame = spark.createDataFrame(rows, "cluster_id string, name string, size long, silhouette double, top_interests array<string>")
    assert content.list_clusters(frame) == (
        Cluster("a", "Milk", 30, 0.75, 0.5, ("MILK", "TEA")),
        Cluster("b", "Beer", 10, 0.25, None, ("BEER",)),
    )


def test_the_map_draws_its_sample_by_hash_and_puts_most_variance_on_its_first_axis(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "MAP_USERS_LIMIT", 4)
    user_ids = in_order_of_hash([f"u{n}" for n in range(6)])
    # The four first by hash lie at -4, -2, 2 and 4 of the second dimension; the others far away.
    places = [-4.0, -2.0, 2.0, 4.0, 900.0, 900.0]
    vectors = spark.createDataFrame(
        [(u, [0.0, y, 0.0]) for u, y in zip(user_ids, places, strict=True)], "user_id string, vector array<float>"
    )
    owners = spark.createDataFrame(
        [(u, f"c{n}", True) for n, u in enumerate(user_ids)], "user_id string, cluster_id string, is_primary boolean"
    )
    user_map = content.draw_user_map(vectors, owners)
    assert user_map is not None
    assert user_map.n_users == 6
    assert user_map.cluster_ids == ("c0", "c1", "c2", "c3")
    assert sorted(abs(x) for x, _ in user_map.points) == pytest.approx([2, 2, 4, 4])
    assert [y for _, y in user_map.points] == pytest.approx([0, 0, 0, 0])
    assert user_map.explained == pytest.approx((1, 0))


def test_there_is_no_map_of_one_user(sources: Sources) -> None:
    assert content.draw_user_map(sources.user_vectors, sources.user_clusters) is None


def test_silhouettes_are_read_from_their_slices() -> None:
    measures = [
        {"stage": "cluster_users", "metric": "silhouette", "slice": "k=12", "value": 0.3},
        {"stage": "cluster_users", "metric": "silhouette", "slice": "k=8", "value": 0.4},
        {"stage": "cluster_users", "metric": "silhouette_chosen", "slice": "k=8", "value": 0.4},
        {"stage": "evaluate", "metric": "silhouette", "slice": "k=99", "value": 0.9},
    ]
    assert content.describe_silhouettes(measures) == SilhouetteChoice(((8, 0.4), (12, 0.3)), chosen=8)
    assert content.describe_silhouettes([]) == SilhouetteChoice((), chosen=None)


def test_story_users_are_the_first_by_hash_with_enough_in_each_large_cluster(spark: SparkSession, sources: Sources) -> None:
    """Of the clusters a to d (largest first), b has nobody with three core interests, so d stands in."""
    members = {c: [f"{c}{n}" for n in range(4)] for c in "abcd"}
    first = {c: in_order_of_hash(users) for c, users in members.items()}
    unserved, poor = first["a"][0], [*members["b"], first["c"][0]]
    everybody = [u for users in members.values() for u in users]
    tiers = [row for u in everybody for row in tier_rows(u, core=["milk", "tea"] if u in poor else ["milk", "tea", "beer"])]
    chosen = content.choose_story_users(
        replace(
            sources,
            user_tiers=spark.createDataFrame(tiers, TIER_COLUMNS),
            clusters=spark.createDataFrame([("d", 4), ("b", 8), ("c", 6), ("a", 9)], "cluster_id string, size long"),
            user_clusters=spark.createDataFrame(
                [(u, c, True) for c, users in members.items() for u in users] + [(everybody[0], "d", False)],
                "user_id string, cluster_id string, is_primary boolean",
            ),
            recommendations=spark.createDataFrame(
                [(u, rank) for u in everybody if u != unserved for rank in (1, 2)], "user_id string, rank long"
            ),
        )
    )
    assert chosen == (first["a"][1], first["c"][1], first["d"][0])


def test_users_with_less_fill_the_places_of_the_stories(sources: Sources) -> None:
    """u1 has three core interests, u3 has recommendations, u2 has neither."""
    assert content.choose_story_users(sources) == ("u1", "u3", "u2")


def test_a_story_leads_from_evidence_to_recommendation(sources: Sources) -> None:
    (story,) = content.tell_stories(sources, ["u1"])
    assert (story.user_id, story.n_interests) == ("u1", 6)
    assert story.interests == (
        StoryInterest("BREAD", 9.0, 0.6, 5, 2, "core", 0.7, 0.2, 0.1),
        StoryInterest("wine", 6.0, 0.4, 4, 30, "marginal", 0.0, 0.1, 0.9),
    )
    assert story.clusters == (StoryCluster("Milk and bread", 0.75, True), StoryCluster("Beer", 0.25, False))
    assert story.recommendations == (
        StoryRecommendation(1, "i1", "whole milk", "FLUID MILK", "core", 2.5, "bought on 5 days"),
        StoryRecommendation(2, "i2", None, "TEA", "core", 1.5, "you like tea"),
    )


def test_totals_are_the_rows_of_the_tables(sources: Sources) -> None:
    assert content.count_totals(sources) == content.Totals(users=3, interactions=7, items=2, interests=5, recommendations=3, quarantined=2)
