"""Fit: trials in tasks, MLlib's KMeans over all users, and where a refit starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pyspark.ml.clustering import KMeans
from pyspark.ml.evaluation import ClusteringEvaluator
from pyspark.sql import DataFrame, SparkSession
from sklearn.metrics import adjusted_rand_score, silhouette_score

from interest_tiers.clustering import fit as fit_module
from interest_tiers.clustering.fit import Fit, Sample, fit_clusters, take_sample
from interest_tiers.clustering.kmeans import order_points
from interest_tiers.clustering.trials import measure_silhouette
from interest_tiers.config import Clustering

VECTORS = "user_id string, vector array<float>"

#: Users of each planted group; their centres are the axes.
SIZES = (11, 23, 16)

VARIANCES = np.full(4, 0.25)


def around_axes(sizes: Sequence[int], spread: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(scale=spread, size=(sum(sizes), 4))
    points = np.repeat(np.eye(4)[: len(sizes)], sizes, axis=0) + noise
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def frame_of(spark: SparkSession, points: np.ndarray) -> DataFrame:
    return spark.createDataFrame([(f"u{i:03}", [float(x) for x in point]) for i, point in enumerate(points)], VECTORS)


def nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return (points.astype(float) @ centroids.astype(float).T).argmax(axis=1)


def fit(vectors: DataFrame, config: Clustering) -> Fit:
    n_users = vectors.count()
    return fit_clusters(vectors, VARIANCES, config, n_users, take_sample(vectors, None, (), 1000, n_users), 0)


@pytest.fixture(scope="module")
def planted() -> np.ndarray:
    return around_axes(SIZES, 0.1, seed=1)


@pytest.fixture(scope="module")
def fitted(spark: SparkSession, planted: np.ndarray) -> Fit:
    return fit(frame_of(spark, planted), Clustering(k=[2, 3, 5], starts=5))


def test_planted_groups_are_found(fitted: Fit, planted: np.ndarray) -> None:
    assert fitted.k == 3
    assert [trial.k for trial in fitted.trials] == [2, 3, 5]
    assert adjusted_rand_score(np.repeat(range(3), SIZES), nearest(planted, fitted.centroids)) == 1.0


def test_centroids_are_directions_of_the_groups_the_largest_first(fitted: Fit, planted: np.ndarray) -> None:
    groups = np.split(planted, np.cumsum(SIZES)[:-1])
    means = np.stack([group.mean(axis=0) for group in sorted(groups, key=len, reverse=True)])
    np.testing.assert_allclose(fitted.centroids, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5)
    assert fitted.centroids.dtype == np.float32


def test_the_silhouette_is_that_of_scikit_learn_and_of_mllib(spark: SparkSession) -> None:
    """Also where groups run into each other."""
    points = around_axes((20, 20, 20), 0.6, seed=2)
    found = fit(frame_of(spark, points), Clustering(k=[5], starts=5))
    labels = nearest(points, found.centroids)
    assert np.bincount(labels).tolist() == sorted(np.bincount(labels), reverse=True)
    own = measure_silhouette(points, labels)
    assert own == pytest.approx(silhouette_score(points.astype(float), labels, metric="cosine"), abs=1e-6)
    rows = [([float(x) for x in point], int(label)) for point, label in zip(points, labels, strict=True)]
    predicted = order_points(spark.createDataFrame(rows, "vector array<float>, prediction int"), "vector", "vector", len(rows))
    assert own == pytest.approx(ClusteringEvaluator(distanceMeasure="cosine").evaluate(predicted), abs=1e-6)


def test_clusters_are_as_good_as_those_of_mllib_from_its_own_starts(spark: SparkSession) -> None:
    points = around_axes((30, 30, 30, 30), 0.5, seed=5)
    vectors = frame_of(spark, points)
    found = fit(vectors, Clustering(k=[6], starts=20))
    model = KMeans(k=6, seed=3, maxIter=50, distanceMeasure="cosine").fit(order_points(vectors, "user_id", "vector", len(points)))
    assert (points @ found.centroids.T).max(axis=1).sum() >= len(points) - model.summary.trainingCost - 1e-3


def test_order_and_partitioning_of_the_input_change_nothing(spark: SparkSession, planted: np.ndarray, fitted: Fit) -> None:
    shuffled = frame_of(spark, planted).orderBy("vector").repartition(5)
    again = fit(shuffled, Clustering(k=[2, 3, 5], starts=5))
    assert again.trials == fitted.trials
    np.testing.assert_array_equal(again.centroids, fitted.centroids)


def test_k_is_lowered_to_the_number_of_distinct_vectors(spark: SparkSession) -> None:
    points = np.repeat(np.eye(3, 4, dtype=np.float32), (2, 4, 3), axis=0)
    found = fit(frame_of(spark, points), Clustering(k=[8, 12], starts=3))
    assert (found.k, [trial.silhouette for trial in found.trials]) == (3, [pytest.approx(1.0)])
    np.testing.assert_allclose(found.centroids, np.eye(3, 4)[[1, 2, 0]], atol=1e-6)


@pytest.mark.parametrize("users", [1, 3])
def test_one_distinct_vector_is_one_cluster_without_trials(spark: SparkSession, users: int) -> None:
    found = fit(frame_of(spark, np.array([[0.6, 0.8, 0, 0]] * users)), Clustering(k=[2, 4]))
    assert (found.k, found.trials) == (1, ())
    np.testing.assert_allclose(found.centroids, [[0.6, 0.8, 0, 0]], atol=1e-6)


def test_a_refit_starts_from_the_means_of_the_old_clusters(planted: np.ndarray) -> None:
    before = np.repeat([2, 0, 1], SIZES)
    found = fit_module._continue_from(planted, before, 3)
    assert found is not None
    assert (found.labels == before).all()
    assert fit_module._continue_from(planted, np.where(before == 1, -1, before), 3) is None, "an old cluster without users has no mean"


def test_a_refit_keeps_k_where_no_other_is_clearly_better(spark: SparkSession) -> None:
    """The users have no groups, so that no k stands out; a first fit of the same users takes another."""
    points = around_axes((60, 60), 1.5, seed=7)
    vectors, config = frame_of(spark, points), Clustering(k=[2, 3], starts=5)
    first = fit(vectors, config)
    other = 5 - first.k
    labels = nearest(points, fit(vectors, Clustering(k=[other], starts=5)).centroids)
    again = fit_clusters(vectors, VARIANCES, config, len(points), Sample(points, labels), other)
    scores = {trial.k: trial.score for trial in again.trials}
    assert again.k == (other if scores[other] >= scores[first.k] - fit_module.KEEP_K_WITHIN else first.k)
