"""What a run would do: which stages, at which day, from which versions, what it would replace, and what would stop it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from interest_tiers.errors import ConfigError, InterestTiersError, WarehouseError
from interest_tiers.spark.workers import check_workers
from interest_tiers.stages.context import RunContext, StageContext
from interest_tiers.stages.declaration import Stage
from interest_tiers.stages.registry import writers_of
from interest_tiers.storage.schemas import INTERACTIONS, Table

GIBIBYTE = 1024**3

#: With less free disk than this, a run is refused.
LEAST_FREE_BYTES = 1 * GIBIBYTE


@dataclass(frozen=True)
class PlannedRead:
    """A table that a stage reads. made_by: the stage of this run that writes it first; None where it is there already."""

    table: str
    version: int | None
    rows: int | None
    made_by: str | None = None


@dataclass(frozen=True)
class PlannedWrite:
    """A table that a stage writes. replaces: whether it holds rows of this day, or of the whole table, that would be replaced."""

    table: str
    replaces: bool


@dataclass(frozen=True)
class PlannedStage:
    """missing: what is neither there nor made earlier in the run. stops: what would stop the stage. notes: what it leaves out."""

    name: str
    summary: str
    reads: tuple[PlannedRead, ...]
    writes: tuple[PlannedWrite, ...]
    missing: tuple[str, ...]
    stops: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """as_of: None where clean runs first and decides it from the newest event."""

    as_of: date | None
    stages: tuple[PlannedStage, ...]

    @property
    def faults(self) -> list[str]:
        """Everything that would stop the run, in order, each once."""
        found = [f"{stage.name}: {fault}" for stage in self.stages for fault in (*stage.missing, *stage.stops)]
        return list(dict.fromkeys(found))

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        return {"as_of": None if self.as_of is None else self.as_of.isoformat(), **asdict(self), "faults": self.faults} | (
            {"as_of": None if self.as_of is None else self.as_of.isoformat()}
        )


def make_plan(stages: Sequence[Stage], context: StageContext, options: Mapping[str, Mapping[str, Any]]) -> Plan:
    """Look at tables, config and session, and say what the stages would do. Reads no rows and writes nothing."""
    as_of = _known_day(stages, context)
    made: dict[str, str] = {}
    planned: list[PlannedStage] = []
    for stage in stages:
        planned.append(_plan_stage(stage, context, options.get(stage.name, {}), made, as_of))
        for table in stage.writes:
            made.setdefault(table.name, stage.name)
    try:
        check_disk(context)
        check_workers(context.spark, _shared_folders(context))
    except (ConfigError, WarehouseError) as error:
        planned[0] = replace(planned[0], stops=(str(error), *planned[0].stops))
    return Plan(as_of, tuple(planned))


def check_disk(context: RunContext) -> list[str]:
    """Note the free disk of a warehouse in a local folder. Raises WarehouseError where next to nothing is free."""
    free = context.warehouse.free_bytes()
    if free is None:
        return []
    if free < LEAST_FREE_BYTES:
        raise WarehouseError(
            f"--warehouse {context.warehouse.location}: {free / GIBIBYTE:.1f} GiB of disk are free, and a run needs "
            f"{LEAST_FREE_BYTES / GIBIBYTE:.0f} GiB or more for staging tables. Free some, or give another folder"
        )
    return []


def _shared_folders(context: RunContext) -> dict[str, Path]:
    """Return the folders that every machine must share, by the setting that names each."""
    folders = {"--warehouse": context.warehouse.local_folder}
    if isinstance(context, StageContext) and context.config.tiers.network != "rule":
        given = context.config.tiers.training.folder
        # The default lies in the warehouse; a folder that is no path is refused by its stage.
        folders["tiers.training.folder"] = None if given is None or "://" in given else Path(given).resolve()
    return {key: folder for key, folder in folders.items() if folder is not None}


def check(stages: Sequence[Stage], context: RunContext, options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Run the preflight of every stage before the first; returns their notes. Raises the first InterestTiersError."""
    check_disk(context)
    check_workers(context.spark, _shared_folders(context))
    return [f"{stage.name}: {note}" for stage in stages for note in stage.preflight(context, **options.get(stage.name, {}))]


def _known_day(stages: Sequence[Stage], context: StageContext) -> date | None:
    writes_interactions = any(INTERACTIONS in stage.writes for stage in stages)
    if context.requested_as_of is not None:
        return context.requested_as_of
    if writes_interactions or not context.warehouse.exists(INTERACTIONS):
        return None
    return context.as_of


def _plan_stage(
    stage: Stage, context: StageContext, options: Mapping[str, Any], made: Mapping[str, str], as_of: date | None
) -> PlannedStage:
    reads = [_plan_read(table, context, made) for table in stage.reads]
    reads += [read for table in stage.may_read if (read := _plan_read(table, context, made)).version is not None or read.made_by]
    missing = []
    for table in stage.reads:
        fault = _find_missing(table, context, made, as_of)
        if fault:
            missing.append(fault)
    writes = [PlannedWrite(table.name, _would_replace(table, context, as_of)) for table in stage.writes]
    stops, notes = [], []
    try:
        notes = stage.preflight(context, **options)
    except InterestTiersError as error:
        stops.append(str(error))
    return PlannedStage(stage.name, stage.summary, tuple(reads), tuple(writes), tuple(missing), tuple(stops), tuple(notes))


def _plan_read(table: Table, context: StageContext, made: Mapping[str, str]) -> PlannedRead:
    if table.name in made:
        return PlannedRead(table.name, None, None, made[table.name])
    if not context.warehouse.exists(table):
        return PlannedRead(table.name, None, None)
    state = context.warehouse.describe(table)
    return PlannedRead(table.name, state.version, state.n_rows)


def _find_missing(table: Table, context: StageContext, made: Mapping[str, str], as_of: date | None) -> str | None:
    """Say what is missing of a table, and which stage makes it."""
    if table.name in made:
        return None
    writer = next(iter(writers_of(table)), None)
    advice = f"run the stage {writer.name} first" if writer else "no stage writes it"
    if not context.warehouse.exists(table):
        return f"there is no table {table.name}: {advice}"
    if table.has_as_of and as_of is not None:
        try:
            context.read_day(table, as_of)
        except WarehouseError:
            return f"{table.name} has no rows for as_of {as_of}: {advice} with --as-of {as_of}"
    return None


def _would_replace(table: Table, context: StageContext, as_of: date | None) -> bool:
    if not context.warehouse.exists(table):
        return False
    if not table.has_as_of:
        return True
    return as_of is not None and bool(context.warehouse.describe(table, as_of).has_rows)


def format_plan(plan: Plan, context: StageContext) -> str:
    """Lay the plan out for a terminal."""
    day = "the day after the newest event that clean finds" if plan.as_of is None else plan.as_of.isoformat()
    lines = [f"plan of {context.config.name}, as of {day}, warehouse {context.warehouse.location}"]
    lines += [context.day_note] if context.day_note else []
    for stage in plan.stages:
        lines += ["", f"{stage.name}: {stage.summary}"]
        for read in stage.reads:
            where = f"written by {read.made_by}" if read.made_by else "missing" if read.version is None else f"version {read.version}"
            rows = "" if read.rows is None else f", {read.rows:,} rows"
            lines.append(f"  reads    {read.table:<24} {where}{rows}")
        for write in stage.writes:
            lines.append(f"  writes   {write.table:<24} {'replaces or extends what is there' if write.replaces else 'new'}")
        lines += [f"  MISSING  {fault}" for fault in stage.missing]
        lines += [f"  STOPS    {fault}" for fault in stage.stops]
        lines += [f"  note     {note}" for note in stage.notes]
    faults = len(plan.faults)
    lines += ["", "ready to run" if not faults else f"{faults} fault{'s' if faults > 1 else ''} would stop this run"]
    return "\n".join(lines)
