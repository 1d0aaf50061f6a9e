"""What a stage works with: config, warehouse and as_of, limited to the tables that the stage declared."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.config import Config
from interest_tiers.errors import WarehouseError
from interest_tiers.spark.materialise import Materialise
from interest_tiers.stages.declaration import Stage
from interest_tiers.stages.default_day import choose_day
from interest_tiers.stages.results import Measurement
from interest_tiers.storage.schemas import INTERACTIONS, METRICS, RUNS, Table
from interest_tiers.storage.warehouse import Warehouse

LOG = logging.getLogger("interest_tiers.stages")

#: Shorter steps are logged for machines, not for the person who watches.
LONG_STEP_SECONDS = 10.0

#: Sums of doubles differ from run to run in the digits beyond these.
METRIC_DECIMALS = 9


@dataclass
class RunContext:
    """One command on a warehouse.

    input_versions: the Delta version of every table that the stage has read
    day_note:       what a reader must know of the day that the run chose; empty where there is nothing to say
    """

    warehouse: Warehouse
    requested_as_of: date | None = None
    stage: Stage | None = None
    input_versions: dict[str, int] = field(default_factory=dict)
    step_run_id: str | None = None
    day_note: str = ""

    @property
    def run_id(self) -> str:
        """The id of the command, which its staging tables and claims bear, or that of a step of it."""
        return self.step_run_id or self.warehouse.run_id

    @property
    def config_sha256(self) -> str:
        """Fingerprint the config; empty for a command without one."""
        return ""

    @property
    def known_as_of(self) -> date | None:
        """The day of the run, as far as it is known without reading a table."""
        return self.requested_as_of

    @property
    def spark(self) -> SparkSession:
        """The session of the warehouse."""
        return self.warehouse.spark

    def begin(self, stage: Stage) -> None:
        """Start a stage: only its tables can be accessed from now on, and none has been read."""
        self.stage, self.input_versions = stage, {}
        self.warehouse.require_access = self._require

    def hold_claims(self, wait: bool) -> AbstractContextManager[None]:
        """Hold the claims on the stage's tables, so that no other command writes the same day of them.

        wait: wait for another writer to end, rather than raise WarehouseError.
        """
        assert self.stage is not None  # begin() comes before
        claimed = self.stage.claimed
        as_of = self.claimed_as_of if any(table.is_derived for table in claimed) else None
        return self.warehouse.claims.hold(claimed, as_of, wait)

    @property
    def claimed_as_of(self) -> date | None:
        """The day whose rows the stage writes; None for a command that writes rows of every day."""
        return None

    def _require(self, table: Table, to_write: bool) -> None:
        """Raise AssertionError for a table that the stage did not declare: a fault of the code, not of the data."""
        if self.stage is not None and not self.stage.may_access(table, to_write):
            access = "writes" if to_write else "reads"
            raise AssertionError(f"the stage {self.stage.name} {access} {table.name} and does not declare it in stages/registry.py")


@dataclass
class StageContext(RunContext):
    """One command on a data set."""

    config: Config = field(kw_only=True)
    _shared: dict[str, tuple[dict[str, int], DataFrame]] = field(default_factory=dict)

    @property
    def config_sha256(self) -> str:
        return self.config.sha256

    @property
    def known_as_of(self) -> date | None:
        return self.__dict__.get("as_of", self.requested_as_of)

    @property
    def claimed_as_of(self) -> date | None:
        return self.as_of

    @cached_property
    def today(self) -> date:
        """The day of the run, UTC."""
        return datetime.now(UTC).date()

    @cached_property
    def as_of(self) -> date:
        """The day as given, or the day after the newest event that is no stray; see default_day."""
        if self.requested_as_of is not None:
            return self.requested_as_of
        chosen = choose_day(self.warehouse.count_rows_by_day(INTERACTIONS), self.config.horizon_days)
        if chosen is None:
            raise WarehouseError(f"{self.warehouse.location} has no interactions: run the stage clean first")
        self.day_note = chosen.note
        if chosen.note:
            LOG.warning("%s", chosen.note)
        return chosen.as_of

    def exists(self, table: Table) -> bool:
        """Say whether a table has been made."""
        self._require(table, to_write=False)
        return self.warehouse.exists(table)

    def read(self, table: Table, as_of: date | None = None) -> DataFrame:
        """Read a table as Warehouse.read does, at the version of the stage's first read of it.

        What the stage itself writes is read at the current version.
        """
        self._require(table, to_write=False)
        is_own = self.stage is not None and table in self.stage.writes
        if is_own or table.name not in self.input_versions:
            if not self.warehouse.exists(table):
                raise WarehouseError(f"{self.warehouse.location} has no table {table.name}: run the stage {table.stage} first")
            self.input_versions[table.name] = self.warehouse.version(table)
        return self.read_day(table, as_of, None if is_own else self.input_versions[table.name])

    def read_day(self, table: Table, as_of: date | None, version: int | None = None) -> DataFrame:
        """Read a table as Warehouse.read does. A day without rows is an error only where its stage has not run for it."""
        try:
            return self.warehouse.read(table, as_of, version)
        except WarehouseError:
            if as_of is None or not self._has_run(table.stage, as_of):
                raise
            return self.warehouse.read(table, as_of, version, may_be_empty=True)

    def _has_run(self, stage: str, as_of: date) -> bool:
        """Say whether a stage ended well for a day."""
        if not self.warehouse.exists(RUNS):
            return False
        ended_well = (F.col("stage") == stage) & (F.col("as_of") == F.lit(as_of)) & (F.col("status") == "done")
        return not self.warehouse.read(RUNS).where(ended_well).isEmpty()

    def read_or_empty(self, table: Table) -> DataFrame:
        """Read a table, without rows where it has not been made."""
        return self.read(table) if self.exists(table) else self.spark.createDataFrame([], table.schema)

    def replace_day(self, table: Table, rows: DataFrame) -> int:
        """Replace the rows of as_of; returns the number of rows written."""
        with self._logged(table.name):
            return self.warehouse.replace_day(table, rows, self.as_of)

    def materialise(self, name: str, rows: DataFrame) -> DataFrame:
        """Compute rows once, in a staging table of this stage."""
        with self._logged(name):
            return self.warehouse.stage(f"{self._stage_name}/{name}", rows)

    def materialise_in(self, prefix: str) -> Materialise:
        """Return a materialise whose names begin with a prefix."""
        return lambda name, rows: self.materialise(f"{prefix}/{name}", rows)

    def share(self, name: str, tables: Iterable[Table], compute: Callable[[], DataFrame]) -> DataFrame:
        """Compute once per command what several stages build on, as long as its tables have the same versions.

        tables: those that it is computed from, which this stage has read.
        """
        versions = {table.name: self.input_versions[table.name] for table in tables}
        if name not in self._shared or self._shared[name][0] != versions:
            # Named by versions: another command may write other days of a table meanwhile, and frames on the earlier rows stay readable.
            numbers = "_".join(map(str, versions.values()))
            with self._logged(name):
                self._shared[name] = versions, self.warehouse.stage(f"shared/{name}_{numbers}", compute())
        return self._shared[name][1]

    def write_metrics(self, measurements: Sequence[Measurement]) -> None:
        """Make this day's metrics of the stage equal to the measurements; a value that is the same keeps its run_id."""
        values = {
            (m.metric, m.slice): tuple(None if x is None else round(float(x), METRIC_DECIMALS) for x in (m.value, m.lower, m.upper))
            for m in measurements
        }
        known = self._read_own_metrics()
        if values == {key: value for key, (value, _) in known.items()}:
            return
        rows = [
            (known[key][1] if known.get(key, (None,))[0] == value else self.run_id, self.as_of, self._stage_name, *key, *value)
            for key, value in values.items()
        ]
        self.warehouse.replace_day(METRICS, self.spark.createDataFrame(rows, METRICS.schema), self.as_of, stage=self._stage_name)

    def _read_own_metrics(self) -> dict[tuple[str, str], tuple[tuple[float | None, ...], str]]:
        """Read the stage's metrics of as_of: metric and slice to values and run_id. They are a few hundred at most."""
        if not self.warehouse.exists(METRICS):
            return {}
        own = (F.col("as_of") == F.lit(self.as_of)) & (F.col("stage") == self._stage_name)
        rows = self.warehouse.read(METRICS).where(own).collect()
        return {(row["metric"], row["slice"]): ((row["value"], row["lower"], row["upper"]), row["run_id"]) for row in rows}

    @contextmanager
    def _logged(self, step: str) -> Iterator[None]:
        """Log a step of the stage: long ones at INFO, others at DEBUG."""
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        level = logging.INFO if seconds >= LONG_STEP_SECONDS else logging.DEBUG
        fields = {"stage": self._stage_name, "run_id": self.run_id, "step": step, "seconds": round(seconds, 1)}
        LOG.log(level, "%s: %s computed in %.0f s", self._stage_name, step, seconds, extra=fields)

    @property
    def _stage_name(self) -> str:
        assert self.stage is not None  # begin() comes before any stage
        return self.stage.name
