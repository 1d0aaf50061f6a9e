"""cluster_users: user vectors, the clusters they form, and the clusters of every user."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.clustering.description import describe_clusters
from interest_tiers.clustering.fit import Fit, fit_clusters
from interest_tiers.clustering.membership import compute_memberships
from interest_tiers.clustering.vectors import fit_projection, place_at_one_point, project, sum_embeddings
from interest_tiers.stages.build_interests import finest, stored_pairs
from interest_tiers.stages.context import Measurement, StageContext, StageResult, stage_main, write_metrics
from interest_tiers.storage.schemas import CLUSTERS, INTERESTS, USER_CLUSTERS, USER_TIERS, USER_VECTORS


@dataclass(frozen=True)
class Clustered:
    """vectors: user_id, vector. fit: centroids and silhouettes. user_clusters: see clustering.membership."""

    vectors: DataFrame
    fit: Fit
    user_clusters: DataFrame


def run(context: StageContext) -> StageResult:
    """Place every user by interests and tiers, group those who are alike, and describe the groups."""
    warehouse, as_of = context.warehouse, context.as_of
    pairs, tiers = finest(context, stored_pairs(context)), context.read(USER_TIERS, as_of)
    interests = context.read(INTERESTS, as_of)
    clustered = cluster(context, pairs, tiers, interests.select("interest_id", "embedding"), "cluster_users")
    n_vectors = warehouse.replace_day(USER_VECTORS, clustered.vectors, as_of)
    fit = clustered.fit
    version = f"kmeans-k{fit.k}-seed{context.config.clustering.seed}-{as_of}"
    described = describe_clusters(clustered.user_clusters, pairs, interests.select("interest_id", "name"), fit.centroids)
    n_clusters = warehouse.replace_day(CLUSTERS, described.withColumn("model_version", F.lit(version)), as_of)
    n_rows = warehouse.replace_day(USER_CLUSTERS, clustered.user_clusters.withColumn("model_version", F.lit(version)), as_of)
    n_users = pairs.select("user_id").distinct().count()
    write_metrics(context, "cluster_users", _measurements(fit, n_users, n_vectors))
    return StageResult(n_users, n_rows, f"{n_clusters} clusters, {_silhouettes(fit)}; {n_users - n_vectors:,} users without a vector")


def cluster(context: StageContext, pairs: DataFrame, tiers: DataFrame, embeddings: DataFrame, staged: str) -> Clustered:
    """Vectors and clusters of any day, written aside under the name staged.

    pairs, tiers and embeddings (interest_id, embedding): of that day.
    """
    config, warehouse = context.config.clustering, context.warehouse
    sums = warehouse.stage(f"{staged}/sums", sum_embeddings(pairs, tiers, embeddings))
    vectors = warehouse.stage(f"{staged}/vectors", _points(sums, config.components))
    fit = fit_clusters(vectors, config)
    user_clusters = warehouse.stage(f"{staged}/user_clusters", compute_memberships(vectors, fit.centroids, config))
    return Clustered(vectors, fit, user_clusters)


def _points(sums: DataFrame, components: int) -> DataFrame:
    projection = fit_projection(sums, components)
    points = None if projection is None else project(sums, projection)
    return place_at_one_point(sums, components) if points is None or points.isEmpty() else points


def silhouettes_tried(fit: Fit) -> list[Measurement]:
    """The silhouette of every k that has one."""
    return [Measurement("silhouette", f"k={k}", value) for k, value in fit.silhouettes.items() if value is not None]


def _measurements(fit: Fit, n_users: int, n_vectors: int) -> list[Measurement]:
    chosen = [] if fit.silhouette is None else [Measurement("silhouette_chosen", f"k={fit.k}", fit.silhouette)]
    return [*silhouettes_tried(fit), *chosen, Measurement("users_without_vector", "all", n_users - n_vectors)]


def _silhouettes(fit: Fit) -> str:
    if fit.silhouette is None:
        return "no silhouette: all users are alike"
    tried = ", ".join(f"k={k} {value:.3f}" for k, value in fit.silhouettes.items() if value is not None)
    return f"silhouette {fit.silhouette:.3f} (tried {tried})"


main = stage_main("cluster_users", run)
