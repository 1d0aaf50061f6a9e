"""Write what a person reads of one day of the warehouse: WAREHOUSE/report/index.html."""

from interest_tiers.report.content import Sources, build_content
from interest_tiers.report.page import render
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.results import StageResult
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


def preflight(context: StageContext, show_users: bool = False, report_to: str | None = None) -> list[str]:
    """Check that there is a place for the report."""
    return []


def run(context: StageContext, show_users: bool = False, report_to: str | None = None) -> StageResult:
    """Write the report of one as_of: rows, tiers, clusters, three users and the back-test, in one HTML page."""
    path = context.warehouse.report_path()
    config = context.config
    content = build_content(read_sources(context), config.name, context.as_of, config.tiers.horizon_days, config.interests.levels)
    context.warehouse.write_text(path, render(content))
    return StageResult(rows_in=content.totals.users, rows_out=1, message=path)


def read_sources(context: StageContext) -> Sources:
    """The tables of this as_of; metrics, runs and data_quality only where there are such tables."""
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
