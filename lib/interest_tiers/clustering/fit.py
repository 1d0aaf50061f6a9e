"""Fit KMeans for several k and choose one by silhouette."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from pyspark import inheritable_thread_target
from pyspark.ml.clustering import KMeansModel
from pyspark.ml.evaluation import ClusteringEvaluator
from pyspark.sql import DataFrame

from interest_tiers.clustering.kmeans import fit_best, order_by_size, order_points, scale_to_unit_length
from interest_tiers.config import Clustering

#: Values of k that are fitted at the same time: a fit is dozens of jobs, each too short to fill the machine.
PARALLEL_FITS = 4


@dataclass(frozen=True)
class Fit:
    """Hold the chosen clustering.

    centroids:   float32 (clusters, width), each of L2 norm 1, the largest cluster first
    k:           the k that was requested
    silhouettes: mean silhouette (cosine) per k tried; None where a single cluster came out
    """

    centroids: np.ndarray
    k: int
    silhouettes: dict[int, float | None]

    @property
    def silhouette(self) -> float | None:
        return self.silhouettes[self.k]


def fit_clusters(vectors: DataFrame, config: Clustering) -> Fit | None:
    """Fit every configured k and keep the one with the highest silhouette, the smaller on a tie; None where there is no vector.

    A k above the number of distinct vectors is lowered to it.

    vectors: (user_id, vector array<float>), L2 norm 1
    """
    n_users, n_points = vectors.count(), vectors.select("vector").distinct().count()
    if n_users == 0:
        return None
    points = order_points(vectors, "user_id", "vector", n_users).cache()
    try:
        ks = sorted({min(k, n_points) for k in config.k}) if n_points > 1 else []
        if not ks:
            only = np.array([vectors.first()["vector"]], dtype=np.float32)  # type: ignore[index]
            return Fit(only, 1, {1: None})

        def fit(k: int) -> tuple[KMeansModel, float | None]:
            model = fit_best(points, k, config.seed, config.starts)
            return model, _silhouette(points, model)

        with ThreadPoolExecutor(PARALLEL_FITS) as pool:
            fitted = dict(zip(ks, pool.map(inheritable_thread_target(fit), ks), strict=True))
    finally:
        points.unpersist()
    silhouettes = {k: silhouette for k, (_, silhouette) in fitted.items()}
    best = max(fitted, key=lambda k: (silhouettes[k] is not None, silhouettes[k] or 0.0, -k))
    return Fit(_order_centroids(fitted[best][0]), best, silhouettes)


def _silhouette(points: DataFrame, model: KMeansModel) -> float | None:
    predicted = model.transform(points)
    if predicted.select("prediction").distinct().count() < 2:
        return None
    return ClusteringEvaluator(distanceMeasure="cosine").evaluate(predicted)


def _order_centroids(model: KMeansModel) -> np.ndarray:
    """Order centroids by cluster size, the largest first; drop empty clusters."""
    centres, sizes = np.array(model.clusterCenters()), model.summary.clusterSizes
    return scale_to_unit_length(centres[[i for i in order_by_size(centres, sizes) if sizes[i] > 0]])
