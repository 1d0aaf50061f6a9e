"""Candidate items of a user: the own ones, and what is popular in the user's clusters within the user's interests.

Nothing here pairs users with all items: own items and interests are capped per user, popular items per cluster
and interest.
"""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import Recommend
from interest_tiers.interests.evidence import decay, exact_sum

#: Sums over all users of a cluster are counted in coarser parts, so that they fit 64 bits.
POPULARITY_PARTS = 10**6

LISTED_TIERS = ("core", "secondary")


def item_evidence(days_of_items: DataFrame, as_of: date, half_life_days: float) -> DataFrame:
    """Evidence of every item that a user touched: user_id, interest_id, item_id, evidence, n_days, last_day.

    days_of_items: see interests.evidence.item_days, all before as_of.
    """
    return days_of_items.groupBy("user_id", "interest_id", "item_id").agg(
        exact_sum(F.col("weight") * decay(as_of, half_life_days)).alias("evidence"),
        F.count(F.lit(1)).alias("n_days"),
        F.max("event_date").alias("last_day"),
    )


def widely_used(own_items: DataFrame, min_users: int) -> DataFrame:
    """The items that at least so many users touched: item_id."""
    return own_items.groupBy("item_id").agg(F.count(F.lit(1)).alias("n_users")).where(F.col("n_users") >= min_users).select("item_id")


def popular_in_clusters(own_items: DataFrame, user_clusters: DataFrame, per_interest: int) -> DataFrame:
    """What the users of a cluster turn to within an interest.

    own_items: see item_evidence. user_clusters: user_id, cluster_id, is_primary.
    Returns cluster_id, interest_id, item_id, item_share (the item's part of the evidence that the cluster's primary
    users have in the interest), at most per_interest items per cluster and interest.
    """
    primary = user_clusters.where("is_primary").select("user_id", "cluster_id")
    evidence = own_items.join(primary, "user_id").groupBy("cluster_id", "interest_id", "item_id")
    sums = evidence.agg(exact_sum(F.col("evidence"), POPULARITY_PARTS).alias("evidence"))
    group = Window.partitionBy("cluster_id", "interest_id")
    by_evidence = group.orderBy(F.desc("evidence"), "item_id")
    total = F.sum("evidence").over(by_evidence.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing))
    ranked = sums.select(
        "cluster_id", "interest_id", "item_id", (F.col("evidence") / total).alias("item_share"), F.row_number().over(by_evidence).alias("place")
    )
    return ranked.where((F.col("place") <= per_interest) & (F.col("item_share") > 0)).drop("place")


def listed_interests(pairs: DataFrame, tiers: DataFrame, max_interests: int) -> DataFrame:
    """The core and secondary interests of every user, the strongest first: user_id, interest_id, tier, interest_evidence.

    pairs: user_id, interest_id, evidence. tiers: user_id, interest_id, tier.
    """
    listed = pairs.join(tiers.where(F.col("tier").isin(*LISTED_TIERS)), ["user_id", "interest_id"])
    strongest = Window.partitionBy("user_id").orderBy(F.desc("evidence"), "interest_id")
    placed = listed.withColumn("place", F.row_number().over(strongest)).where(F.col("place") <= max_interests)
    return placed.select("user_id", "interest_id", "tier", F.col("evidence").alias("interest_evidence"))


def from_clusters(interests: DataFrame, user_clusters: DataFrame, popular: DataFrame) -> DataFrame:
    """Popular items of the user's clusters within the user's interests.

    interests: see listed_interests. user_clusters: user_id, cluster_id, membership. popular: see popular_in_clusters.
    Returns user_id, interest_id, item_id, expected: the evidence that the item would have if the user spread the
    evidence of the interest as the clusters do; cluster_id: the cluster that says most of it.
    """
    # The user's few clusters and interests meet first; items come last and are capped per cluster and interest.
    wanted = interests.join(user_clusters.select("user_id", "cluster_id", "membership"), "user_id")
    offered = wanted.join(popular, ["cluster_id", "interest_id"]).withColumn(
        "expected", F.col("interest_evidence") * F.col("membership") * F.col("item_share")
    )
    strongest = F.max(F.struct("expected", "cluster_id"))
    return offered.groupBy("user_id", "interest_id", "item_id").agg(
        exact_sum(F.col("expected")).alias("expected"), strongest.getField("cluster_id").alias("cluster_id")
    )


def own_candidates(own_items: DataFrame, max_repeats: int) -> DataFrame:
    """The user's own items with the most evidence, at most max_repeats of them."""
    strongest = Window.partitionBy("user_id").orderBy(F.desc("evidence"), "item_id")
    return own_items.withColumn("place", F.row_number().over(strongest)).where(F.col("place") <= max_repeats).drop("place")


def scored_candidates(own_items: DataFrame, cluster_items: DataFrame, config: Recommend, repeats: bool) -> DataFrame:
    """All candidates of every user with their scores.

    own_items: see item_evidence. cluster_items: see from_clusters. repeats: whether own items are candidates.
    Returns user_id, interest_id, item_id, score, n_days and last_day (null for an item new to the user), cluster_id
    (null where no cluster offers the item).

    score = evidence of the item + cluster_weight * evidence that the clusters would expect: the posterior mean of
    a user's habits with the cluster's as prior, up to a factor per user (Dirichlet smoothing, Zhai and Lafferty 2004).
    """
    keys = ["user_id", "interest_id", "item_id"]
    if repeats:
        both = own_candidates(own_items, config.max_repeats).join(cluster_items, keys, "full")
    else:
        both = cluster_items.join(own_items.select(*keys), keys, "left_anti").withColumns(
            {"evidence": F.lit(0.0), "n_days": F.lit(None).cast("bigint"), "last_day": F.lit(None).cast("date")}
        )
    own = F.coalesce("evidence", F.lit(0.0))
    score = own + F.lit(config.cluster_weight) * F.coalesce("expected", F.lit(0.0))
    return both.select(*keys, score.alias("score"), "n_days", "last_day", "cluster_id")
