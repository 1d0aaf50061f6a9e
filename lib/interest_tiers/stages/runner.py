"""Runs stages: one line per stage, a run record each, claims on the tables that it writes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from interest_tiers import __version__
from interest_tiers.errors import DataQualityError, InterestTiersError, short_message
from interest_tiers.stages.context import RunContext
from interest_tiers.stages.declaration import Stage
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import RUNS

LOG = logging.getLogger("interest_tiers.stages")

#: Characters of an error message that the run record keeps.
LONGEST_MESSAGE = 2000


def run_stage(stage: Stage, context: RunContext, options: Mapping[str, Any], wait: bool = False, quiet: bool = False) -> StageResult:
    """Run one stage, print what it did in one line unless quiet, and write its run record, also when it fails.

    wait: wait for another writer of the same tables and day, rather than raise WarehouseError.
    """
    context.begin(stage)
    started_at, start = datetime.now(UTC), time.monotonic()
    LOG.info("%s started: %s", stage.name, stage.summary, extra={"stage": stage.name, "run_id": context.run_id})
    try:
        with context.hold_claims(wait):
            result = stage.run(context, **options)
    except Exception as error:
        damage = context.warehouse.explain_damage(error)
        status = "refused" if isinstance(error, DataQualityError) else "failed"
        _record_failure(stage, context, status, started_at, damage or error)
        if damage is not None:
            raise damage from error
        raise
    finally:
        context.warehouse.clear_stage(f"{stage.name}/")
    # In every line, and so in the report, and first, so that nothing cuts it off: all rows of the stage rest on it.
    noted = replace(result, message="; ".join(part for part in (context.day_note, result.message) if part))
    _record(stage, context, "done", started_at, noted)
    seconds = time.monotonic() - start
    counts = {"rows_in": result.rows_in, "rows_out": result.rows_out, "seconds": round(seconds, 1)}
    LOG.debug("%s done", stage.name, extra={"stage": stage.name, "run_id": context.run_id, **counts})
    if not quiet:
        print(
            f"{stage.name:<16} {result.rows_in:>12,} rows in {result.rows_out:>12,} rows out {seconds:>7.1f} s   {noted.message}",
            flush=True,
        )
    return result


def run_stages(
    stages: Sequence[Stage], context: RunContext, options: Mapping[str, Mapping[str, Any]], wait: bool, quiet: bool = False
) -> dict[str, StageResult]:
    """Run stages one after the other; the first that fails ends it. options: by stage."""
    return {stage.name: run_stage(stage, context, options.get(stage.name, {}), wait, quiet) for stage in stages}


def _record_failure(stage: Stage, context: RunContext, status: str, started_at: datetime, error: Exception) -> None:
    message = str(error) if isinstance(error, InterestTiersError) else f"{type(error).__name__}: {error}"
    try:
        _record(stage, context, status, started_at, StageResult(0, 0, message[:LONGEST_MESSAGE]))
    except Exception as fault:  # the first error must reach the reader; this one is added to it as a note
        error.add_note(f"(the run record could not be written either: {short_message(fault)})")


def _record(stage: Stage, context: RunContext, status: str, started_at: datetime, result: StageResult) -> None:
    row = {
        "run_id": context.run_id,
        "stage": stage.name,
        "as_of": context.known_as_of,
        "status": status,
        "started_at": started_at,
        "ended_at": datetime.now(UTC),
        "rows_in": result.rows_in if status == "done" else None,
        "rows_out": result.rows_out if status == "done" else None,
        "config_sha256": context.config_sha256,
        "code_version": __version__,
        "input_versions": context.input_versions,
        "message": result.message,
    }
    context.warehouse.append(RUNS, context.spark.createDataFrame([row], RUNS.schema))  # type: ignore[type-var]
