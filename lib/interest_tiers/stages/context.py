"""What every job shares: its command line, its inputs and their versions, its run record, its exit code."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlparse

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers import __version__
from interest_tiers.config import Config, load_config
from interest_tiers.errors import ConfigError, DataQualityError, InterestTiersError, WarehouseError
from interest_tiers.interests.evidence import item_days
from interest_tiers.spark.session import build_session
from interest_tiers.storage.schemas import INTERACTIONS, ITEM_INTERESTS, METRICS, RUNS, Table
from interest_tiers.storage.staging import new_run_id
from interest_tiers.storage.warehouse import Warehouse

#: Beyond these, a metric says nothing, and sums of doubles differ from run to run.
METRIC_DECIMALS = 9


@dataclass(frozen=True)
class StageResult:
    """What a stage did: rows in and out, and further counts for the run record and for the person who watches."""

    rows_in: int
    rows_out: int
    message: str = ""


@dataclass(frozen=True)
class Measurement:
    """A row of the table metrics; lower and upper bound a 95 % interval."""

    metric: str
    slice: str
    value: float
    lower: float | None = None
    upper: float | None = None


@dataclass
class StageContext:
    """What a stage is given: config, warehouse and as_of. It remembers which versions of which tables were read."""

    config: Config
    warehouse: Warehouse
    requested_as_of: date | None = None
    run_id: str = field(default_factory=new_run_id)
    input_versions: dict[str, int] = field(default_factory=dict)
    _staged: dict[str, tuple[dict[str, int], DataFrame]] = field(default_factory=dict)

    @property
    def spark(self) -> SparkSession:
        return self.warehouse.spark

    @property
    def config_sha256(self) -> str:
        return self.config.sha256

    @cached_property
    def today(self) -> date:
        """The day of the run, UTC."""
        return datetime.now(UTC).date()

    @cached_property
    def as_of(self) -> date:
        """The day as given, or the day after the newest event."""
        if self.requested_as_of is not None:
            return self.requested_as_of
        newest = self.warehouse.read(INTERACTIONS).agg(F.max("event_date").alias("day")).first()
        if newest is None or newest["day"] is None:
            raise WarehouseError(f"{self.warehouse.location} has no interactions: run the stage clean first")
        return newest["day"] + timedelta(days=1)

    def read(self, table: Table, as_of: date | None = None) -> DataFrame:
        """Read a table (see Warehouse.read) and remember its version for the run record."""
        rows = self.warehouse.read(table, as_of)
        self.input_versions[table.name] = self.warehouse.version(table)
        return rows

    def item_days(self) -> DataFrame:
        """What each user did with each item on each day before as_of (see evidence.item_days)."""
        interactions, item_interests = self.read(INTERACTIONS, self.as_of), self.read(ITEM_INTERESTS, self.as_of)
        return self.staged_once(
            "item_days",
            [INTERACTIONS, ITEM_INTERESTS],
            lambda: item_days(interactions, item_interests.select("item_id", "interest_id"), self.config.weights),
        )

    def staged_once(self, name: str, tables: Iterable[Table], make: Callable[[], DataFrame]) -> DataFrame:
        """What several stages build on, written aside: one command makes it once for the tables as they are.

        tables: those of which it is made, which this stage has read.
        """
        versions = {table.name: self.input_versions[table.name] for table in tables}
        if name not in self._staged or self._staged[name][0] != versions:
            self._staged[name] = versions, self.warehouse.stage(name, make())
        return self._staged[name][1]


def models_folder(context: StageContext, given: str | None, key: str, name: str) -> Path:
    """Where a trained model goes: the folder that a key of the config gives, or models/NAME of the warehouse.

    Raises ConfigError where that is no folder of the machines' file systems.
    """
    location = given if given is not None else f"{_warehouse_folder(context, key)}/models/{name}"
    parsed = urlparse(location)
    if parsed.scheme not in ("", "file"):
        raise ConfigError(f"{key} would be {location}: give a folder that every machine sees as one of its own")
    return Path(parsed.path).resolve()


def _warehouse_folder(context: StageContext, key: str) -> str:
    try:
        report = context.warehouse.report_path()
    except WarehouseError as error:
        raise ConfigError(f"{key} is missing, and a catalog holds no folders: give a folder that every machine sees") from error
    return report.removesuffix("/index.html").rpartition("/")[0]


class RunContext(Protocol):
    """What a run record tells of a command. A command without a config has an empty fingerprint."""

    warehouse: Warehouse
    run_id: str
    requested_as_of: date | None
    input_versions: dict[str, int]

    @property
    def config_sha256(self) -> str: ...


Stage = Callable[[StageContext], StageResult]
Context = TypeVar("Context", bound=RunContext)


def run_stage(name: str, stage: Callable[[Context], StageResult], context: Context) -> StageResult:
    """Run one stage, say in one line what it did, and write its run record, also when it fails."""
    context.input_versions = {}
    started_at, start = datetime.now(UTC), time.monotonic()
    try:
        result = stage(context)
    except Exception as error:
        status = "refused" if isinstance(error, DataQualityError) else "failed"
        _record_failure(name, context, status, started_at, error)
        raise
    finally:
        context.warehouse.clear_stage(f"{name}/")
    _record(name, context, "done", started_at, result)
    seconds = time.monotonic() - start
    print(f"{name:<16} {result.rows_in:>12,} rows in {result.rows_out:>12,} rows out {seconds:>7.1f} s   {result.message}", flush=True)
    return result


def write_metrics(context: StageContext, stage: str, measurements: Sequence[Measurement]) -> None:
    """Make this day's metrics of a stage equal to the measurements; a value that is the same stays untouched."""
    rows = [
        (
            context.run_id,
            context.as_of,
            stage,
            m.metric,
            m.slice,
            *(None if x is None else round(float(x), METRIC_DECIMALS) for x in (m.value, m.lower, m.upper)),
        )
        for m in measurements
    ]
    measured = context.spark.createDataFrame(rows, METRICS.schema)
    context.warehouse.replace_changed(METRICS, measured, f"target.stage = '{stage}'", ignoring=["run_id"], as_of=context.as_of)


def stage_main(name: str, stage: Stage) -> Callable[[Sequence[str] | None], int]:
    """The main function of a job that runs one stage."""

    def main(argv: Sequence[str] | None = None) -> int:
        arguments = stage_parser(name, stage.__doc__).parse_args(argv)
        return run_command(name, arguments, lambda context: run_stage(name, stage, context))

    return main


def stage_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The command line that all jobs share."""
    parser = argparse.ArgumentParser(prog=f"interest-tiers {name}", description=description)
    parser.add_argument("--config", required=True, metavar="FILE", help="the YAML of one data set")
    add_warehouse_arguments(parser)
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", dest="overrides", help="override one key of the config")
    return parser


def add_warehouse_argument(parser: argparse.ArgumentParser) -> None:
    """--warehouse."""
    parser.add_argument("--warehouse", required=True, metavar="DIR", help="a folder, or catalog.schema")


def add_warehouse_arguments(parser: argparse.ArgumentParser) -> None:
    """--warehouse and --as-of."""
    add_warehouse_argument(parser)
    parser.add_argument(
        "--as-of",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="see only what happened before this day; default: the day after the newest event",
    )


def run_command(name: str, arguments: argparse.Namespace, work: Callable[[StageContext], object]) -> int:
    """Do the work of a command line; returns the exit code. What was written aside is removed in any case."""

    def prepared() -> None:
        # The config comes before Spark, so that a mistake in it costs no time.
        config = load_config(arguments.config, arguments.overrides)
        spark = build_session(f"interest-tiers {name} {config.name}")
        warehouse = Warehouse(spark, arguments.warehouse)
        try:
            work(StageContext(config, warehouse, arguments.as_of))
        finally:
            warehouse.clear_stage()

    return exit_code_of(prepared)


def exit_code_of(work: Callable[[], object]) -> int:
    """Run; 0 when it ends well, else the exit code of its error, whose message goes to standard error."""
    try:
        work()
    except InterestTiersError as error:
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        print(f"error: {error}{notes}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def _record_failure(name: str, context: RunContext, status: str, started_at: datetime, error: Exception) -> None:
    message = str(error) if isinstance(error, InterestTiersError) else f"{type(error).__name__}: {error}"
    try:
        _record(name, context, status, started_at, StageResult(0, 0, message[:2000]))
    except Exception as fault:  # the first error must reach the reader; this one goes along as a note
        error.add_note(f"(the run record could not be written either: {str(fault).splitlines()[0]})")


def _record(name: str, context: RunContext, status: str, started_at: datetime, result: StageResult) -> None:
    row = {
        "run_id": context.run_id,
        "stage": name,
        "as_of": context.__dict__.get("as_of", context.requested_as_of),
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
    context.warehouse.append(RUNS, context.warehouse.spark.createDataFrame([row], RUNS.schema))
