"""KMeans: what comes out, not which numbers it gives to clusters."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from pyspark.ml.clustering import KMeansModel
from pyspark.sql import DataFrame, SparkSession
from sklearn.metrics import adjusted_rand_score, silhouette_score

from interest_tiers.clustering import fit as fit_module
from interest_tiers.clustering.fit import Fit, fit_clusters
from interest_tiers.config import Clustering

VECTORS = "user_id string, vector array<float>"

#: Users of each planted group; their centres are the axes.
SIZES = (11, 23, 16)


def around_axes(sizes: Sequence[int], spread: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(scale=spread, size=(sum(sizes), 4))
    points = np.repeat(np.eye(4)[: len(sizes)], sizes, axis=0) + noise
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def frame_of(spark: SparkSession, points: np.ndarray) -> DataFrame:
    return spark.createDataFrame([(f"u{i:03}", [float(x) for x in point]) for i, point in enumerate(points)], VECTORS)


def nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return (points.astype(float) @ centroids.astype(float).T).argmax(axis=1)


@pytest.fixture(scope="module")
def planted() -> np.ndarray:
    return around_axes(SIZES, 0.1, seed=1)


@pytest.fixture(scope="module")
def fitted(spark: SparkSession, planted: np.ndarray) -> Fit:
    return fit_clusters(frame_of(spark, planted), Clustering(k=[2, 3, 5]))


def test_planted_groups_are_found(fitted: Fit, planted: np.ndarray) -> None:
    assert fitted.k == 3
    assert adjusted_rand_score(np.repeat(range(3), SIZES), nearest(planted, fitted.centroids)) == 1.0


def test_centroids_are_directions_of_the_groups_the_largest_first(fitted: Fit, planted: np.ndarray) -> None:
    groups = np.split(planted, np.cumsum(SIZES)[:-1])
    means = np.stack([group.mean(axis=0) for group in sorted(groups, key=len, reverse=True)])
    np.testing.assert_allclose(fitted.centroids, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5)
    assert fitted.centroids.dtype == np.float32


def test_the_k_with_the_highest_silhouette_is_chosen(fitted: Fit, planted: np.ndarray) -> None:
    assert sorted(fitted.silhouettes) == [2, 3, 5]
    scores = {k: cast(float, value) for k, value in fitted.silhouettes.items()}
    assert max(scores, key=lambda k: scores[k]) == fitted.k
    labels = nearest(planted, fitted.centroids)
    assert fitted.silhouette == pytest.approx(silhouette_score(planted.astype(float), labels, metric="cosine"), abs=1e-6)


def test_the_silhouette_is_that_of_scikit_learn_where_groups_run_into_each_other(spark: SparkSession) -> None:
    points = around_axes((20, 20, 20), 0.6, seed=2)
    fit = fit_clusters(frame_of(spark, points), Clustering(k=[5]))
    labels = nearest(points, fit.centroids)
    assert np.bincount(labels).tolist() == sorted(np.bincount(labels), reverse=True)
    assert fit.silhouette == pytest.approx(silhouette_score(points.astype(float), labels, metric="cosine"), abs=1e-6)


def test_order_and_partitioning_of_the_input_change_nothing(spark: SparkSession, planted: np.ndarray, fitted: Fit) -> None:
    shuffled = frame_of(spark, planted).orderBy("vector").repartition(5)
    again = fit_clusters(shuffled, Clustering(k=[2, 3, 5]))
    assert again.silhouettes == fitted.silhouettes
    np.testing.assert_array_equal(again.centroids, fitted.centroids)


def test_k_is_lowered_to_the_number_of_distinct_vectors(spark: SparkSession) -> None:
    points = np.repeat(np.eye(3, dtype=np.float32), (2, 4, 3), axis=0)
    fit = fit_clusters(frame_of(spark, points), Clustering(k=[8, 12]))
    assert (fit.k, fit.silhouettes) == (3, {3: 1.0})
    np.testing.assert_allclose(fit.centroids, np.eye(3)[[1, 2, 0]], atol=1e-6)


def test_one_distinct_vector_is_one_cluster_without_silhouette(spark: SparkSession) -> None:
    fit = fit_clusters(frame_of(spark, np.array([[0.6, 0.8]] * 3)), Clustering(k=[2, 4]))
    assert (fit.k, fit.silhouettes, fit.silhouette) == (1, {1: None}, None)
    np.testing.assert_allclose(fit.centroids, [[0.6, 0.8]], atol=1e-6)


def test_without_vectors_there_is_nothing_to_fit(spark: SparkSession) -> None:
    assert fit_clusters(spark.createDataFrame([], VECTORS), Clustering()) is None


def test_clusters_that_nobody_is_in_are_dropped_and_ties_go_by_coordinates() -> None:
    centres = [np.array([0.0, 2.0]), np.array([5.0, 5.0]), np.array([-3.0, 0.0]), np.array([0.6, -0.8])]
    model: Any = SimpleNamespace(clusterCenters=lambda: centres, summary=SimpleNamespace(clusterSizes=[4, 0, 4, 9]))
    got = fit_module._order_centroids(cast(KMeansModel, model))
    np.testing.assert_allclose(got, [[0.6, -0.8], [-1.0, 0.0], [0.0, 1.0]], atol=1e-7)
