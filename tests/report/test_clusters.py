"""Clusters, the map of users and the choice of k."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from interest_tiers.report import clusters
from interest_tiers.report.clusters import Cluster, SilhouetteChoice
from interest_tiers.report.sources import Sources
from tests.report.tables import in_order_of_hash


def test_clusters_come_largest_first(spark: SparkSession) -> None:
    rows = [("b", "Beer", 10, None, ["BEER"], None, None), ("a", "Milk", 30, 0.5, ["MILK", "TEA"], ["whole milk"], 28)]
    columns = "cluster_id string, name string, size long, silhouette double, top_interests array<string>"
    frame = spark.createDataFrame(rows, f"{columns}, top_items array<string>, previous_size long")
    assert clusters.list_clusters(frame) == (
        Cluster("a", "Milk", 30, 0.75, 0.5, ("MILK", "TEA"), ("whole milk",), 28),
        Cluster("b", "Beer", 10, 0.25, None, ("BEER",)),
    )


def test_the_map_samples_users_by_hash_and_puts_most_variance_on_its_first_axis(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "MAP_USERS_LIMIT", 4)
    user_ids = in_order_of_hash([f"u{n}" for n in range(6)])
    # The four first by hash lie at -4, -2, 2 and 4 of the second dimension; the others far away.
    places = [-4.0, -2.0, 2.0, 4.0, 900.0, 900.0]
    vectors = spark.createDataFrame(
        [(u, [0.0, y, 0.0]) for u, y in zip(user_ids, places, strict=True)], "user_id string, vector array<float>"
    )
    owners = spark.createDataFrame(
        [(u, f"c{n}", True, 0.1 * n if n else None) for n, u in enumerate(user_ids)],
        "user_id string, cluster_id string, is_primary boolean, silhouette double",
    )
    user_map = clusters.project_users(vectors, owners)
    assert user_map is not None
    assert user_map.n_users == 6
    assert user_map.silhouettes == (None, 0.1, 0.2, pytest.approx(0.3))
    assert user_map.cluster_ids == ("c0", "c1", "c2", "c3")
    assert sorted(abs(x) for x, _ in user_map.points) == pytest.approx([2, 2, 4, 4])
    assert [y for _, y in user_map.points] == pytest.approx([0, 0, 0, 0])
    assert user_map.explained == pytest.approx((1, 0))


def test_there_is_no_map_of_one_user(sources: Sources) -> None:
    assert clusters.project_users(sources.user_vectors, sources.user_clusters) is None


def test_silhouettes_are_read_from_their_slices() -> None:
    measures = [
        {"stage": "cluster_users", "metric": "silhouette", "slice": "k=12", "value": 0.3},
        {"stage": "cluster_users", "metric": "silhouette", "slice": "k=8", "value": 0.4},
        {"stage": "cluster_users", "metric": "silhouette_chosen", "slice": "k=8", "value": 0.4},
        {"stage": "evaluate", "metric": "silhouette", "slice": "k=99", "value": 0.9},
    ]
    assert clusters.describe_silhouettes(measures) == SilhouetteChoice(((8, 0.4), (12, 0.3)), chosen=8)
    assert clusters.describe_silhouettes([]) == SilhouetteChoice((), chosen=None)


def test_trials_and_identity_are_read_too() -> None:
    values = {"silhouette": 0.3, "null_silhouette": 0.2, "agreement_of_halves": 0.7, "smallest_share": 0.05, "activity_explained": 0.04}
    measures = [{"stage": "cluster_users", "metric": name, "slice": "k=6", "value": value} for name, value in values.items()]
    measures.append({"stage": "cluster_users", "metric": "kept_cluster_share", "slice": "all", "value": 0.99})
    found = clusters.describe_silhouettes(measures)
    assert found.trials == (clusters.KTrial(6, 0.3, 0.2, 0.7, 0.05),)
    assert found.trials[0].excess == pytest.approx(0.1)
    assert (found.activity_explained, found.kept) == (0.04, 0.99)
