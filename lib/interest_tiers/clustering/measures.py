"""Measure what clusters say: how apart they are, and how much of the users' activity they repeat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame

from interest_tiers.clustering.trials import measure_silhouette
from interest_tiers.spark.sampling import sample_by_hash


@dataclass(frozen=True)
class ClusterQuality:
    """Measures of the primary clusters, on a sample of users.

    silhouette:         mean over users, cosine; None with one cluster
    activity_explained: share of the variance of log n_events that the clusters explain; None where all are as active
    n_users:            of the sample
    """

    silhouette: float | None
    activity_explained: float | None
    n_users: int


def measure_clusters(vectors: DataFrame, user_clusters: DataFrame, max_users: int, n_users: int) -> ClusterQuality:
    """Measure the primary clusters on at most about max_users users.

    vectors:       (user_id, n_events double, vector array<float>)
    user_clusters: (user_id, cluster_id, is_primary, ...)
    """
    sample = sample_by_hash(vectors, "user_id", max_users, n_users)
    rows = sample.join(user_clusters.where("is_primary").select("user_id", "cluster_id"), "user_id").toPandas()  # about max_users at most
    if rows.empty:
        return ClusterQuality(None, None, 0)
    labels = np.unique(rows["cluster_id"].to_numpy(dtype=str), return_inverse=True)[1]
    silhouette = measure_silhouette(np.stack(rows["vector"].to_list()), labels)
    return ClusterQuality(silhouette, explain_activity(rows["n_events"].to_numpy(), labels), len(rows))


def explain_activity(n_events: np.ndarray, labels: np.ndarray) -> float | None:
    """Compute eta squared: the variance of log n_events between clusters over the variance of all; None where that is 0.

    n_events: of users. labels: 0 to clusters - 1.
    """
    logs = np.log(np.maximum(n_events, 1.0))
    total = ((logs - logs.mean()) ** 2).sum()
    if total <= 1e-12:
        return None
    means = np.bincount(labels, logs) / np.maximum(np.bincount(labels), 1)
    return float(((means[labels] - logs.mean()) ** 2).sum() / total)
