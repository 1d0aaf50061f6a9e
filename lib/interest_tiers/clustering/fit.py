"""KMeans over several k, judged by silhouette."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.evaluation import ClusteringEvaluator
from pyspark.sql import DataFrame

from interest_tiers.clustering.vectors import features
from interest_tiers.config import Clustering
from interest_tiers.errors import DataQualityError

#: KMeans depends on how rows are split; the split depends on the number of users alone, not on the machine.
USERS_PER_PARTITION = 50_000

ITERATIONS = 50


@dataclass(frozen=True)
class Fit:
    """centroids float32 (clusters, width), each of L2 norm 1, the largest cluster first; k as asked for.

    silhouettes: mean silhouette (cosine) per k that was tried; None where a single cluster came out.
    """

    centroids: np.ndarray
    k: int
    silhouettes: dict[int, float | None]

    @property
    def silhouette(self) -> float | None:
        return self.silhouettes[self.k]


def fit_clusters(vectors: DataFrame, config: Clustering) -> Fit:
    """Fit every configured k and keep the one with the highest silhouette, the smaller on a tie.

    vectors: user_id, vector array<float> of L2 norm 1. A k above the number of distinct vectors is lowered to it.
    Raises DataQualityError when there is no vector at all.
    """
    n_users, n_points = vectors.count(), vectors.select("vector").distinct().count()
    if n_users == 0:
        raise DataQualityError("no user has a vector: there is nothing to cluster. Are there interests with evidence before as_of?")
    points = in_fixed_order(vectors, n_users).cache()
    try:
        models = {k: _fit(points, k, config) for k in sorted({min(k, n_points) for k in config.k})} if n_points > 1 else {}
        silhouettes = {k: _silhouette(points, model) for k, model in models.items()}
        if not models:
            only = np.array([vectors.first()["vector"]], dtype=np.float32)  # type: ignore[index]
            return Fit(only, 1, {1: None})
    finally:
        points.unpersist()
    best = max(models, key=lambda k: (silhouettes[k] is not None, silhouettes[k] or 0.0, -k))
    return Fit(_ordered_centroids(models[best]), best, silhouettes)


def in_fixed_order(vectors: DataFrame, n_users: int) -> DataFrame:
    """The points as MLlib takes them (column features), split and sorted by user_id alone."""
    parts = math.ceil(n_users / USERS_PER_PARTITION)
    ordered = vectors.repartition(parts, "user_id").sortWithinPartitions("user_id")
    return ordered.withColumn("features", features(ordered["vector"]))


def _fit(points: DataFrame, k: int, config: Clustering) -> KMeansModel:
    """The start with the smallest sum of distances: a single one may end far from the best partition."""
    starts = [KMeans(k=k, seed=config.seed + start, maxIter=ITERATIONS, distanceMeasure="cosine") for start in range(config.starts)]
    return min((start.fit(points) for start in starts), key=lambda model: model.summary.trainingCost)


def _silhouette(points: DataFrame, model: KMeansModel) -> float | None:
    predicted = model.transform(points)
    if predicted.select("prediction").distinct().count() < 2:
        return None
    return ClusteringEvaluator(distanceMeasure="cosine").evaluate(predicted)


def _ordered_centroids(model: KMeansModel) -> np.ndarray:
    """The largest cluster first, ties by coordinates: numbers of MLlib's own have no meaning. Empty clusters go."""
    centres = np.array(model.clusterCenters())
    sizes = model.summary.clusterSizes
    order = sorted((i for i in range(len(centres)) if sizes[i] > 0), key=lambda i: (-sizes[i], centres[i].tolist()))
    chosen = centres[order]
    return (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).astype(np.float32)
