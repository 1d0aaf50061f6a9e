"""Write the report of one day of the warehouse: WAREHOUSE/report/index.html, or another file."""

from interest_tiers.errors import WarehouseError
from interest_tiers.report.content import build_content
from interest_tiers.report.page import render
from interest_tiers.report.sources import Sources
from interest_tiers.stages.context import StageContext, StageResult, stage_main
from interest_tiers.storage.schemas import (
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


def run(context: StageContext, show_users: bool = False, report_to: str | None = None) -> StageResult:
    """Write the report of one as_of: rows, tiers, clusters, three users and the back-test, in one HTML page.

    show_users: show the ids of the three users, which are masked otherwise. report_to: see path_of_report.
    """
    from interest_tiers.stages.pipeline import STAGES  # it imports this module

    path = path_of_report(context, report_to)  # first: a catalog without a path has no report, however long it takes
    config = context.config
    stages = [stage for stage in STAGES if stage != "report"]
    content = build_content(
        read_sources(context), config.name, context.as_of, config.tiers.horizon_days, stages, config.interests.levels, show_users
    )
    context.warehouse.write_text(path, render(content))
    return StageResult(rows_in=content.totals.users, rows_out=1, message=path)


def path_of_report(context: StageContext, report_to: str | None) -> str:
    """Find the file of the report.

    report_to: an .html file, or a folder for index.html, on any file system that Spark knows; None for the warehouse's own folder.
    Raises WarehouseError for a catalog without report_to: it holds no files.
    """
    if report_to is None:
        try:
            return context.warehouse.report_path()
        except WarehouseError as error:
            message = f"--warehouse {context.warehouse.location} is a catalog, which holds no files: give --report-to PATH for the report"
            raise WarehouseError(message) from error
    return report_to if report_to.endswith(".html") else f"{report_to.rstrip('/')}/index.html"


def read_sources(context: StageContext) -> Sources:
    """Read the tables of this as_of; metrics, runs and data_quality where they exist."""
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
    )


main = stage_main("report", run)
