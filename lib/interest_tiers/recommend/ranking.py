"""Rank the candidates of every user and explain each recommendation."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import PAIR


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


def explain(ranked: DataFrame, tiers: DataFrame, interests: DataFrame, clusters: DataFrame, cutoff: date) -> DataFrame:
    """Add the reason that a person reads.

    ranked:    see rank_items over candidates.score_candidates
    tiers:     (user_id, interest_id, tier, ...)
    interests: (interest_id, name, ...)
    clusters:  (cluster_id, name, ...)
    Returns:   the columns of recommendations but as_of
    """
    tier_of_interest = tiers.select("user_id", "interest_id", "tier")
    interest_names = interests.select("interest_id", F.col("name").alias("interest_name"))
    cluster_names = clusters.select("cluster_id", F.col("name").alias("cluster_name"))
    joined = ranked.join(tier_of_interest, PAIR).join(interest_names, "interest_id").join(F.broadcast(cluster_names), "cluster_id", "left")
    return joined.select("user_id", "rank", "item_id", "score", "interest_id", "tier", "cluster_id", _reason(cutoff).alias("reason"))


def _reason(cutoff: date) -> Column:
    interest = F.format_string("%s, a %s interest", F.col("interest_name"), F.col("tier"))
    days_ago = F.datediff(F.lit(cutoff), F.col("last_day"))
    habit = F.format_string("yours on %d %s, last %d %s ago", F.col("n_days"), _days(F.col("n_days")), days_ago, _days(days_ago))
    crowd = F.format_string("%s of the cluster %s had it", _percent(F.col("cluster_share")), F.col("cluster_name"))
    return F.concat_ws("; ", F.when(F.col("n_days").isNotNull(), habit), F.when(F.col("cluster_name").isNotNull(), crowd), interest)


def _percent(share: Column) -> Column:
    return F.when(share < 0.01, F.lit("less than 1 %")).otherwise(F.format_string("%.0f %%", share * 100))


def _days(count: Column) -> Column:
    return F.when(count == 1, F.lit("day")).otherwise(F.lit("days"))
