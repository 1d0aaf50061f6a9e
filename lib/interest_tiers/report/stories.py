"""A few users, each from evidence to tier, cluster and recommendation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Row, Window
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.interests.evidence import PAIR
from interest_tiers.report.sources import Sources, add_interest_name
from interest_tiers.report.tiers import count_tiers_per_user

#: Users of the explorer.
STORIES_LIMIT = 48
STORY_CORE_INTERESTS = 3
STORY_INTERESTS_LIMIT = 8
STORY_CLUSTERS_LIMIT = 10
STORY_RECOMMENDATIONS_LIMIT = 10
STORY_MONTHS_LIMIT = 24


@dataclass(frozen=True)
class StoryInterest:
    """One interest of one user, from evidence to tier."""

    name: str
    evidence: float
    share: float
    n_days: int
    recency_days: int | None  # None where all evidence is borrowed from similar users
    tier: str | None
    p_core: float | None
    p_secondary: float | None
    p_marginal: float | None
    level: str | None = None  # of a hierarchy


@dataclass(frozen=True)
class StoryCluster:
    """One cluster of one user."""

    name: str
    membership: float
    is_primary: bool


@dataclass(frozen=True)
class StoryRecommendation:
    """One item recommended to one user."""

    rank: int
    item_id: str
    text: str | None
    interest: str
    tier: str
    score: float
    reason: str


@dataclass(frozen=True)
class Story:
    """One user from evidence to recommendation."""

    user_id: str | None  # None where ids are masked
    interests: tuple[StoryInterest, ...]  # the ones with the most evidence, first
    n_interests: int
    clusters: tuple[StoryCluster, ...]  # the primary first
    recommendations: tuple[StoryRecommendation, ...]
    low_evidence: bool = False
    months: tuple[tuple[str, int], ...] = ()  # month as 2018-01, and events; the newest months, without gaps


def choose_story_users(sources: Sources, limit: int = STORIES_LIMIT) -> tuple[str, ...]:
    """Choose the users of the explorer; the same tables give the same users. limit: at most so many.

    Candidates have STORY_CORE_INTERESTS core interests and recommendations.
    Each of the largest clusters contributes its candidate with the smallest SHA-256 of the id.
    Where these are too few, smaller clusters follow, then further users of the same clusters, then users who have less.
    """
    core = count_tiers_per_user(sources.user_tiers).select("user_id", "core")
    served = sources.recommendations.where("rank = 1").select("user_id", F.lit(True).alias("served"))
    sizes = sources.clusters.select("cluster_id", "size")
    primary = sources.user_clusters.where("is_primary").select("user_id", "cluster_id")
    shortfall = F.when(F.col("served").isNull(), 2).when(F.col("core") < STORY_CORE_INTERESTS, 1).otherwise(0)
    candidates = (
        primary.join(F.broadcast(sizes), "cluster_id")
        .join(core, "user_id")
        .join(served, "user_id", "left")
        .select("user_id", "cluster_id", "size", shortfall.alias("shortfall"), F.sha2("user_id", 256).alias("hash"))
    )
    within_cluster = Window.partitionBy("cluster_id").orderBy("shortfall", "hash")
    nominated = candidates.withColumn("turn", F.row_number().over(within_cluster)).where(F.col("turn") <= limit)
    chosen = nominated.orderBy("shortfall", "turn", F.desc("size"), "cluster_id").limit(limit)
    return tuple(row["user_id"] for row in chosen.select("user_id").collect())


def collect_stories(sources: Sources, user_ids: Sequence[str], levels: Sequence[str] = (), show_users: bool = False) -> tuple[Story, ...]:
    """Collect the rows of the given users, in their order; at most STORIES_LIMIT of them.

    levels: of a hierarchy, coarse to fine. show_users: False leaves their ids out.
    """
    chosen = tuple(user_ids[:STORIES_LIMIT])
    interests = _by_user(_story_interests(sources, chosen, levels))
    clusters = _by_user(_story_clusters(sources, chosen))
    recommendations = _by_user(_story_recommendations(sources, chosen))
    tiers = count_tiers_per_user(sources.user_tiers.where(F.col("user_id").isin(*chosen))).collect()
    n_interests = {row["user_id"]: sum(row[tier] for tier in TIERS) for row in tiers}
    low_evidence = {row["user_id"]: row["low_evidence"] for row in tiers}
    months = _story_months(sources, chosen)
    return tuple(
        Story(
            user_id=user_id if show_users else None,
            interests=tuple(StoryInterest(**row) for row in interests.get(user_id, ())),
            n_interests=n_interests.get(user_id, 0),
            clusters=tuple(StoryCluster(**row) for row in clusters.get(user_id, ())),
            recommendations=tuple(StoryRecommendation(**row) for row in recommendations.get(user_id, ())),
            low_evidence=low_evidence.get(user_id, False),
            months=months.get(user_id, ()),
        )
        for user_id in chosen
    )


def _story_interests(sources: Sources, user_ids: Sequence[str], levels: Sequence[str]) -> list[Row]:
    evidence = sources.user_interests.where(F.col("user_id").isin(*user_ids) & (F.col("rank") <= STORY_INTERESTS_LIMIT))
    level = F.col("level") if levels else F.lit(None).cast("bigint")
    evidence = evidence.select("user_id", "interest_id", level.alias("level"), "rank", "evidence", "share", "n_days", "recency_days")
    tiers = sources.user_tiers.select("user_id", "interest_id", "tier", "p_core", "p_secondary", "p_marginal")
    named = add_interest_name(evidence.join(tiers, PAIR, "left"), sources.interests)
    columns = ["evidence", "share", "n_days", "recency_days", "tier", "p_core", "p_secondary", "p_marginal"]
    level_name = F.element_at(F.array(*[F.lit(name) for name in levels]), F.col("level").cast("int")) if levels else F.lit(None)
    ordered = named.orderBy("user_id", "level", "rank")
    return ordered.select("user_id", F.col("interest").alias("name"), *columns, level_name.alias("level")).collect()


def _story_clusters(sources: Sources, user_ids: Sequence[str]) -> list[Row]:
    memberships = sources.user_clusters.where(F.col("user_id").isin(*user_ids))
    named = memberships.join(sources.clusters.select("cluster_id", "name"), "cluster_id")
    ordered = named.orderBy("user_id", F.desc("is_primary"), F.desc("membership"), "cluster_id")
    return ordered.select("user_id", "name", "membership", "is_primary").limit(STORIES_LIMIT * STORY_CLUSTERS_LIMIT).collect()


def _story_recommendations(sources: Sources, user_ids: Sequence[str]) -> list[Row]:
    listed = sources.recommendations.where(F.col("user_id").isin(*user_ids) & (F.col("rank") <= STORY_RECOMMENDATIONS_LIMIT))
    listed = listed.select("user_id", "rank", "item_id", "score", "interest_id", "tier", "reason")
    described = add_interest_name(listed.join(sources.items.select("item_id", "text"), "item_id", "left"), sources.interests)
    columns = ["rank", "item_id", "text", "interest", "tier", "score", "reason"]
    return described.orderBy("user_id", "rank").select("user_id", *columns).collect()


def _story_months(sources: Sources, user_ids: Sequence[str]) -> dict[str, tuple[tuple[str, int], ...]]:
    """Count the events of each user by month: the newest STORY_MONTHS_LIMIT months of the sample."""
    own = sources.interactions.where(F.col("user_id").isin(*user_ids)).groupBy(
        "user_id", F.date_format("event_date", "yyyy-MM").alias("month")
    )
    counts = {(row["user_id"], row["month"]): row["count"] for row in own.count().orderBy(F.desc("month")).collect()}
    if not counts:
        return {}
    first, last = min(month for _, month in counts), max(month for _, month in counts)
    months = _months_between(first, last)[-STORY_MONTHS_LIMIT:]
    return {user: tuple((month, counts.get((user, month), 0)) for month in months) for user in user_ids}


def _months_between(first: str, last: str) -> list[str]:
    (year, month), (end_year, end_month) = (map(int, each.split("-")) for each in (first, last))
    count = 12 * (end_year - year) + end_month - month + 1
    return [f"{year + (month - 1 + step) // 12:04d}-{(month - 1 + step) % 12 + 1:02d}" for step in range(count)]


def _by_user(rows: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
    """Group rows by user, without their user_id."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        values = row.asDict()
        grouped.setdefault(values.pop("user_id"), []).append(values)
    return grouped
