"""Memberships, distances and silhouettes of users."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pyspark.ml.clustering import KMeans
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.clustering.identity import name_clusters
from interest_tiers.clustering.kmeans import to_vector
from interest_tiers.clustering.membership import SHARPNESS, compute_memberships
from interest_tiers.config import Clustering

VECTORS = "user_id string, vector array<float>"
USER_CLUSTERS = "user_id string, cluster_id string, membership double, is_primary boolean, distance double, silhouette double"

#: East, north and west.
AXES = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=np.float32)


def vectors_of(spark: SparkSession, points: np.ndarray) -> DataFrame:
    return spark.createDataFrame([(f"u{i:03}", [float(x) for x in point]) for i, point in enumerate(points)], VECTORS)


def on_sphere(n: int, width: int, seed: int) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(n, width))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_memberships_by_hand(spark: SparkSession) -> None:
    """0.75 and 0.25 (and not their roots) are exact in floats: the vectors need no length of one for that."""
    users = [
        ("between", [0.75, 0.75]),  # 1/4 from east and north, 7/4 from west
        ("on a centroid", [1.0, 0.0]),
        ("far from all", [0.0, -1.0]),  # 1 from east and west, 2 from north
    ]

    def shares(*distances: float) -> list[float]:
        parts = [math.exp(-SHARPNESS * distance) for distance in distances]
        return [part / sum(parts) for part in parts]

    between, on_one, far = shares(0.25, 0.25, 1.75), shares(0, 1, 2), shares(1, 1, 2)
    expected = [
        ("between", "c01", between[0], True, 0.25, 0.0),
        ("between", "c02", between[1], False, 0.25, 0.0),
        ("between", "c03", between[2], False, 1.75, (0.25 - 1.75) / 1.75),
        ("on a centroid", "c01", on_one[0], True, 0.0, 1.0),
        ("on a centroid", "c02", on_one[1], False, 1.0, -1.0),
        ("on a centroid", "c03", on_one[2], False, 2.0, -1.0),
        ("far from all", "c01", far[0], True, 1.0, 0.0),
        ("far from all", "c03", far[1], False, 1.0, 0.0),
        ("far from all", "c02", far[2], False, 2.0, -0.5),
    ]
    got = compute_memberships(spark.createDataFrame(users, VECTORS), AXES, name_clusters(3), Clustering(min_membership=0.0))
    assertDataFrameEqual(got, spark.createDataFrame(expected, USER_CLUSTERS), rtol=1e-9, atol=1e-9)


def test_a_user_stays_unless_another_cluster_is_nearer_by_more(spark: SparkSession) -> None:
    """The distances are 0.5 to north and 0.375 to east: 0.125 nearer. The cluster c09 is gone."""
    users = [(name, [0.625, 0.5]) for name in ("from north", "from east", "from c09", "new")]
    before = spark.createDataFrame([("from north", "c02"), ("from east", "c01"), ("from c09", "c09")], "user_id string, cluster_id string")

    def primary(stay_within: float) -> dict[str, tuple[str, float]]:
        config = Clustering(stay_within=stay_within, min_membership=0.0)
        got = compute_memberships(spark.createDataFrame(users, VECTORS), AXES, name_clusters(3), config, before)
        assert got.where("is_primary").count() == len(users)
        return {row["user_id"]: (row["cluster_id"], row["silhouette"]) for row in got.where("is_primary").collect()}

    east, north = ("c01", pytest.approx(0.25)), ("c02", pytest.approx(-0.25))
    assert primary(0.125) == {"from north": north, "from east": east, "from c09": east, "new": east}
    assert primary(0.124) == {"from north": east, "from east": east, "from c09": east, "new": east}


def test_further_clusters_are_few_and_strong_enough_and_the_rest_sums_to_one(spark: SparkSession) -> None:
    user = spark.createDataFrame([("u", [0.75, 0.5])], VECTORS)  # distances 1/4, 1/2 and 7/4
    parts = [math.exp(-SHARPNESS * distance) for distance in (0.25, 0.5, 1.75)]
    second = parts[1] / sum(parts)
    both = {"c01": parts[0] / sum(parts[:2]), "c02": parts[1] / sum(parts[:2])}

    def kept(**limits: float) -> dict[str, float]:
        config = Clustering.model_validate(limits)
        return {row["cluster_id"]: row["membership"] for row in compute_memberships(user, AXES, name_clusters(3), config).collect()}

    assert kept(min_membership=second - 1e-9) == pytest.approx(both)
    assert kept(min_membership=second + 1e-9) == pytest.approx({"c01": 1.0})
    assert kept(min_membership=0.0, max_memberships=2) == pytest.approx(both)
    assert kept(min_membership=0.9) == pytest.approx({"c01": 1.0}), "the nearest is kept always"


def test_one_cluster_has_no_silhouette(spark: SparkSession) -> None:
    got = compute_memberships(spark.createDataFrame([("u", [0.0, 1.0])], VECTORS), AXES[:1], ("c01",), Clustering())
    assertDataFrameEqual(got, spark.createDataFrame([("u", "c01", 1.0, True, 1.0, None)], USER_CLUSTERS))


def test_many_users_as_numpy_has_it(spark: SparkSession) -> None:
    points, centroids, config = on_sphere(60, 4, seed=3), on_sphere(6, 4, seed=4), Clustering(min_membership=0.12, max_memberships=3)
    rows: dict[str, dict[str, tuple[float, bool, float, float]]] = {}
    for row in compute_memberships(vectors_of(spark, points), centroids, name_clusters(6), config).collect():
        rows.setdefault(row["user_id"], {})[row["cluster_id"]] = tuple(row)[2:]
    assert len(rows) == len(points)
    distances = 1 - points.astype(float) @ centroids.astype(float).T
    for place, distance in enumerate(distances):
        closeness = np.exp(-SHARPNESS * distance) / np.exp(-SHARPNESS * distance).sum()
        order = np.argsort(distance)
        wanted = [c for c in order[:3] if c == order[0] or closeness[c] >= 0.12]
        got = rows[f"u{place:03}"]
        assert sorted(got) == sorted(name_clusters(6)[c] for c in wanted)
        assert math.fsum(membership for membership, *_ in got.values()) == pytest.approx(1.0, abs=1e-12)
        for c in wanted:
            other = np.delete(distance, c).min()
            silhouette = (other - distance[c]) / max(other, distance[c])
            expected = (closeness[c] / closeness[wanted].sum(), c == order[0], distance[c], silhouette)
            assert got[name_clusters(6)[c]] == pytest.approx(expected, abs=1e-9)


def test_the_primary_cluster_is_the_one_that_mllib_predicts(spark: SparkSession) -> None:
    vectors = vectors_of(spark, on_sphere(60, 4, seed=6)).coalesce(1)
    points = vectors.withColumn("features", to_vector(vectors["vector"])).cache()
    model = KMeans(k=5, seed=17, maxIter=4, distanceMeasure="cosine").fit(points)
    centres = np.array(model.clusterCenters())
    centroids = (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float32)
    predicted = {row["user_id"]: name_clusters(5)[row["prediction"]] for row in model.transform(points).collect()}
    primary = compute_memberships(vectors, centroids, name_clusters(5), Clustering()).where("is_primary").collect()
    assert {row["user_id"]: row["cluster_id"] for row in primary} == predicted
    assert len(primary) == 60
