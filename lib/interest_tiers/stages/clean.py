"""clean: raw files to interactions, items and users; rows that cannot be used go to interactions_quarantine.

A run reads the files that no run read before and adds their rows to the tables. Where that would give other rows than
reading everything (a file has changed, the config cleans in another way), it reads everything and says why.
"""

from __future__ import annotations

from interest_tiers.cleaning.increment import all_tables, describe_vanished
from interest_tiers.cleaning.quality import measure_quality
from interest_tiers.stages.clean_plan import name_damaged_sources, plan
from interest_tiers.stages.clean_step import newest_stored, require_limits, take
from interest_tiers.stages.clean_stream import run_stream
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.registry import FILES_PER_BATCH
from interest_tiers.stages.results import StageResult


def preflight(context: StageContext, **options: object) -> list[str]:
    """Check that every source, and every table that one joins, has a location."""
    for table in all_tables(context.config):
        context.config.resolve(table.path)
    return []


def run(
    context: StageContext,
    full: bool = False,
    stream: bool = False,
    files_per_batch: int = FILES_PER_BATCH,
    checkpoints: str | None = None,
) -> StageResult:
    """Read what is new in the sources, map their columns, quarantine what cannot be used, and ask the quality gate."""
    if stream:
        return run_stream(context, files_per_batch, checkpoints)
    with name_damaged_sources(context):
        increment = plan(context, full)
        if increment.files:
            return take(context, increment)
        # No rows came, but the newest events may have become too old for the gate.
        require_limits(context, measure_quality([], context.config.quality, {}, {}, newest_stored(context), context.today))
        return StageResult(0, 0, "; ".join(["nothing new", *describe_vanished(increment)]))
