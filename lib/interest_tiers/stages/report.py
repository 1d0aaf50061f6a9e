"""report: one day of the warehouse as an HTML page, WAREHOUSE/report/index.html or another file."""

from __future__ import annotations

from pyspark.sql import functions as F

from interest_tiers.errors import WarehouseError
from interest_tiers.report.content import build_content
from interest_tiers.report.language import LANGUAGES, Language
from interest_tiers.report.page import render
from interest_tiers.report.sources import Sources
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import (
    CLUSTER_MODELS,
    CLUSTERS,
    DATA_QUALITY,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    INTERESTS,
    ITEMS,
    METRICS,
    RECOMMENDATIONS,
    RUNS,
    USER_CLUSTERS,
    USER_INTERESTS,
    USER_TIERS,
    USER_VECTORS,
    USERS,
)

NO_PATH = "no report is written: a catalog holds no files; give --report-to PATH"


def preflight(context: StageContext, show_users: bool = False, report_to: str | None = None, language: str = LANGUAGES[0]) -> list[str]:
    """Note where no report will be written."""
    return [NO_PATH] if path_of_report(context, report_to) is None else []


def run(context: StageContext, show_users: bool = False, report_to: str | None = None, language: str = LANGUAGES[0]) -> StageResult:
    """Write the report of one as_of: findings, tiers, clusters, some users and the back-test, in one HTML page.

    show_users: show the ids of these users, which are masked otherwise. report_to: see path_of_report.
    language: one of LANGUAGES.
    """
    from interest_tiers.stages.registry import STAGES  # it imports this module

    path, config = path_of_report(context, report_to), context.config
    if path is None:
        return StageResult(rows_in=0, rows_out=0, message=NO_PATH)
    stages = [stage.name for stage in STAGES if stage.name != "report"]
    content = build_content(
        read_sources(context), config.name, context.as_of, config.tiers.horizon_days, stages, config.interests.levels, show_users
    )
    context.warehouse.write_text(path, render(content, Language(language)))
    return StageResult(rows_in=content.totals.users, rows_out=1, message=path)


def path_of_report(context: StageContext, report_to: str | None) -> str | None:
    """Find the file of the report; None for a catalog without report_to.

    report_to: an .html file, or a folder for index.html, on any file system that Spark knows; None for the warehouse's own folder.
    """
    if report_to is not None:
        return report_to if report_to.endswith(".html") else f"{report_to.rstrip('/')}/index.html"
    try:
        return context.warehouse.report_path()
    except WarehouseError:
        return None


def read_sources(context: StageContext) -> Sources:
    """Read the tables of this as_of, and the tiers of the day before; metrics, runs and data_quality where they exist."""
    tiers, clusters = context.read(USER_TIERS), context.read(CLUSTERS)
    earlier = tiers.where(F.col("as_of") < F.lit(context.as_of)).agg(F.max("as_of").alias("day")).collect()[0]["day"]
    return Sources(
        interactions=context.read(INTERACTIONS, context.as_of),
        quarantine=context.read(INTERACTIONS_QUARANTINE),  # whole: a row may be there because its day cannot be read
        items=context.read(ITEMS),
        users=context.read(USERS),
        interests=context.read(INTERESTS, context.as_of),
        user_interests=context.read(USER_INTERESTS, context.as_of),
        user_tiers=context.read(USER_TIERS, context.as_of),
        user_vectors=context.read(USER_VECTORS, context.as_of),
        clusters=context.read(CLUSTERS, context.as_of),
        user_clusters=context.read(USER_CLUSTERS, context.as_of),
        recommendations=context.read(RECOMMENDATIONS, context.as_of),
        metrics=context.read(METRICS) if context.warehouse.exists(METRICS) else None,
        runs=context.read(RUNS) if context.warehouse.exists(RUNS) else None,
        data_quality=context.read(DATA_QUALITY) if context.warehouse.exists(DATA_QUALITY) else None,
        earlier_tiers=None if earlier is None else tiers.where(F.col("as_of") == F.lit(earlier)),
        earlier_day=earlier,
        cluster_models=context.read(CLUSTER_MODELS) if context.warehouse.exists(CLUSTER_MODELS) else None,
        all_clusters=clusters.where(F.col("as_of") <= F.lit(context.as_of)),
    )
