"""Simple lists that a recommender has to beat."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

#: Popular items from which a list of items new to the user is drawn.
POPULAR_POOL = 200

EVERYONE = "everyone"


def own_frequency(own_items: DataFrame, k: int) -> DataFrame:
    """The user's own items by days of use, then by recent use: user_id, item_id, rank.

    own_items: user_id, item_id, n_days, evidence.
    """
    often = Window.partitionBy("user_id").orderBy(F.desc("n_days"), F.desc("evidence"), "item_id")
    return own_items.select("user_id", "item_id", F.row_number().over(often).alias("rank")).where(F.col("rank") <= k)


def popular_items(own_items: DataFrame) -> DataFrame:
    """The items that were used on most days by all users: item_id, place from 1, at most POPULAR_POOL."""
    most = own_items.groupBy("item_id").agg(F.sum("n_days").alias("n_days")).orderBy(F.desc("n_days"), "item_id").limit(POPULAR_POOL)
    in_order = most.agg(F.array_sort(F.collect_list(F.struct(-F.col("n_days"), "item_id"))).alias("items"))
    return in_order.select(F.posexplode("items").alias("position", "item")).select("item.item_id", (F.col("position") + 1).alias("place"))


def popularity(users: DataFrame, popular: DataFrame, own_items: DataFrame, k: int, repeats: bool) -> DataFrame:
    """The popular items for every user, with or without those the user had: user_id, item_id, rank."""
    if repeats:
        return users.select("user_id").crossJoin(F.broadcast(popular.where(F.col("place") <= k))).withColumnRenamed("place", "rank")
    offered = users.select("user_id").crossJoin(F.broadcast(popular))
    unseen = offered.join(own_items.select("user_id", "item_id"), ["user_id", "item_id"], "left_anti")
    rank = F.row_number().over(Window.partitionBy("user_id").orderBy("place"))
    return unseen.select("user_id", "item_id", rank.alias("rank")).where(F.col("rank") <= k)


def one_cluster(users: DataFrame) -> DataFrame:
    """Everyone in one cluster: what the same recommender does without clusters."""
    return users.select("user_id", F.lit(EVERYONE).alias("cluster_id"), F.lit(1.0).alias("membership"), F.lit(True).alias("is_primary"))
