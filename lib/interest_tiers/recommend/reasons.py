"""Explain recommendations in words: what brought the item, by its use, its neighbours, its adoption and its interest."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import PAIR

#: Characters of an item's text in a reason.
LONGEST_NAME = 60

#: Tier of an interest that the user has not had.
NEW_INTEREST_TIER = "marginal"

#: New users in 28 days from which an item is said to be adopted.
ADOPTERS = 3

#: Share of a cluster's users from which an item is said to be theirs, and by how much it must exceed the share of all users.
CLUSTER_SHARE, CLUSTER_LIFT = 0.05, 1.5


def share_in_clusters(used: DataFrame, user_clusters: DataFrame) -> DataFrame:
    """Find the items that far more users of a cluster have had than users at large.

    used:          (user_id, item_id, is_had, ...), see item_use.summarise_use
    user_clusters: (user_id, cluster_id, is_primary, ...)
    Returns:       (cluster_id, item_id, cluster_share double), a share of the cluster's users
    """
    primary = user_clusters.where("is_primary").select("user_id", "cluster_id")
    sizes = primary.groupBy("cluster_id").agg(F.count(F.lit(1)).alias("size"))
    had = used.where("is_had").join(primary, "user_id").groupBy("cluster_id", "item_id").agg(F.count(F.lit(1)).alias("n_users"))
    shared = had.join(F.broadcast(sizes), "cluster_id")  # a row per cluster
    of_all = shared.groupBy("item_id").agg(F.sum("n_users").alias("n_all"))
    total = sizes.agg(F.sum("size").alias("n_clustered"))
    share = F.col("n_users") / F.col("size")
    return (
        shared.where(share >= CLUSTER_SHARE)
        .join(of_all, "item_id")
        .crossJoin(F.broadcast(total))  # one row
        .where(share >= CLUSTER_LIFT * F.col("n_all") / F.col("n_clustered"))
        .select("cluster_id", "item_id", share.alias("cluster_share"))
    )


def explain(
    ranked: DataFrame,
    tiers: DataFrame,
    interests: DataFrame,
    user_clusters: DataFrame,
    clusters: DataFrame,
    shares: DataFrame,
    items: DataFrame,
) -> DataFrame:
    """Add the reason that a person reads; what speaks most for an item comes first.

    ranked:        see scoring.recommend_items
    tiers:         (user_id, interest_id, tier, ...)
    interests:     (interest_id, name, ...)
    user_clusters: (user_id, cluster_id, is_primary, ...)
    clusters:      (cluster_id, name, ...)
    shares:        see share_in_clusters
    items:         (item_id, text, ...)
    Returns:       the columns of recommendations but as_of; cluster_id is null where the user's cluster has no share in the reason
    """
    because = items.select(F.col("item_id").alias("because_id"), F.coalesce("text", "item_id").alias("because_name"))
    names = clusters.select("cluster_id", F.col("name").alias("cluster_name"))
    of_cluster = user_clusters.where("is_primary").select("user_id", "cluster_id")
    offered = (
        ranked.select("user_id", "item_id")
        .join(of_cluster, "user_id")
        .join(shares, ["cluster_id", "item_id"])
        .join(F.broadcast(names), "cluster_id")
    )
    joined = (
        ranked.join(tiers.select("user_id", "interest_id", "tier"), PAIR, "left")  # a new item may belong to a new interest
        .join(interests.select("interest_id", F.col("name").alias("interest_name")), "interest_id")
        .join(because, "because_id", "left")
        .join(offered, ["user_id", "item_id"], "left")
    )
    tier = F.coalesce("tier", F.lit(NEW_INTEREST_TIER)).alias("tier")
    return joined.select("user_id", "rank", "item_id", "score", "interest_id", tier, "cluster_id", _reason().alias("reason"))


def _reason() -> Column:
    habit = F.format_string(
        "yours on %d %s, last %d %s ago", F.col("n_days"), _days(F.col("n_days")), F.col("last_age"), _days(F.col("last_age"))
    )
    gap = F.round("gap").cast("bigint")
    is_due = (F.col("n_days") > 1) & (gap >= 1) & (F.col("last_age") >= F.col("gap"))
    habit = F.when(is_due, F.concat(habit, F.format_string(", usually every %d %s", gap, _days(gap)))).otherwise(habit)
    adopted = F.format_string("new to %d users in 28 days", F.col("adopters"))
    crowd = F.format_string("%.0f %% of the cluster %s had it", F.col("cluster_share") * 100, F.col("cluster_name"))
    goes_with = F.format_string("users of your %s had it too", _shorten(F.col("because_name")))
    of_tier = F.format_string("%s, a %s interest", F.col("interest_name"), F.col("tier"))
    interest = F.when(F.col("tier").isNotNull(), of_tier).otherwise(F.format_string("%s, a new interest", F.col("interest_name")))
    is_new = ~F.col("is_own")
    parts = {
        "repeat": F.when(F.col("is_own"), habit),
        "co_use": F.when(is_new & F.col("because_name").isNotNull(), goes_with),
        "adoption": F.when(is_new & (F.col("adopters") >= ADOPTERS), adopted),
        "crowd": F.when(F.col("cluster_name").isNotNull(), crowd),
        "interest": interest,
    }
    first = F.coalesce(*[F.when(F.col("main") == name, part) for name, part in parts.items()])
    others = [F.when(F.col("main") != name, part) for name, part in parts.items()]
    return F.concat_ws("; ", first, *others)


def _shorten(name: Column) -> Column:
    return F.when(F.length(name) > LONGEST_NAME, F.concat(F.substring(name, 1, LONGEST_NAME - 1), F.lit("\u2026"))).otherwise(name)


def _days(count: Column) -> Column:
    return F.when(count == 1, F.lit("day")).otherwise(F.lit("days"))
