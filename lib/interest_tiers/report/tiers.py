"""The tiers of all users: shares, interests per user, and the interests that are core for most users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.report.sources import Sources, add_interest_name

TIER_METHODS_LIMIT = 10
CORE_INTERESTS_LIMIT = 20


@dataclass(frozen=True)
class TierShare:
    """One tier: its pairs of user and interest, and how many of them a user has."""

    tier: str
    pairs: int
    share: float  # of all pairs
    users: int  # with at least one such interest
    mean_per_user: float  # over all users that have a tier
    low_per_user: int  # the 10 % quantile
    median_per_user: int
    high_per_user: int  # the 90 % quantile


@dataclass(frozen=True)
class TierSummary:
    """All tiers, and which models decided them."""

    users: int
    pairs: int
    tiers: tuple[TierShare, ...]
    methods: tuple[tuple[str, str], ...]  # (method, model_version)
    low_evidence_users: int = 0


@dataclass(frozen=True)
class LevelTiers:
    """The tiers of one level of a hierarchy."""

    name: str
    tiers: TierSummary


@dataclass(frozen=True)
class CoreInterest:
    """An interest and the users for whom it is core or secondary."""

    name: str
    core_users: int
    secondary_users: int


def summarise_tiers(user_tiers: DataFrame) -> TierSummary:
    """Count pairs and users of every tier.

    user_tiers: (user_id, tier, method, model_version, low_evidence), one row per pair of user and interest
    """
    counted = count_tiers_per_user(user_tiers)
    aggregates = [F.count("*").alias("users"), F.count_if("low_evidence").alias("low_evidence_users")]
    for tier in TIERS:
        aggregates += [
            F.sum(tier).alias(f"{tier}_pairs"),
            F.sum((F.col(tier) > 0).cast("long")).alias(f"{tier}_users"),
            F.percentile_approx(tier, [0.1, 0.5, 0.9]).alias(f"{tier}_quantiles"),
        ]
    totals = counted.agg(*aggregates).collect()[0]
    methods = user_tiers.select("method", "model_version").distinct().orderBy("method", "model_version")
    return TierSummary(
        users=totals["users"],
        pairs=_count_pairs(totals),
        tiers=tuple(_tier_share(tier, totals) for tier in TIERS),
        methods=tuple((row["method"], row["model_version"]) for row in methods.limit(TIER_METHODS_LIMIT).collect()),
        low_evidence_users=totals["low_evidence_users"],
    )


def find_core_interests(user_tiers: DataFrame, interests: DataFrame) -> tuple[CoreInterest, ...]:
    """Find the interests that are core for the most users, most first.

    user_tiers: (user_id, interest_id, tier)
    interests:  (interest_id, name)
    """
    counts = user_tiers.groupBy("interest_id").agg(
        F.sum((F.col("tier") == "core").cast("long")).alias("core_users"),
        F.sum((F.col("tier") == "secondary").cast("long")).alias("secondary_users"),
    )
    order = [F.desc("core_users"), F.desc("secondary_users"), F.col("interest_id")]
    top = counts.where("core_users > 0").orderBy(*order).limit(CORE_INTERESTS_LIMIT)
    rows = add_interest_name(top, interests).orderBy(*order).collect()
    return tuple(CoreInterest(row["interest"], row["core_users"], row["secondary_users"]) for row in rows)


def select_level(sources: Sources, level: int) -> DataFrame:
    """Select the rows of user_tiers of one level; 1 is the coarsest."""
    return sources.user_tiers.join(sources.interests.where(F.col("level") == level).select("interest_id"), "interest_id", "left_semi")


def select_finest(sources: Sources, levels: Sequence[str]) -> DataFrame:
    """Select the rows of user_tiers of the finest level. levels: of a hierarchy, coarse to fine; none in a flat catalogue."""
    return select_level(sources, len(levels)) if levels else sources.user_tiers


def count_tiers_per_user(user_tiers: DataFrame) -> DataFrame:
    """Count the interests of each tier per user: (user_id, core, secondary, marginal, low_evidence boolean)."""
    counts = [F.sum((F.col("tier") == tier).cast("long")).alias(tier) for tier in TIERS]
    return user_tiers.groupBy("user_id").agg(*counts, F.coalesce(F.bool_or("low_evidence"), F.lit(False)).alias("low_evidence"))


def _count_pairs(totals: Row) -> int:
    return sum(totals[f"{tier}_pairs"] for tier in TIERS)


def _tier_share(tier: str, totals: Row) -> TierShare:
    pairs = totals[f"{tier}_pairs"]
    low, median, high = totals[f"{tier}_quantiles"]
    return TierShare(
        tier=tier,
        pairs=pairs,
        share=pairs / _count_pairs(totals),
        users=totals[f"{tier}_users"],
        mean_per_user=pairs / totals["users"],
        low_per_user=low,
        median_per_user=median,
        high_per_user=high,
    )
