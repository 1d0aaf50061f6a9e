"""Simple lists that a recommender has to beat."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.recommend.candidates import select_had

#: Popular items from which a list of items new to the user is chosen.
POPULAR_POOL = 200

EVERYONE = "everyone"


def rank_own_items(own_items: DataFrame, k: int) -> DataFrame:
    """Rank the user's own items by days of use, then by recent use.

    own_items: (user_id, item_id, n_days, evidence)
    Returns:   (user_id, item_id, rank), at most k rows per user
    """
    often = Window.partitionBy("user_id").orderBy(F.desc("n_days"), F.desc("evidence"), "item_id")
    return select_had(own_items).select("user_id", "item_id", F.row_number().over(often).alias("rank")).where(F.col("rank") <= k)


def find_popular_items(own_items: DataFrame) -> DataFrame:
    """Find the items that all users used on the most days.

    own_items: (user_id, item_id, n_days, evidence)
    Returns:   (item_id, place from 1), at most POPULAR_POOL rows
    """
    days = select_had(own_items).groupBy("item_id").agg(F.sum("n_days").alias("n_days"))
    most = days.orderBy(F.desc("n_days"), "item_id").limit(POPULAR_POOL)
    in_order = most.agg(F.array_sort(F.collect_list(F.struct(-F.col("n_days"), "item_id"))).alias("items"))
    return in_order.select(F.posexplode("items").alias("position", "item")).select("item.item_id", (F.col("position") + 1).alias("place"))


def rank_popular_items(users: DataFrame, popular: DataFrame, own_items: DataFrame, k: int, repeats: bool) -> DataFrame:
    """Rank the popular items for every user, with or without the user's own items.

    users:     (user_id)
    popular:   (item_id, place), see find_popular_items
    own_items: (user_id, item_id, ...)
    Returns:   (user_id, item_id, rank), at most k rows per user
    """
    if repeats:
        return users.select("user_id").crossJoin(F.broadcast(popular.where(F.col("place") <= k))).withColumnRenamed("place", "rank")
    offered = users.select("user_id").crossJoin(F.broadcast(popular))
    unseen = offered.join(own_items.select("user_id", "item_id"), ["user_id", "item_id"], "left_anti")
    rank = F.row_number().over(Window.partitionBy("user_id").orderBy("place"))
    return unseen.select("user_id", "item_id", rank.alias("rank")).where(F.col("rank") <= k)


def assign_to_one_cluster(users: DataFrame) -> DataFrame:
    """Put everyone in one cluster: the same recommender without clusters.

    users:   (user_id)
    Returns: (user_id, cluster_id, membership, is_primary)
    """
    return users.select("user_id", F.lit(EVERYONE).alias("cluster_id"), F.lit(1.0).alias("membership"), F.lit(True).alias("is_primary"))
