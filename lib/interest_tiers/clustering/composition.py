"""Clusters as of a cutoff: user vectors, the fit, and the clusters of every user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame

from interest_tiers.clustering.fit import Fit, fit_clusters
from interest_tiers.clustering.membership import compute_memberships
from interest_tiers.clustering.vectors import draw_directions, fit_projection, place_at_one_point, project, sum_embeddings
from interest_tiers.config import Clustering
from interest_tiers.spark.materialise import Materialise


@dataclass(frozen=True)
class ClusteredUsers:
    """User vectors, the fitted clusters, and who belongs to which.

    vectors:       (user_id, vector)
    fit:           centroids and silhouettes; None where no user has a vector
    user_clusters: see clustering.membership
    by_shares:     no interest has an embedding, so that vectors are of the shares of interests
    """

    vectors: DataFrame
    fit: Fit | None
    user_clusters: DataFrame
    by_shares: bool


def cluster_users(
    pairs: DataFrame, tiers: DataFrame, embeddings: DataFrame, config: Clustering, materialise: Materialise
) -> ClusteredUsers:
    """Compute user vectors from interests and tiers, fit clusters, and assign every user.

    pairs:      (user_id, interest_id, share, ...) of the finest level
    tiers:      (user_id, interest_id, p_core, p_secondary, p_marginal, ...)
    embeddings: (interest_id, embedding), every interest; embedding is null where it has no text
    All three are of the same cutoff.
    """
    sums = materialise("sums", sum_embeddings(pairs, tiers, embeddings))
    by_shares = sums.isEmpty()
    if by_shares:
        sums = materialise("sums_of_shares", sum_embeddings(pairs, tiers, draw_directions(embeddings)))
    vectors = materialise("vectors", _reduce(sums, config.components))
    fit = fit_clusters(vectors, config)
    centroids = np.eye(1, config.components) if fit is None else fit.centroids
    return ClusteredUsers(vectors, fit, materialise("user_clusters", compute_memberships(vectors, centroids, config)), by_shares)


def _reduce(sums: DataFrame, components: int) -> DataFrame:
    projection = fit_projection(sums, components)
    points = None if projection is None else project(sums, projection)
    return place_at_one_point(sums, components) if points is None or points.isEmpty() else points
