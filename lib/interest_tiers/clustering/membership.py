"""Compute which clusters a user belongs to, how strongly, and how well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Clustering

#: How fast membership falls with distance: it is proportional to exp(SHARPNESS * cosine).
SHARPNESS = 8.0

#: The columns of compute_memberships.
MEMBERSHIPS = "user_id string, cluster_id string, membership double, is_primary boolean, distance double, silhouette double"


def compute_memberships(
    vectors: DataFrame, centroids: np.ndarray, ids: Sequence[str], config: Clustering, previous: DataFrame | None = None
) -> DataFrame:
    """Compute the clusters of every user.

    The primary cluster is the nearest; of two equally near ones, the one with the smaller id. A user stays in the previous one,
    unless another is nearer by more than stay_within. Membership is exp(SHARPNESS * cosine), as a share of the clusters that are
    kept: the primary one, and the nearest others whose share of all clusters is at least min_membership, max_memberships in all.

    vectors:   (user_id, vector array<float>), L2 norm 1
    centroids: (clusters, width), L2 norm 1
    ids:       of the clusters
    previous:  (user_id, cluster_id), the primary cluster on an earlier day; None where there is none
    Returns:   MEMBERSHIPS; membership sums to 1 per user, is_primary marks one, distance is cosine (0 to 2), silhouette is null
               where there is one cluster
    """
    by_id = np.argsort(np.asarray(ids))
    names, centres = np.asarray(ids)[by_id], np.asarray(centroids, dtype=np.float64)[by_id]
    users = vectors.select("user_id", "vector")
    if previous is not None:
        users = users.join(previous.select("user_id", F.col("cluster_id").alias("previous")), "user_id", "left")

    # By arrays: array functions of Spark are interpreted row by row, and took twenty times as long.
    def compute(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield _compute(batch, names, centres, config)

    return users.mapInArrow(compute, MEMBERSHIPS)


def _compute(batch: pa.RecordBatch, names: np.ndarray, centres: np.ndarray, config: Clustering) -> pa.RecordBatch:
    """Compute the memberships of some users; see compute_memberships. names: ascending."""
    points = batch.column("vector").flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
    distance = _measure_distances(points, centres)
    near = np.argsort(distance, axis=1, kind="stable")
    everyone = np.arange(len(points))
    primary, nearest = near[:, 0], distance[everyone, near[:, 0]]
    if "previous" in batch.schema.names:
        previous = batch.column("previous").to_numpy(zero_copy_only=False)
        positions = {name: position for position, name in enumerate(names)}
        place = np.array([positions.get(name, -1) for name in previous])  # -1 also where the previous cluster is gone
        primary = np.where((place >= 0) & (distance[everyone, place] - nearest <= config.stay_within), place, primary)
    closeness = np.exp(-SHARPNESS * distance)
    is_primary = np.arange(len(names)) == primary[:, None]
    listed = np.argsort(np.where(is_primary, -np.inf, distance), axis=1, kind="stable")[:, : config.max_memberships]
    close = np.take_along_axis(closeness, listed, axis=1)
    is_kept = close >= config.min_membership * closeness.sum(axis=1, keepdims=True)
    is_kept[:, 0] = True
    membership = close / np.where(is_kept, close, 0.0).sum(axis=1, keepdims=True)
    user, rank = np.nonzero(is_kept)
    cluster = listed[user, rank]
    own = distance[user, cluster]
    columns = [
        batch.column("user_id").take(pa.array(user)), pa.array(names[cluster], pa.string()), pa.array(membership[user, rank]),
        pa.array(rank == 0), pa.array(own), _measure_silhouettes(own, user, cluster, distance, near),
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, names=["user_id", "cluster_id", "membership", "is_primary", "distance", "silhouette"])


def _measure_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Compute cosine distances, (users, clusters). Summed column by column, so that a batch's size does not change the rounding."""
    cosine = np.zeros((len(points), len(centres)))
    for component, of_centres in zip(points.T.astype(np.float64), centres.T, strict=True):
        cosine += component[:, None] * of_centres
    return 1.0 - cosine


def _measure_silhouettes(own: np.ndarray, user: np.ndarray, cluster: np.ndarray, distance: np.ndarray, near: np.ndarray) -> pa.Array:
    """Compute (b - a) / max(a, b) from distances to centroids (Rousseeuw 1987, centroid form); null without another cluster."""
    if distance.shape[1] == 1:
        return pa.nulls(len(own), pa.float64())
    other = np.where(cluster == near[user, 0], near[user, 1], near[user, 0])
    a, b = np.maximum(own, 0.0), np.maximum(distance[user, other], 0.0)
    largest = np.maximum(a, b)
    return pa.array(np.where(largest > 0, (b - a) / np.where(largest > 0, largest, 1.0), 0.0))
