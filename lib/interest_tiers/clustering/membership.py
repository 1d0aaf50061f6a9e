"""Compute which clusters a user belongs to, how strongly, and how well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Clustering

#: How fast membership falls with distance: it is proportional to exp(SHARPNESS * cosine).
SHARPNESS = 8.0


def compute_memberships(
    vectors: DataFrame, centroids: np.ndarray, ids: Sequence[str], config: Clustering, previous: DataFrame | None = None
) -> DataFrame:
    """Compute the clusters of every user.

    The primary cluster is the nearest. A user stays in the previous one, unless another is nearer by more than stay_within.
    Membership is exp(SHARPNESS * cosine), as a share of the clusters that are kept: the primary one, and the nearest others
    whose share of all clusters is at least min_membership, max_memberships in all.

    vectors:   (user_id, vector array<float>), L2 norm 1
    centroids: (clusters, width), L2 norm 1
    ids:       of the clusters
    previous:  (user_id, cluster_id), the primary cluster on an earlier day; None where there is none
    Returns:   (user_id, cluster_id, membership double, is_primary boolean, distance double, silhouette double),
               membership sums to 1 per user, is_primary marks one, distance is cosine (0 to 2)
    """
    near = vectors.select("user_id", F.array_sort(_distances(centroids, ids)).alias("near"))
    nearest = F.col("near")[0]
    if previous is None:
        near = near.withColumn("primary", nearest["cluster_id"])
    else:
        near = near.join(previous.select("user_id", F.col("cluster_id").alias("previous")), "user_id", "left")
        # No element where the previous cluster is gone.
        previous_distance = F.filter("near", lambda c: c["cluster_id"] == F.col("previous"))[0]["distance"]
        stays = previous_distance - nearest["distance"] <= config.stay_within
        near = near.withColumn("primary", F.when(stays, F.col("previous")).otherwise(nearest["cluster_id"]))
    total = F.aggregate("near", F.lit(0.0), lambda total, c: total + _closeness(c["distance"]))
    # The primary cluster comes first, the others by distance.
    ordered = F.array_sort(
        F.transform(
            "near",
            lambda c: F.struct(
                (c["cluster_id"] != F.col("primary")).alias("is_other"),
                c["distance"].alias("distance"),
                c["cluster_id"].alias("cluster_id"),
            ),
        )
    )
    listed = near.select("user_id", "near", total.alias("total"), F.slice(ordered, 1, config.max_memberships).alias("clusters"))
    share = lambda c: _closeness(c["distance"]) / F.col("total")  # noqa: E731
    kept = listed.withColumn("clusters", F.filter("clusters", lambda c: ~c["is_other"] | (share(c) >= config.min_membership)))
    of_kept = F.aggregate("clusters", F.lit(0.0), lambda total, c: total + _closeness(c["distance"]))
    rows = kept.withColumn("of_kept", of_kept).select("user_id", "near", "of_kept", F.explode("clusters").alias("cluster"))
    own, is_nearest = F.col("cluster.distance"), F.col("cluster.cluster_id") == nearest["cluster_id"]
    nearest_other = F.when(is_nearest, F.col("near")[1]["distance"]).otherwise(nearest["distance"])
    return rows.select(
        "user_id",
        F.col("cluster.cluster_id").alias("cluster_id"),
        (_closeness(own) / F.col("of_kept")).alias("membership"),
        (~F.col("cluster.is_other")).alias("is_primary"),
        own.alias("distance"),
        silhouette(own, nearest_other if len(centroids) > 1 else F.lit(None).cast("double")).alias("silhouette"),
    )


def silhouette(own: Column, nearest_other: Column) -> Column:
    """Compute (b - a) / max(a, b) from distances to centroids (Rousseeuw 1987, centroid form); null without another cluster."""
    a, b = F.greatest(own, F.lit(0.0)), F.greatest(nearest_other, F.lit(0.0))
    largest = F.greatest(a, b)
    return F.when(nearest_other.isNotNull(), F.when(largest > 0, (b - a) / largest).otherwise(F.lit(0.0)))


def _distances(centroids: np.ndarray, ids: Sequence[str]) -> Column:
    """Compute the cosine distance to every centroid: array<struct<distance, cluster_id>>."""
    pairs = zip(ids, centroids, strict=True)
    return F.array(*[F.struct(_cosine_distance(centre).alias("distance"), F.lit(name).alias("cluster_id")) for name, centre in pairs])


def _cosine_distance(centroid: np.ndarray) -> Column:
    products = [F.col("vector")[i].cast("double") * F.lit(float(x)) for i, x in enumerate(centroid)]
    return F.lit(1.0) - sum(products[1:], start=products[0])


def _closeness(distance: Column) -> Column:
    return F.exp(distance * F.lit(-SHARPNESS))
