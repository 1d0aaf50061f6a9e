"""Find candidate items: a user's own items, and what is popular in the user's clusters within the user's interests.

Nothing here pairs users with all items. Own items and interests are capped per user, popular items per cluster and
interest. A user has had an item where their evidence of it is above 0. An item that they touched and have no evidence of
(a dislike, a return) is never theirs to see again.
"""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import Recommend
from interest_tiers.interests.evidence import PAIR, decayed_evidence, exact_sum, find_oldest_age

LISTED_TIERS = ("core", "secondary")


def sum_item_evidence(days_of_items: DataFrame, cutoff: date, half_life_days: float) -> DataFrame:
    """Sum the evidence of every item that a user touched.

    days_of_items: (user_id, interest_id, item_id, event_date, weight, ...), all before the cutoff
    Returns:       (user_id, interest_id, item_id, evidence double, n_days bigint, last_day date); the days are those that
                   gave evidence, n_days is 0 and last_day null where none did
    """
    day = F.when(F.col("weight") > 0, F.col("event_date"))
    return days_of_items.groupBy("user_id", "interest_id", "item_id").agg(
        decayed_evidence(cutoff, half_life_days, find_oldest_age(days_of_items, cutoff)).alias("evidence"),
        F.count(day).alias("n_days"),
        F.max(day).alias("last_day"),
    )


def select_had(own_items: DataFrame) -> DataFrame:
    """Keep the items that users have evidence of. own_items: see sum_item_evidence."""
    return own_items.where(F.col("evidence") > 0)


def find_widely_used(own_items: DataFrame, min_users: int) -> DataFrame:
    """Find the items that at least min_users users have had.

    own_items: (user_id, item_id, ...), see sum_item_evidence
    Returns:   (item_id)
    """
    return (
        select_had(own_items)
        .groupBy("item_id")
        .agg(F.count(F.lit(1)).alias("n_users"))
        .where(F.col("n_users") >= min_users)
        .select("item_id")
    )


def rank_popular_items(own_items: DataFrame, user_clusters: DataFrame, per_interest: int) -> DataFrame:
    """Rank what the users of a cluster have had within an interest; keep per_interest items per cluster and interest.

    own_items:     (user_id, interest_id, item_id, ...), see sum_item_evidence
    user_clusters: (user_id, cluster_id, is_primary, ...)
    Returns:       (cluster_id, interest_id, item_id, user_share double), share of the cluster's primary users who have had it
    """
    primary = user_clusters.where("is_primary").select("user_id", "cluster_id")
    sizes = primary.groupBy("cluster_id").agg(F.count(F.lit(1)).alias("size"))
    of_cluster = select_had(own_items).join(primary, "user_id").groupBy("cluster_id", "interest_id", "item_id")
    held = of_cluster.agg(F.count(F.lit(1)).alias("n_users"))
    most_held = Window.partitionBy("cluster_id", "interest_id").orderBy(F.desc("n_users"), "item_id")
    top = held.withColumn("place", F.row_number().over(most_held)).where(F.col("place") <= per_interest)
    shared = top.join(F.broadcast(sizes), "cluster_id")  # a row per cluster
    return shared.select("cluster_id", "interest_id", "item_id", (F.col("n_users") / F.col("size")).alias("user_share"))


def list_interests(tiers: DataFrame, pairs: DataFrame, max_interests: int) -> DataFrame:
    """List the max_interests strongest core and secondary interests of every user.

    tiers:   (user_id, interest_id, tier, ...)
    pairs:   (user_id, interest_id, rank, ...)
    Returns: (user_id, interest_id)
    """
    listed = tiers.where(F.col("tier").isin(*LISTED_TIERS)).join(pairs, PAIR)
    strongest = Window.partitionBy("user_id").orderBy("rank")
    placed = listed.withColumn("place", F.row_number().over(strongest)).where(F.col("place") <= max_interests)
    return placed.select(*PAIR)


def offer_popular_items(interests: DataFrame, user_clusters: DataFrame, popular: DataFrame) -> DataFrame:
    """Offer popular items of the user's clusters within the user's interests.

    interests:     (user_id, interest_id), see list_interests
    user_clusters: (user_id, cluster_id, membership, ...)
    popular:       (cluster_id, interest_id, item_id, user_share), see rank_popular_items
    Returns:       (user_id, interest_id, item_id, popularity double, cluster_id, cluster_share double)

    popularity is the mean of user_share over the user's clusters, weighted by membership. cluster_id is the cluster that
    contributes most to it, cluster_share its user_share.
    """
    # The user's few clusters and interests meet first; items come last and are capped per cluster and interest.
    wanted = interests.join(user_clusters.select("user_id", "cluster_id", "membership"), "user_id")
    offered = wanted.join(popular, ["cluster_id", "interest_id"]).withColumn("part", F.col("membership") * F.col("user_share"))
    strongest = F.max(F.struct("part", "cluster_id", "user_share"))
    return offered.groupBy("user_id", "interest_id", "item_id").agg(
        exact_sum(F.col("part")).alias("popularity"),
        strongest.getField("cluster_id").alias("cluster_id"),
        strongest.getField("user_share").alias("cluster_share"),
    )


def score_candidates(own_items: DataFrame, cluster_items: DataFrame, config: Recommend, repeats: bool) -> DataFrame:
    """Score all candidates of every user.

    score = evidence of the item + cluster_weight * popularity. So an item that every user of the cluster has had
    gains cluster_weight days of evidence. Own items without evidence are no candidates.

    own_items:     see sum_item_evidence
    cluster_items: see offer_popular_items
    repeats:       whether own items are candidates
    Returns:       (user_id, interest_id, item_id, score double, n_days, last_day, cluster_id, cluster_share),
                   n_days and last_day null for an item new to the user, cluster columns null where no cluster offers it
    """
    keys = ["user_id", "interest_id", "item_id"]
    if repeats:
        strongest = Window.partitionBy("user_id").orderBy(F.desc("evidence"), "item_id")
        placed = own_items.withColumn("place", F.row_number().over(strongest))
        offered = placed.join(cluster_items, keys, "full")
        is_disliked = F.coalesce(F.col("evidence") <= 0, F.lit(False))
        both = offered.where(~is_disliked & ((F.col("place") <= config.max_repeats) | F.col("popularity").isNotNull()))
    else:
        both = cluster_items.join(own_items.select(*keys), keys, "left_anti").withColumns(
            {"evidence": F.lit(0.0), "n_days": F.lit(None).cast("bigint"), "last_day": F.lit(None).cast("date")}
        )
    popularity = F.lit(config.cluster_weight) * F.coalesce("popularity", F.lit(0.0))
    score = F.coalesce("evidence", F.lit(0.0)) + popularity
    return both.select(*keys, score.alias("score"), "n_days", "last_day", "cluster_id", "cluster_share")
