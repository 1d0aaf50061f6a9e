"""Compute which clusters a user belongs to, how strongly, and how well."""

from __future__ import annotations

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Clustering

#: Keeps the membership of a user who sits on a centroid finite.
SMALLEST_DISTANCE = 1e-6


def cluster_ids(n_clusters: int) -> list[str]:
    """Name clusters in the order of their centroids; ids have no meaning beyond one cutoff."""
    return [f"c{number:0{max(2, len(str(n_clusters)))}d}" for number in range(1, n_clusters + 1)]


def compute_memberships(vectors: DataFrame, centroids: np.ndarray, config: Clustering) -> DataFrame:
    """Compute the clusters of every user.

    Membership is that of fuzzy c-means with fuzzifier 2 on cosine distance, u = (1 / d) / sum (1 / d) (Bezdek 1981).
    It covers the nearest max_memberships clusters of at least min_membership, and always the nearest.

    vectors:   (user_id, vector array<float>), L2 norm 1
    centroids: (clusters, width), L2 norm 1
    Returns:   (user_id, cluster_id, membership double, is_primary boolean, distance double, silhouette double),
               membership sums to 1 per user, is_primary marks the nearest, distance is cosine (0 to 2)
    """
    near = vectors.select("user_id", F.array_sort(_distances(centroids)).alias("clusters"))
    whole = near.withColumn("total", F.aggregate("clusters", F.lit(0.0), lambda total, c: total + _closeness(c["distance"])))
    is_kept = (F.col("place") == 0) | (F.col("share") >= config.min_membership)
    kept = (
        whole.select("user_id", "clusters", "total", F.posexplode(F.slice("clusters", 1, config.max_memberships)).alias("place", "cluster"))
        .withColumn("share", _closeness(F.col("cluster.distance")) / F.col("total"))
        .where(is_kept)
    )
    nearest_other = F.when(F.col("place") == 0, F.col("clusters")[1]["distance"]).otherwise(F.col("clusters")[0]["distance"])
    own = F.col("cluster.distance")
    flat = kept.select(
        "user_id",
        F.col("cluster.cluster_id").alias("cluster_id"),
        "share",
        (F.col("place") == 0).alias("is_primary"),
        own.alias("distance"),
        silhouette(own, nearest_other if len(centroids) > 1 else F.lit(None).cast("double")).alias("silhouette"),
    )
    # Few rows per user, so that the sum needs no other shuffle than by user.
    total = flat.groupBy("user_id").agg(F.sum("share").alias("kept"))
    return flat.join(total, "user_id").select(
        "user_id", "cluster_id", (F.col("share") / F.col("kept")).alias("membership"), "is_primary", "distance", "silhouette"
    )


def silhouette(own: Column, nearest_other: Column) -> Column:
    """Compute (b - a) / max(a, b) from distances to centroids (Rousseeuw 1987, centroid form); null without another cluster."""
    a, b = F.greatest(own, F.lit(0.0)), F.greatest(nearest_other, F.lit(0.0))
    largest = F.greatest(a, b)
    return F.when(nearest_other.isNotNull(), F.when(largest > 0, (b - a) / largest).otherwise(F.lit(0.0)))


def _distances(centroids: np.ndarray) -> Column:
    """Compute the cosine distance to every centroid: array<struct<distance, cluster_id>>."""
    pairs = zip(cluster_ids(len(centroids)), centroids, strict=True)
    return F.array(*[F.struct(_cosine_distance(centre).alias("distance"), F.lit(name).alias("cluster_id")) for name, centre in pairs])


def _cosine_distance(centroid: np.ndarray) -> Column:
    products = [F.col("vector")[i].cast("double") * F.lit(float(x)) for i, x in enumerate(centroid)]
    return F.lit(1.0) - sum(products[1:], start=products[0])


def _closeness(distance: Column) -> Column:
    return 1 / F.greatest(distance, F.lit(SMALLEST_DISTANCE))
