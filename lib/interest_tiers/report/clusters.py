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
    top_items: tuple[str, ...] = ()
    previous_size: int | None = None  # on the latest earlier day


@dataclass(frozen=True)
class UserMap:
    """A sample of user vectors in two dimensions, coloured by primary cluster."""

    points: tuple[tuple[float, float], ...]
    cluster_ids: tuple[str, ...]  # one per point
    explained: tuple[float, float]  # share of the sample's variance along each axis
    n_users: int  # in all
    silhouettes: tuple[float | None, ...] = ()  # one per point


@dataclass(frozen=True)
class KTrial:
    """What a candidate k gave; agreement is that of the clusters of two halves of the users."""

    k: int
    silhouette: float
    null_silhouette: float  # of users without clusters
    agreement: float
    smallest_share: float

    @property
    def excess(self) -> float:
        """The part of the silhouette that users without clusters do not have."""
        return self.silhouette - self.null_silhouette


@dataclass(frozen=True)
class SilhouetteChoice:
    """The silhouette for every candidate k, in order of k; chosen is None where no choice is on record.

    activity_explained: share of the variance of log activity that the clusters explain
    kept:               share of users who are in the same cluster as on the latest earlier day
    """

    values: tuple[tuple[int, float], ...]
    chosen: int | None
    trials: tuple[KTrial, ...] = ()
    activity_explained: float | None = None
    kept: float | None = None


def list_clusters(clusters: DataFrame) -> tuple[Cluster, ...]:
    """List the clusters, largest first.

    clusters: (cluster_id, name, size, silhouette, top_interests, top_items, previous_size)
    """
    columns = ["cluster_id", "name", "size", "silhouette", "top_interests", "top_items", "previous_size"]
    rows = clusters.select(*columns).orderBy(F.desc("size"), "cluster_id").limit(CLUSTERS_LIMIT).collect()
    users = sum(row["size"] for row in rows)
    return tuple(
        Cluster(
            row["cluster_id"], row["name"], row["size"], row["size"] / users, row["silhouette"], tuple(row["top_interests"]),
            tuple(row["top_items"] or ()), row["previous_size"],
        )
        for row in rows
    )  # fmt: skip


def project_users(user_vectors: DataFrame, user_clusters: DataFrame) -> UserMap | None:
    """Project a sample of user vectors on two principal components; None with fewer than three users or two dimensions.

    user_vectors:  (user_id, vector array<float>[d])
    user_clusters: (user_id, cluster_id, is_primary, silhouette)

    The sample is the MAP_USERS_LIMIT users with the smallest SHA-256 of their id, so it is the same every time.
    """
    hashed = user_vectors.select("user_id", "vector", F.sha2("user_id", 256).alias("hash"))
    primary = user_clusters.where("is_primary").select("user_id", "cluster_id", "silhouette")
    sample = hashed.orderBy("hash").limit(MAP_USERS_LIMIT).join(primary, "user_id")
    rows = sample.orderBy("hash").select("vector", "cluster_id", "silhouette").collect()
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
        silhouettes=tuple(row["silhouette"] for row in rows),
    )


def describe_silhouettes(measures: Sequence[dict[str, Any]]) -> SilhouetteChoice:
    """Read the silhouette of every k, and the chosen k.

    measures: (stage, metric, slice, value); those of cluster_users have a slice such as ``k=8``
    """
    by_metric: dict[str, dict[int | None, float]] = {}
    for row in measures:
        if row["stage"] == "cluster_users":
            by_metric.setdefault(row["metric"], {})[Slice.parse(row["slice"]).k] = row["value"]
    silhouettes = {k: value for k, value in by_metric.get("silhouette", {}).items() if k is not None}
    others = [by_metric.get(name, {}) for name in ("null_silhouette", "agreement_of_halves", "smallest_share")]
    trials = [
        KTrial(k, silhouettes[k], *(other[k] for other in others)) for k in sorted(silhouettes) if all(k in other for other in others)
    ]
    return SilhouetteChoice(
        values=tuple(sorted(silhouettes.items())),
        chosen=min((k for k in by_metric.get("silhouette_chosen", {}) if k is not None), default=None),
        trials=tuple(trials),
        activity_explained=next(iter(by_metric.get("activity_explained", {}).values()), None),
        kept=by_metric.get("kept_cluster_share", {}).get(None),
    )
