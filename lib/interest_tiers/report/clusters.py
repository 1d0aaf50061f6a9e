"""The clusters, a map of users, and the choice of k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from sklearn.decomposition import PCA

from interest_tiers.slices import Slice

CLUSTERS_LIMIT = 1000
MAP_USERS_LIMIT = 5000


@dataclass(frozen=True)
class Cluster:
    """One group of users."""

    cluster_id: str
    name: str
    size: int
    share: float  # of the users in all clusters
    silhouette: float | None
    top_interests: tuple[str, ...]


@dataclass(frozen=True)
class UserMap:
    """A sample of user vectors in two dimensions, coloured by primary cluster."""

    points: tuple[tuple[float, float], ...]
    cluster_ids: tuple[str, ...]  # one per point
    explained: tuple[float, float]  # share of the sample's variance along each axis
    n_users: int  # in all


@dataclass(frozen=True)
class SilhouetteChoice:
    """The silhouette for every candidate k, in order of k; chosen is None where no choice is on record."""

    values: tuple[tuple[int, float], ...]
    chosen: int | None


def list_clusters(clusters: DataFrame) -> tuple[Cluster, ...]:
    """List the clusters, largest first.

    clusters: (cluster_id, name, size, silhouette, top_interests)
    """
    columns = ["cluster_id", "name", "size", "silhouette", "top_interests"]
    rows = clusters.select(*columns).orderBy(F.desc("size"), "cluster_id").limit(CLUSTERS_LIMIT).collect()
    users = sum(row["size"] for row in rows)
    return tuple(
        Cluster(row["cluster_id"], row["name"], row["size"], row["size"] / users, row["silhouette"], tuple(row["top_interests"]))
        for row in rows
    )


def project_users(user_vectors: DataFrame, user_clusters: DataFrame) -> UserMap | None:
    """Project a sample of user vectors on two principal components; None with fewer than three users or two dimensions.

    user_vectors:  (user_id, vector array<float>[d])
    user_clusters: (user_id, cluster_id, is_primary)

    The sample is the MAP_USERS_LIMIT users with the smallest SHA-256 of their id, so it is the same every time.
    """
    hashed = user_vectors.select("user_id", "vector", F.sha2("user_id", 256).alias("hash"))
    primary = user_clusters.where("is_primary").select("user_id", "cluster_id")
    sample = hashed.orderBy("hash").limit(MAP_USERS_LIMIT).join(primary, "user_id")
    rows = sample.orderBy("hash").select("vector", "cluster_id").collect()
    if len(rows) < 3 or len(rows[0]["vector"]) < 2:
        return None
    vectors = np.array([row["vector"] for row in rows], dtype=np.float64)
    components = PCA(n_components=2, svd_solver="full")
    points = components.fit_transform(vectors)
    return UserMap(
        points=tuple((float(x), float(y)) for x, y in points),
        cluster_ids=tuple(row["cluster_id"] for row in rows),
        explained=(float(components.explained_variance_ratio_[0]), float(components.explained_variance_ratio_[1])),
        n_users=user_vectors.count(),
    )


def describe_silhouettes(measures: Sequence[dict[str, Any]]) -> SilhouetteChoice:
    """Read the silhouette of every k, and the chosen k.

    measures: (stage, metric, slice, value); those of cluster_users have a slice such as ``k=8``
    """
    by_metric: dict[str, dict[int, float]] = {"silhouette": {}, "silhouette_chosen": {}}
    for row in measures:
        k = Slice.parse(row["slice"]).k
        if row["stage"] == "cluster_users" and row["metric"] in by_metric and k is not None:
            by_metric[row["metric"]][k] = row["value"]
    return SilhouetteChoice(
        values=tuple(sorted(by_metric["silhouette"].items())),
        chosen=min(by_metric["silhouette_chosen"], default=None),
    )
