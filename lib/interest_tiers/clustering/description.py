"""Describe clusters by their most characteristic interests, which also name them."""

from __future__ import annotations

import numpy as np
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.clustering.membership import cluster_ids

TOP_INTERESTS = 8
NAMING_INTERESTS = 3


def describe_clusters(user_clusters: DataFrame, pairs: DataFrame, names: DataFrame, centroids: np.ndarray) -> DataFrame:
    """Describe every cluster that is the primary one of some user.

    user_clusters: (user_id, cluster_id, is_primary, silhouette, ...), see membership.compute_memberships
    pairs:         (user_id, interest_id, share, ...)
    names:         (interest_id, name)
    centroids:     (clusters, width)
    Returns:       (cluster_id, name, size bigint, centroid array<float>, silhouette double, top_interests array<string>),
                   silhouette the mean over users
    """
    primary = user_clusters.where("is_primary")
    sizes = primary.groupBy("cluster_id").agg(F.count(F.lit(1)).alias("size"), F.avg("silhouette").alias("silhouette"))
    top = _characteristic_interests(primary, pairs, names)
    rows = [(name, [float(x) for x in centre]) for name, centre in zip(cluster_ids(len(centroids)), centroids, strict=True)]
    centres = user_clusters.sparkSession.createDataFrame(rows, "cluster_id string, centroid array<float>")
    described = sizes.join(top, "cluster_id", "left").join(centres, "cluster_id")
    return described.select(
        "cluster_id",
        F.array_join(F.slice("top_interests", 1, NAMING_INTERESTS), " · ").alias("name"),
        "size",
        "centroid",
        "silhouette",
        "top_interests",
    )


def _characteristic_interests(primary: DataFrame, pairs: DataFrame, names: DataFrame) -> DataFrame:
    """Rank interests by their part in the divergence of the cluster from all users: s_c * ln(s_c / s), s a mean share.

    The sum over interests is the Kullback-Leibler divergence (1951).
    """
    shares = pairs.join(primary, "user_id").groupBy("cluster_id", "interest_id").agg(F.sum("share").alias("sum"))
    of_cluster = F.sum("sum").over(Window.partitionBy("cluster_id"))
    of_interest = F.sum("sum").over(Window.partitionBy("interest_id"))
    everything = shares.agg(F.sum("sum").alias("everything"))
    compared = shares.select("cluster_id", "interest_id", (F.col("sum") / of_cluster).alias("share"), of_interest.alias("of_all"))
    scored = compared.crossJoin(F.broadcast(everything)).withColumn(
        "score", F.col("share") * F.log(F.col("share") / (F.col("of_all") / F.col("everything")))
    )
    # Rounded, so that interests that tie (all of them where there is one cluster) fall back to their share.
    best = Window.partitionBy("cluster_id").orderBy(F.desc(F.round("score", 9)), F.desc("share"), "interest_id")
    top = scored.withColumn("place", F.row_number().over(best)).where(F.col("place") <= TOP_INTERESTS).join(names, "interest_id")
    listed = F.expr("transform(array_sort(collect_list(struct(place, name))), x -> x.name)")
    return top.groupBy("cluster_id").agg(listed.alias("top_interests"))
