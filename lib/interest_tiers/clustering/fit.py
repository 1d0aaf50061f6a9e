"""Fit clusters: trials of several k on a sample, the choice, and MLlib's KMeans over all users from the chosen centroids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import pyarrow as pa
from pyspark.mllib.clustering import KMeans, KMeansModel
from pyspark.mllib.linalg import Vectors
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DoubleType, LongType, StructField, StructType

from interest_tiers.clustering.kmeans import order_by_size, order_points, scale_to_unit_length
from interest_tiers.clustering.trials import Clustered, Trial, choose_k, fit_spherical, label_points, try_k
from interest_tiers.config import Clustering
from interest_tiers.spark.sampling import sample_by_hash

#: Iterations of MLlib's KMeans over all users, from centroids that are near their end.
FINAL_ITERATIONS = 10

#: A refit keeps the k of the model before it, unless another k scores better by more than this.
KEEP_K_WITHIN = 0.1

#: It starts from the old clusters, unless fresh starts have smaller distances by more than this share.
KEEP_START_WITHIN = 0.02

_TRIED = StructType(
    [
        StructField("k", LongType()),
        *(StructField(name, DoubleType()) for name in ("silhouette", "null_silhouette", "agreement", "smallest")),
        StructField("centroids", ArrayType(DoubleType())),
    ]
)


@dataclass(frozen=True)
class Fit:
    """Hold the chosen clustering.

    centroids: float32 (clusters, width), each of L2 norm 1, the largest cluster first
    k:         the number of clusters that was chosen; 1 where all users are alike
    trials:    one for every k that was tried; empty where all users are alike
    """

    centroids: np.ndarray
    k: int
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Sample:
    """Users that trials are made on.

    points: float32 (users, width), of L2 norm 1
    before: the number of each user's old cluster; -1 where the user had none
    """

    points: np.ndarray
    before: np.ndarray


def take_sample(vectors: DataFrame, before: DataFrame | None, old_ids: Sequence[str], max_users: int, n_users: int) -> Sample:
    """Take at most about max_users users by hash, in the order of their ids.

    vectors: (user_id, vector, ...)
    before:  (user_id, cluster_id), the primary clusters of the model before; None for a first fit
    old_ids: its clusters
    """
    chosen = sample_by_hash(vectors, "user_id", max_users, n_users).select("user_id", "vector")
    if before is not None:
        chosen = chosen.join(before.select("user_id", "cluster_id"), "user_id", "left")
    rows = chosen.toPandas().sort_values("user_id")  # at most about max_users
    points = np.stack(rows["vector"].to_list()).astype(np.float32)
    numbers = {cluster_id: number for number, cluster_id in enumerate(old_ids)}
    labels = [numbers.get(each, -1) for each in rows["cluster_id"]] if before is not None else [-1] * len(rows)
    return Sample(points, np.array(labels))


def fit_clusters(vectors: DataFrame, variances: np.ndarray, config: Clustering, n_users: int, sample: Sample, old_k: int) -> Fit:
    """Fit the clusters of all users.

    A k above the number of distinct vectors is lowered to it. Where there is a model before, its k and its clusters are the
    start, see KEEP_K_WITHIN and KEEP_START_WITHIN.

    vectors:   (user_id, vector, ...), L2 norm 1
    variances: of the components of the space, for the silhouette of users without clusters
    sample:    see take_sample
    old_k:     number of clusters of the model before; 0 for a first fit
    """
    points = sample.points
    n_points = len(np.unique(points, axis=0))
    if n_points < 2:
        return Fit(points[:1], 1, ())
    ks = sorted({min(k, n_points) for k in config.k})
    tried = _try_all(vectors, points, variances, ks, config)
    trials = [trial for trial, _ in tried]
    chosen = choose_k(trials, config.min_share)
    old = next((trial for trial in trials if trial.k == old_k), None)
    if old is not None and old.score >= chosen.score - KEEP_K_WITHIN:
        chosen = old
    found = next(clustered for trial, clustered in tried if trial is chosen)
    if chosen is old:
        warm = _continue_from(points, sample.before, old_k)
        found = found if warm is None or warm.cost > found.cost * (1 + KEEP_START_WITHIN) else warm
    sizes = np.bincount(found.labels, minlength=len(found.centroids))
    centroids = _run_mllib(vectors, found.centroids[sizes > 0], n_users)
    order = order_by_size(centroids, np.bincount((points @ centroids.T).argmax(axis=1), minlength=len(centroids)).tolist())
    return Fit(centroids[order], chosen.k, tuple(trials))


def _continue_from(points: np.ndarray, before: np.ndarray, k: int) -> Clustered | None:
    """Start from the means of the users by their old cluster; None where an old cluster has no user left."""
    known = before >= 0
    if len(np.unique(before[known])) < k:
        return None
    sums = np.zeros((k, points.shape[1]))
    np.add.at(sums, before[known], points[known])
    return fit_spherical(points, scale_to_unit_length(sums))


def _try_all(
    vectors: DataFrame, points: np.ndarray, variances: np.ndarray, ks: Sequence[int], config: Clustering
) -> list[tuple[Trial, Clustered]]:
    """Try every k, each in a Spark task of its own."""

    def try_each(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for place in batch.column("id").to_pylist():
                trial, found = try_k(points, variances, ks[place], config.starts, config.seed)
                values = [*astuple(trial), found.centroids.astype(float).ravel().tolist()]
                yield pa.RecordBatch.from_arrays([pa.array([value]) for value in values], _TRIED.fieldNames())

    tasks = vectors.sparkSession.range(0, len(ks), numPartitions=len(ks))
    rows = tasks.mapInArrow(try_each, _TRIED).collect()  # a row per k
    tried = []
    for *values, flat in sorted(rows):
        centroids = np.array(flat, dtype=np.float32).reshape(-1, points.shape[1])
        tried.append((Trial(*values), label_points(points, centroids)))
    return tried


def _run_mllib(vectors: DataFrame, centroids: np.ndarray, n_users: int) -> np.ndarray:
    """Run MLlib's KMeans by cosine over all users from these centroids."""
    ordered = order_points(vectors, "user_id", "vector", n_users).select("vector")
    points = ordered.rdd.map(lambda row: Vectors.dense(row[0]))
    start = KMeansModel([Vectors.dense(centre) for centre in centroids.astype(float)])
    model = KMeans.train(points, len(centroids), maxIterations=FINAL_ITERATIONS, initialModel=start, distanceMeasure="cosine")
    return scale_to_unit_length(np.stack([np.asarray(centre) for centre in model.clusterCenters]))
