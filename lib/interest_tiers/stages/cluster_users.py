"""cluster_users: user vectors, the clusters that they form, and the clusters of every user."""

from __future__ import annotations

import numpy as np
from pyspark.sql import functions as F

from interest_tiers.clustering.composition import ClusteredUsers, cluster_users
from interest_tiers.clustering.description import describe_clusters
from interest_tiers.clustering.fit import Fit
from interest_tiers.slices import Slice
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.inputs import read_pairs
from interest_tiers.stages.results import Measurement, StageResult
from interest_tiers.storage.schemas import CLUSTERS, INTERESTS, USER_CLUSTERS, USER_TIERS, USER_VECTORS


def run(context: StageContext) -> StageResult:
    """Compute user vectors from interests and tiers, cluster users who are alike, and describe the clusters."""
    as_of, config = context.as_of, context.config.clustering
    pairs, tiers, interests = read_pairs(context, finest=True), context.read(USER_TIERS, as_of), context.read(INTERESTS, as_of)
    clustered = cluster_users(pairs, tiers, interests.select("interest_id", "embedding"), config, context.materialise)
    n_vectors = context.replace_day(USER_VECTORS, clustered.vectors)
    fit = clustered.fit
    centroids = np.empty((0, config.components)) if fit is None else fit.centroids
    version = F.lit(f"kmeans-k{0 if fit is None else fit.k}-seed{config.seed}-{as_of}")
    described = describe_clusters(clustered.user_clusters, pairs, interests.select("interest_id", "name"), centroids)
    n_clusters = context.replace_day(CLUSTERS, described.withColumn("model_version", version))
    n_rows = context.replace_day(USER_CLUSTERS, clustered.user_clusters.withColumn("model_version", version))
    n_users = pairs.select("user_id").distinct().count()
    without_vector = Measurement("users_without_vector", str(Slice("all")), n_users - n_vectors)
    context.write_metrics([*measure_silhouettes(fit), *_measure_choice(fit), without_vector])
    return StageResult(n_users, n_rows, f"{n_clusters} clusters, {_describe(clustered)}; {n_users - n_vectors:,} users without a vector")


def measure_silhouettes(fit: Fit | None) -> list[Measurement]:
    """List the silhouette of every k that has one."""
    silhouettes = {} if fit is None else fit.silhouettes
    return [Measurement("silhouette", str(Slice(k=k)), value) for k, value in silhouettes.items() if value is not None]


def _measure_choice(fit: Fit | None) -> list[Measurement]:
    return [] if fit is None or fit.silhouette is None else [Measurement("silhouette_chosen", str(Slice(k=fit.k)), fit.silhouette)]


def _describe(clustered: ClusteredUsers) -> str:
    fit = clustered.fit
    if fit is None:
        return "because no user has an interest with evidence"
    by_shares = "by shares of interests, because no interest has a text with a vector; " if clustered.by_shares else ""
    if fit.silhouette is None:
        return f"{by_shares}no silhouette: all users are alike"
    tried = ", ".join(f"k={k} {value:.3f}" for k, value in fit.silhouettes.items() if value is not None)
    return f"{by_shares}silhouette {fit.silhouette:.3f} (tried {tried})"
