"""Rank the candidates of every user and explain each recommendation."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import PAIR

#: Characters of an item's text in a reason.
LONGEST_NAME = 60

#: Tier of an interest that the user has not had.
NEW_INTEREST_TIER = "marginal"


def rank_items(candidates: DataFrame, k: int) -> DataFrame:
    """Keep the k candidates with the highest scores per user, ties by item.

    candidates: (user_id, item_id, score, ...)
    Returns:    the columns of candidates, and rank bigint from 1
    """
    best = Window.partitionBy("user_id").orderBy(F.desc("score"), "item_id")
    return candidates.withColumn("rank", F.row_number().over(best).cast("bigint")).where(F.col("rank") <= k)


def limit_equal_texts(candidates: DataFrame, items: DataFrame, limit: int) -> DataFrame:
    """Keep per user and text the candidates with the highest scores, ties by item. Items without a text are all kept.

    candidates: (user_id, item_id, score, ...)
    items:      (item_id, text_hash, ...)
    Returns:    the columns of candidates
    """
    texts = items.where(F.col("text_hash").isNotNull()).select("item_id", "text_hash")
    of_text = Window.partitionBy("user_id", F.coalesce("text_hash", "item_id")).orderBy(F.desc("score"), "item_id")
    placed = candidates.join(texts, "item_id", "left").withColumn("place", F.row_number().over(of_text))
    return placed.where(F.col("place") <= limit).select(*candidates.columns)


def explain(ranked: DataFrame, tiers: DataFrame, interests: DataFrame, clusters: DataFrame, items: DataFrame, cutoff: date) -> DataFrame:
    """Add the reason that a person reads.

    ranked:    see rank_items over candidates.score_candidates
    tiers:     (user_id, interest_id, tier, ...)
    interests: (interest_id, name, ...)
    clusters:  (cluster_id, name, ...)
    items:     (item_id, text, ...)
    Returns:   the columns of recommendations but as_of
    """
    tier_of_interest = tiers.select("user_id", "interest_id", "tier")
    interest_names = interests.select("interest_id", F.col("name").alias("interest_name"))
    cluster_names = clusters.select("cluster_id", F.col("name").alias("cluster_name"))
    because = items.select(F.col("item_id").alias("because_id"), F.coalesce("text", "item_id").alias("because_name"))
    # A new item may belong to an interest that the user has not had.
    joined = ranked.join(tier_of_interest, PAIR, "left").join(interest_names, "interest_id").join(because, "because_id", "left")
    joined = joined.join(F.broadcast(cluster_names), "cluster_id", "left")
    tier = F.coalesce("tier", F.lit(NEW_INTEREST_TIER)).alias("tier")
    return joined.select("user_id", "rank", "item_id", "score", "interest_id", tier, "cluster_id", _reason(cutoff).alias("reason"))


def _reason(cutoff: date) -> Column:
    of_tier = F.format_string("%s, a %s interest", F.col("interest_name"), F.col("tier"))
    interest = F.when(F.col("tier").isNotNull(), of_tier).otherwise(F.format_string("%s, a new interest", F.col("interest_name")))
    days_ago = F.datediff(F.lit(cutoff), F.col("last_day"))
    habit = F.format_string("yours on %d %s, last %d %s ago", F.col("n_days"), _days(F.col("n_days")), days_ago, _days(days_ago))
    crowd = F.format_string("%s of the cluster %s had it", _percent(F.col("cluster_share")), F.col("cluster_name"))
    goes_with = F.format_string("users of your %s had it too", _shorten(F.col("because_name")))
    return F.concat_ws(
        "; ",
        F.when(F.col("n_days").isNotNull(), habit),
        F.when(F.col("because_name").isNotNull(), goes_with),
        F.when(F.col("cluster_name").isNotNull(), crowd),
        interest,
    )


def _shorten(name: Column) -> Column:
    return F.when(F.length(name) > LONGEST_NAME, F.concat(F.substring(name, 1, LONGEST_NAME - 1), F.lit("\u2026"))).otherwise(name)


def _percent(share: Column) -> Column:
    return F.when(share < 0.01, F.lit("less than 1 %")).otherwise(F.format_string("%.0f %%", share * 100))


def _days(count: Column) -> Column:
    return F.when(count == 1, F.lit("day")).otherwise(F.lit("days"))
