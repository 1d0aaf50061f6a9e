"""Builds the content of the report: from the tables of a warehouse to small frozen values.

Spark does the counting. The rows collected are bounded by a constant, or by the number of stages, tiers or clusters.
No raw row leaves the warehouse, and user ids only with show_users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.report.cluster_profiles import ClusterHistory, Profile, build_profiles, read_history
from interest_tiers.report.clusters import Cluster, SilhouetteChoice, UserMap, describe_silhouettes, list_clusters, project_users
from interest_tiers.report.comparison import MEASURES_LIMIT, ComparedModels, describe_back_test
from interest_tiers.report.flows import Flows, count_flows
from interest_tiers.report.interest_map import InterestPoint, map_interests
from interest_tiers.report.quality import DataQuality, describe_quality
from interest_tiers.report.rows import QuarantineReason, StageRun, Totals, count_reasons, count_totals, list_stages
from interest_tiers.report.sources import Sources
from interest_tiers.report.stories import Story, choose_story_users, collect_stories
from interest_tiers.report.tiers import (
    CoreInterest,
    LevelTiers,
    TierSummary,
    find_core_interests,
    select_finest,
    select_level,
    summarise_tiers,
)


@dataclass(frozen=True)
class Content:
    """Everything that the page shows."""

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
    back_test: ComparedModels | None
    flows: Flows | None = None  # None on the first day
    interest_points: tuple[InterestPoint, ...] = ()
    levels: tuple[LevelTiers, ...] = ()  # of a hierarchy, coarse to fine
    profiles: tuple[Profile, ...] = ()
    history: ClusterHistory | None = None  # None where the model of the clusters is not on record

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that wrote the tables, in the order of the stages, each once."""
        return tuple(dict.fromkeys(run.run_id for run in self.stages))

    @property
    def other_reasons(self) -> tuple[QuarantineReason, ...]:
        """Reasons of rows in quarantine whose source has no measured quality."""
        measured = set() if self.quality is None else {source.source for source in self.quality.sources}
        return tuple(reason for reason in self.reasons if reason.source not in measured)

    @property
    def code_versions(self) -> tuple[str, ...]:
        """The versions of the code that ran, each once."""
        return tuple(dict.fromkeys(run.code_version for run in self.stages))

    @property
    def configs(self) -> tuple[str, ...]:
        """The fingerprints of the configs that were used, each once."""
        return tuple(dict.fromkeys(run.config_sha256 for run in self.stages))


def build_content(
    sources: Sources,
    name: str,
    as_of: date,
    horizon_days: int,
    stages: Sequence[str],
    levels: Sequence[str] = (),
    show_users: bool = False,
) -> Content:
    """Summarise the tables of one as_of.

    name:         of the data set
    horizon_days: days that the back-test holds back
    stages:       stages whose runs are shown, in this order
    levels:       of a hierarchy of interests, coarse to fine
    show_users:   False masks the ids of users
    """
    measures = _collect_measures(sources.metrics, as_of)
    clusters = list_clusters(sources.clusters)
    return Content(
        name=name,
        as_of=as_of,
        horizon_days=horizon_days,
        totals=count_totals(sources),
        stages=() if sources.runs is None else list_stages(sources.runs, as_of, stages),
        reasons=count_reasons(sources.quarantine),
        quality=None if sources.data_quality is None else describe_quality(sources.data_quality),
        tiers=summarise_tiers(sources.user_tiers),
        core_interests=find_core_interests(select_finest(sources, levels), sources.interests),
        clusters=clusters,
        user_map=project_users(sources.user_vectors, sources.user_clusters),
        silhouettes=describe_silhouettes(measures),
        stories=collect_stories(sources, choose_story_users(sources), levels, show_users),
        back_test=describe_back_test([row for row in measures if row["stage"] == "evaluate"], as_of, horizon_days, levels),
        flows=count_flows(sources.user_tiers, sources.earlier_tiers, sources.earlier_day)
        if sources.earlier_tiers is not None and sources.earlier_day is not None
        else None,
        interest_points=map_interests(sources.interests),
        levels=tuple(LevelTiers(level, summarise_tiers(select_level(sources, number))) for number, level in enumerate(levels, start=1)),
        profiles=build_profiles(sources.clusters, sources.user_clusters, _select_finest_pairs(sources, levels), sources.interests),
        history=read_history(sources.cluster_models, sources.clusters, sources.all_clusters)
        if sources.cluster_models is not None and sources.all_clusters is not None
        else None,
    )


def _select_finest_pairs(sources: Sources, levels: Sequence[str]) -> DataFrame:
    return sources.user_interests.where(F.col("level") == len(levels)) if levels else sources.user_interests


def _collect_measures(metrics: DataFrame | None, as_of: date) -> list[dict[str, Any]]:
    """Collect the measures of clusters and of the back-test of one as_of."""
    if metrics is None:
        return []
    shown = metrics.where((F.col("as_of") == F.lit(as_of)) & F.col("stage").isin("cluster_users", "evaluate"))
    columns = ["stage", "metric", "slice", "value", "lower", "upper"]
    rows = shown.select(*columns).orderBy("stage", "metric", "slice").limit(MEASURES_LIMIT).collect()
    return [row.asDict() for row in rows]
