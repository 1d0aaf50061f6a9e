"""What the report says: from the warehouse's tables to small frozen values.

Spark does the counting; what is collected is bounded by a constant below, or by the number of stages, tiers or
clusters. No raw row leaves the warehouse, and user ids only for the few users whose story is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Row, Window
from pyspark.sql import functions as F
from sklearn.decomposition import PCA

from interest_tiers.config import TIERS
from interest_tiers.interests.evidence import PAIR
from interest_tiers.interests.hierarchy import all_names
from interest_tiers.report.comparison import MEASURES_LIMIT, BackTest, describe_back_test, parse_slice
from interest_tiers.report.quality import DataQuality, describe_quality

#: The stages of the pipeline whose run records are shown, in the order in which they run.
STAGES = ("clean", "embed", "build_interests", "train_tiers", "assign_tiers", "cluster_users", "recommend", "evaluate")
#: Stages whose tables hold one state rather than one per as_of: their newest run made what is there now.
UNDATED_STAGES = ("clean", "embed")

REASONS_LIMIT = 50
TIER_METHODS_LIMIT = 10
CORE_INTERESTS_LIMIT = 20
CLUSTERS_LIMIT = 1000
MAP_USERS_LIMIT = 5000
STORIES_LIMIT = 3
STORY_CORE_INTERESTS = 3
STORY_INTERESTS_LIMIT = 8
STORY_CLUSTERS_LIMIT = 10
STORY_RECOMMENDATIONS_LIMIT = 10


@dataclass(frozen=True)
class Sources:
    """The tables that the report reads.

    Tables with a column as_of hold the rows of one day, interactions what that day sees; the quarantine is whole. runs,
    metrics and data_quality are whole, or None where the warehouse has no such table.
    """

    interactions: DataFrame
    quarantine: DataFrame
    items: DataFrame
    users: DataFrame
    interests: DataFrame
    user_interests: DataFrame
    user_tiers: DataFrame
    user_vectors: DataFrame
    clusters: DataFrame
    user_clusters: DataFrame
    recommendations: DataFrame
    metrics: DataFrame | None
    runs: DataFrame | None
    data_quality: DataFrame | None = None


@dataclass(frozen=True)
class Totals:
    """Rows of the tables that the report summarises."""

    users: int
    interactions: int
    items: int
    interests: int
    recommendations: int
    quarantined: int


@dataclass(frozen=True)
class StageRun:
    """The newest run of one stage; rows are None where it did not end well."""

    stage: str
    run_id: str
    status: str
    ended_at: str  # UTC, to the minute
    seconds: float
    rows_in: int | None
    rows_out: int | None
    message: str
    code_version: str
    config_sha256: str


@dataclass(frozen=True)
class QuarantineReason:
    """How many rows of a source break one rule; a row may break several."""

    source: str
    reason: str
    rows: int


@dataclass(frozen=True)
class TierShare:
    """One tier: its (user, interest) pairs and how many of them a user has."""

    tier: str
    pairs: int
    share: float  # of all pairs
    users: int  # with at least one such interest
    mean_per_user: float  # over all users that have a tier
    low_per_user: int  # 10 % of the users have at most so many
    median_per_user: int
    high_per_user: int  # 90 % of the users have at most so many


@dataclass(frozen=True)
class TierSummary:
    """All tiers, and how they were decided."""

    users: int
    pairs: int
    tiers: tuple[TierShare, ...]
    methods: tuple[tuple[str, str], ...]  # (method, model_version)


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


@dataclass(frozen=True)
class Cluster:
    """One group of users."""

    cluster_id: str
    name: str
    size: int
    share: float  # of the users that have a cluster
    silhouette: float | None
    top_interests: tuple[str, ...]


@dataclass(frozen=True)
class UserMap:
    """A sample of user vectors in two dimensions, coloured by primary cluster."""

    points: tuple[tuple[float, float], ...]
    cluster_ids: tuple[str, ...]  # one per point
    explained: tuple[float, float]  # share of the sample's variance along each axis
    n_users: int  # that the sample is drawn from


@dataclass(frozen=True)
class SilhouetteChoice:
    """The silhouette for every k that was tried, in order of k; chosen is None where no choice is on record."""

    values: tuple[tuple[int, float], ...]
    chosen: int | None


@dataclass(frozen=True)
class StoryInterest:
    """One interest of one user, from evidence to tier."""

    name: str
    evidence: float
    share: float
    n_days: int
    recency_days: int | None  # None where the user never touched it: its evidence was borrowed
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
    """One real user from evidence to recommendation."""

    user_id: str
    interests: tuple[StoryInterest, ...]  # the ones with the most evidence, first
    n_interests: int
    clusters: tuple[StoryCluster, ...]  # the primary first
    recommendations: tuple[StoryRecommendation, ...]


@dataclass(frozen=True)
class Content:
    """All that the page shows."""

    name: str
    as_of: date
    horizon_days: int
    totals: Totals
    stages: tuple[StageRun, ...]
    reasons: tuple[QuarantineReason, ...]
    quality: DataQuality | None
    tiers: TierSummary
    core_interests: tuple[CoreInterest, ...]
    clusters: tuple[Cluster, ...]
    user_map: UserMap | None
    silhouettes: SilhouetteChoice
    stories: tuple[Story, ...]
    back_test: BackTest | None
    levels: tuple[LevelTiers, ...] = ()  # of a hierarchy, coarse to fine

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that made the tables, in the order of the stages; each once."""
        return tuple(dict.fromkeys(run.run_id for run in self.stages))

    @property
    def other_reasons(self) -> tuple[QuarantineReason, ...]:
        """Why rows are in quarantine that the quality of the interactions' sources does not tell of."""
        told = set() if self.quality is None else {source.source for source in self.quality.sources}
        return tuple(reason for reason in self.reasons if reason.source not in told)

    @property
    def code_versions(self) -> tuple[str, ...]:
        """The versions of the code that ran, each once."""
        return tuple(dict.fromkeys(run.code_version for run in self.stages))

    @property
    def configs(self) -> tuple[str, ...]:
        """The fingerprints of the configs that were used, each once."""
        return tuple(dict.fromkeys(run.config_sha256 for run in self.stages))


def build_content(sources: Sources, name: str, as_of: date, horizon_days: int, levels: Sequence[str] = ()) -> Content:
    """Summarise the tables of one as_of.

    name: of the data set. horizon_days: the days that the back-test holds back. levels: of a hierarchy of interests, coarse to fine.
    """
    measures = _collect_measures(sources.metrics, as_of)
    clusters = list_clusters(sources.clusters)
    return Content(
        name=name,
        as_of=as_of,
        horizon_days=horizon_days,
        totals=count_totals(sources),
        stages=() if sources.runs is None else list_stages(sources.runs, as_of),
        reasons=count_reasons(sources.quarantine),
        quality=None if sources.data_quality is None else describe_quality(sources.data_quality),
        tiers=summarise_tiers(sources.user_tiers),
        core_interests=find_core_interests(_finest(sources, levels), sources.interests),
        clusters=clusters,
        user_map=draw_user_map(sources.user_vectors, sources.user_clusters),
        silhouettes=describe_silhouettes(measures),
        stories=tell_stories(sources, choose_story_users(sources), levels),
        back_test=describe_back_test([row for row in measures if row["stage"] == "evaluate"], as_of, horizon_days, levels),
        levels=tuple(LevelTiers(level, summarise_tiers(_of_level(sources, place))) for place, level in enumerate(levels, start=1)),
    )


def _of_level(sources: Sources, level: int) -> DataFrame:
    """The tiers of one level, 1 for the coarsest."""
    return sources.user_tiers.join(sources.interests.where(F.col("level") == level).select("interest_id"), "interest_id", "left_semi")


def _finest(sources: Sources, levels: Sequence[str]) -> DataFrame:
    return _of_level(sources, len(levels)) if levels else sources.user_tiers


def count_totals(sources: Sources) -> Totals:
    """The rows of the tables."""
    return Totals(
        users=sources.users.count(),
        interactions=sources.interactions.count(),
        items=sources.items.count(),
        interests=sources.interests.count(),
        recommendations=sources.recommendations.count(),
        quarantined=sources.quarantine.count(),
    )


def list_stages(runs: DataFrame, as_of: date) -> tuple[StageRun, ...]:
    """The newest run of every stage for this as_of, in the order of the pipeline; of clean and embed for any as_of.

    runs: the table runs.
    """
    relevant = F.col("stage").isin(*UNDATED_STAGES) | (F.col("as_of") == F.lit(as_of))
    seconds = F.col("ended_at").cast("double") - F.col("started_at").cast("double")
    run = F.struct(
        F.col("ended_at").alias("newest"),
        "run_id",
        "status",
        F.date_format("ended_at", "yyyy-MM-dd HH:mm").alias("ended_at"),
        seconds.alias("seconds"),
        "rows_in",
        "rows_out",
        F.coalesce("message", F.lit("")).alias("message"),
        "code_version",
        "config_sha256",
    )
    newest = runs.where(F.col("stage").isin(*STAGES) & relevant).groupBy("stage").agg(F.max(run).alias("run"))
    rows = newest.select("stage", "run.*").drop("newest").collect()  # one per stage
    return tuple(sorted((StageRun(**row.asDict()) for row in rows), key=lambda run: STAGES.index(run.stage)))


def count_reasons(quarantine: DataFrame) -> tuple[QuarantineReason, ...]:
    """How many rows every rule put aside, most first.

    quarantine: (source, reasons array<string>).
    """
    broken = quarantine.select("source", F.explode(F.array_distinct("reasons")).alias("reason"))
    counts = broken.groupBy("source", "reason").agg(F.count("*").alias("rows"))
    rows = counts.orderBy(F.desc("rows"), "source", "reason").limit(REASONS_LIMIT).collect()
    return tuple(QuarantineReason(**row.asDict()) for row in rows)


def summarise_tiers(user_tiers: DataFrame) -> TierSummary:
    """Pairs and users of every tier.

    user_tiers: (user_id, tier, method, model_version), one row per pair of a user and an interest.
    """
    counted = _count_tiers_per_user(user_tiers)
    aggregates = [F.count("*").alias("users")]
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
    )


def find_core_interests(user_tiers: DataFrame, interests: DataFrame) -> tuple[CoreInterest, ...]:
    """The interests that are core for the most users, most first.

    user_tiers: (user_id, interest_id, tier). interests: (interest_id, name).
    """
    counts = user_tiers.groupBy("interest_id").agg(
        F.sum((F.col("tier") == "core").cast("long")).alias("core_users"),
        F.sum((F.col("tier") == "secondary").cast("long")).alias("secondary_users"),
    )
    order = [F.desc("core_users"), F.desc("secondary_users"), F.col("interest_id")]
    top = counts.where("core_users > 0").orderBy(*order).limit(CORE_INTERESTS_LIMIT)
    rows = _with_interest_name(top, interests).orderBy(*order).collect()
    return tuple(CoreInterest(row["interest"], row["core_users"], row["secondary_users"]) for row in rows)


def list_clusters(clusters: DataFrame) -> tuple[Cluster, ...]:
    """The clusters, largest first.

    clusters: (cluster_id, name, size, silhouette, top_interests).
    """
    columns = ["cluster_id", "name", "size", "silhouette", "top_interests"]
    rows = clusters.select(*columns).orderBy(F.desc("size"), "cluster_id").limit(CLUSTERS_LIMIT).collect()
    users = sum(row["size"] for row in rows)
    return tuple(
        Cluster(row["cluster_id"], row["name"], row["size"], row["size"] / users, row["silhouette"], tuple(row["top_interests"]))
        for row in rows
    )


def draw_user_map(user_vectors: DataFrame, user_clusters: DataFrame) -> UserMap | None:
    """Two principal components of a sample of user vectors; None with fewer than three users or dimensions than two.

    user_vectors: (user_id, vector array<float>[d]). user_clusters: (user_id, cluster_id, is_primary).
    The sample is the MAP_USERS_LIMIT users with the smallest SHA-256 of their id, so it is the same every time.
    """
    drawn = user_vectors.select("user_id", "vector", F.sha2("user_id", 256).alias("draw")).orderBy("draw").limit(MAP_USERS_LIMIT)
    primary = user_clusters.where("is_primary").select("user_id", "cluster_id")
    rows = drawn.join(primary, "user_id").orderBy("draw").select("vector", "cluster_id").collect()
    if len(rows) < 3 or len(rows[0]["vector"]) < 2:
        return None
    vectors = np.array([row["vector"] for row in rows], dtype=np.float64)
    components = PCA(n_components=2, svd_solver="full")
    points = components.fit_transform(vectors)
    return UserMap(
        points=tuple((float(x), float(y)) for x, y in points),
        cluster_ids=tuple(row["cluster_id"] for row in rows),
        explained=(float(components.explained_variance_ratio_[0]), float(components.explained_variance_ratio_[1])),
        n_users=user_vectors.count(),
    )


def describe_silhouettes(measures: Sequence[dict[str, Any]]) -> SilhouetteChoice:
    """The silhouette over k, and the k that was chosen.

    measures: rows (stage, metric, slice, value); those of cluster_users have a slice such as ``k=8``.
    """
    by_metric: dict[str, dict[int, float]] = {"silhouette": {}, "silhouette_chosen": {}}
    for row in measures:
        k = parse_slice(row["slice"]).get("k")
        if row["stage"] == "cluster_users" and row["metric"] in by_metric and k is not None:
            by_metric[row["metric"]][int(k)] = row["value"]
    return SilhouetteChoice(
        values=tuple(sorted(by_metric["silhouette"].items())),
        chosen=min(by_metric["silhouette_chosen"], default=None),
    )


def choose_story_users(sources: Sources) -> tuple[str, ...]:
    """The ids of the users whose story is told: the same ones every time.

    From each of the largest clusters, the user with the smallest SHA-256 of the id among those with
    STORY_CORE_INTERESTS core interests and with recommendations. Where too few users are so, smaller
    clusters, then further users of the same clusters, then users with less fill the places.
    """
    core = _count_tiers_per_user(sources.user_tiers).select("user_id", "core")
    served = sources.recommendations.where("rank = 1").select("user_id", F.lit(True).alias("served"))
    sizes = sources.clusters.select("cluster_id", "size")
    primary = sources.user_clusters.where("is_primary").select("user_id", "cluster_id")
    shortfall = F.when(F.col("served").isNull(), 2).when(F.col("core") < STORY_CORE_INTERESTS, 1).otherwise(0)
    candidates = (
        primary.join(F.broadcast(sizes), "cluster_id")
        .join(core, "user_id")
        .join(served, "user_id", "left")
        .select("user_id", "cluster_id", "size", shortfall.alias("shortfall"), F.sha2("user_id", 256).alias("draw"))
    )
    within_cluster = Window.partitionBy("cluster_id").orderBy("shortfall", "draw")
    nominated = candidates.withColumn("turn", F.row_number().over(within_cluster)).where(F.col("turn") <= STORIES_LIMIT)
    chosen = nominated.orderBy("shortfall", "turn", F.desc("size"), "cluster_id").limit(STORIES_LIMIT)
    return tuple(row["user_id"] for row in chosen.select("user_id").collect())


def tell_stories(sources: Sources, user_ids: Sequence[str], levels: Sequence[str] = ()) -> tuple[Story, ...]:
    """What the tables say of the given users, in their order; at most STORIES_LIMIT of them. levels: of a hierarchy."""
    told = tuple(user_ids[:STORIES_LIMIT])
    interests = _by_user(_story_interests(sources, told, levels))
    clusters = _by_user(_story_clusters(sources, told))
    recommendations = _by_user(_story_recommendations(sources, told))
    held = sources.user_tiers.where(F.col("user_id").isin(*told)).groupBy("user_id").count()
    n_interests = {row["user_id"]: row["count"] for row in held.collect()}
    return tuple(
        Story(
            user_id=user_id,
            interests=tuple(StoryInterest(**row) for row in interests.get(user_id, ())),
            n_interests=n_interests.get(user_id, 0),
            clusters=tuple(StoryCluster(**row) for row in clusters.get(user_id, ())),
            recommendations=tuple(StoryRecommendation(**row) for row in recommendations.get(user_id, ())),
        )
        for user_id in told
    )


def _story_interests(sources: Sources, user_ids: Sequence[str], levels: Sequence[str]) -> list[Row]:
    evidence = sources.user_interests.where(F.col("user_id").isin(*user_ids) & (F.col("rank") <= STORY_INTERESTS_LIMIT))
    level = F.col("level") if levels else F.lit(None).cast("bigint")
    evidence = evidence.select("user_id", "interest_id", level.alias("level"), "rank", "evidence", "share", "n_days", "recency_days")
    tiers = sources.user_tiers.select("user_id", "interest_id", "tier", "p_core", "p_secondary", "p_marginal")
    told = _with_interest_name(evidence.join(tiers, PAIR, "left"), sources.interests)
    columns = ["evidence", "share", "n_days", "recency_days", "tier", "p_core", "p_secondary", "p_marginal"]
    level_name = F.element_at(F.array(*[F.lit(name) for name in levels]), F.col("level").cast("int")) if levels else F.lit(None)
    named = told.orderBy("user_id", "level", "rank").select("user_id", F.col("interest").alias("name"), *columns, level_name.alias("level"))
    return named.collect()


def _story_clusters(sources: Sources, user_ids: Sequence[str]) -> list[Row]:
    memberships = sources.user_clusters.where(F.col("user_id").isin(*user_ids))
    named = memberships.join(sources.clusters.select("cluster_id", "name"), "cluster_id")
    told = named.orderBy("user_id", F.desc("is_primary"), F.desc("membership"), "cluster_id")
    return told.select("user_id", "name", "membership", "is_primary").limit(STORIES_LIMIT * STORY_CLUSTERS_LIMIT).collect()


def _story_recommendations(sources: Sources, user_ids: Sequence[str]) -> list[Row]:
    listed = sources.recommendations.where(F.col("user_id").isin(*user_ids) & (F.col("rank") <= STORY_RECOMMENDATIONS_LIMIT))
    listed = listed.select("user_id", "rank", "item_id", "score", "interest_id", "tier", "reason")
    described = _with_interest_name(listed.join(sources.items.select("item_id", "text"), "item_id", "left"), sources.interests)
    columns = ["rank", "item_id", "text", "interest", "tier", "score", "reason"]
    return described.orderBy("user_id", "rank").select("user_id", *columns).collect()


def _by_user(rows: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
    """The rows of every user, without their user_id."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        values = row.asDict()
        grouped.setdefault(values.pop("user_id"), []).append(values)
    return grouped


def _with_interest_name(rows: DataFrame, interests: DataFrame) -> DataFrame:
    """Add the column interest: the name, in a hierarchy after those of what holds it; the id where the catalogue lacks it."""
    way = F.when(F.col("level") > 1, F.array_join(all_names(F.col("interest_id")), " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "))
    name = F.coalesce(way, F.col("name")) if "level" in interests.columns else F.col("name")
    names = interests.select("interest_id", name.alias("interest"))
    return rows.join(names, "interest_id", "left").withColumn("interest", F.coalesce("interest", "interest_id"))


def _count_tiers_per_user(user_tiers: DataFrame) -> DataFrame:
    """(user_id, core, secondary, marginal): how many interests of each tier a user has."""
    counts = [F.sum((F.col("tier") == tier).cast("long")).alias(tier) for tier in TIERS]
    return user_tiers.groupBy("user_id").agg(*counts)


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


def _collect_measures(metrics: DataFrame | None, as_of: date) -> list[dict[str, Any]]:
    """The measures of clusters and of the back-test of one as_of, as dictionaries."""
    if metrics is None:
        return []
    shown = metrics.where((F.col("as_of") == F.lit(as_of)) & F.col("stage").isin("cluster_users", "evaluate"))
    columns = ["stage", "metric", "slice", "value", "lower", "upper"]
    rows = shown.select(*columns).orderBy("stage", "metric", "slice").limit(MEASURES_LIMIT).collect()
    return [row.asDict() for row in rows]
