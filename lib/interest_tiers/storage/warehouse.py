"""Read and write the tables of a warehouse: a folder (``build/demo``, ``s3a://bucket/tiers``) or a ``catalog.schema``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import date, datetime, timedelta
from pathlib import Path

from delta.exceptions import MetadataChangedException
from delta.tables import DeltaTable
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.errors import WarehouseError
from interest_tiers.storage.address import is_catalog
from interest_tiers.storage.claim_stores import CLAIMS, CatalogClaims, ClaimStore, LocalClaims, RemoteClaims
from interest_tiers.storage.claims import Claims
from interest_tiers.storage.commits import REMOVES_USERS, count_committed, mark_commits, retry_conflicts
from interest_tiers.storage.constraints import add_constraints, find_missing_constraints
from interest_tiers.storage.damage import explain_damage
from interest_tiers.storage.files import Files
from interest_tiers.storage.location import Catalog, Folder, Location, text_literal
from interest_tiers.storage.rebalance import rebalance
from interest_tiers.storage.retention import Retention, VacuumResult
from interest_tiers.storage.schemas import TABLES
from interest_tiers.storage.snapshot import TableState, count_rows_by_day, current_version, describe_table
from interest_tiers.storage.staging import MAX_AGE, STAGING, CatalogStaging, FolderStaging, Staging, StagingStore, new_run_id
from interest_tiers.storage.table import Table

#: Folders of a warehouse that are no tables, with STAGING and CLAIMS.
REPORT, CHECKPOINTS = "report", "_checkpoints"

#: How many names of unknown files a message lists.
NAMED_ENTRIES = 5


class Warehouse:
    """The tables of one warehouse, used by one run. Every write is one Delta commit: it happens whole or not at all."""

    def __init__(self, spark: SparkSession, location: str, run_id: str | None = None) -> None:
        """Open a folder or ``catalog.schema`` for a run; without an id, the run gets a new one.

        Raises WarehouseError for a folder that is a file or holds something else, or a schema that does not exist.
        """
        self.spark = spark
        self.location = location.rstrip("/")
        self.run_id = new_run_id() if run_id is None else run_id
        #: Called before a table is read or written; raises where the command may not. See stages/context.py.
        self.require_access: Callable[[Table, bool], None] = lambda table, to_write: None
        self._files = Files(spark)
        self._folder: Folder | None = None
        self._ready: set[str] = set()
        self._days: set[tuple[str, date, int | None]] = set()
        staging: StagingStore
        if is_catalog(location):
            catalog = Catalog(spark, self.location)
            self._tables: Location = catalog
            self.claims = Claims(CatalogClaims(spark, catalog), self.run_id)
            staging = CatalogStaging(catalog)
        else:
            self._tables = self._folder = Folder(spark, self._files, self.location)
            self._require_own_folder(self._folder)
            self.claims = Claims(self._claim_store(self._folder), self.run_id)
            staging = FolderStaging(self._folder, self._files)
        self._staging = Staging(staging, self.run_id, self.claims)
        self._retention = Retention(spark, self._tables)

    # Reads

    def exists(self, table: Table) -> bool:
        """Whether the table exists. Raises WarehouseError for a folder of its name that is not a Delta table."""
        return self._tables.exists(table.name)

    def read(self, table: Table, as_of: date | None = None, version: int | None = None, may_be_empty: bool = False) -> DataFrame:
        """Read the rows of a table as seen at as_of, from one Delta version where one is given.

        Tables with a column as_of: the rows of that day. Interactions: those with event_date < as_of.
        Without as_of: all rows. Without version, each action on the frame reads the newest version.
        Raises WarehouseError when the table does not exist, and when that day has no rows unless may_be_empty.
        """
        self.require_access(table, False)
        if not self.exists(table):
            raise WarehouseError(f"{self.location} has no table {table.name}: run the stage {table.stage} first")
        rows = self._tables.read(table.name, version)
        # A table of an earlier version lacks them until it is written to.
        rows = rows.withColumns({c.name: F.lit(None).cast(c.dataType) for c in table.added_since(rows.schema)})
        if as_of is None:
            return rows
        if not table.has_as_of:
            return rows.where(F.col("event_date") < F.lit(as_of)) if "event_date" in table.schema.names else rows
        day = rows.where(F.col("as_of") == F.lit(as_of))
        # A command reads the same day many times.
        if not may_be_empty and (table.name, as_of, version) not in self._days:
            if day.isEmpty():
                raise WarehouseError(f"{table.name} has no rows for as_of {as_of}: run the stage {table.stage} with --as-of {as_of} first")
            self._days.add((table.name, as_of, version))
        return day

    def version(self, table: Table) -> int:
        """Return the newest Delta version of a table, without a Spark job where Delta's log is open to us."""
        return current_version(self._delta(table))

    def describe(self, table: Table, as_of: date | None = None) -> TableState:
        """Describe a table for a dry run: its version and numbers of rows, from Delta's log."""
        return describe_table(self._tables, table, as_of)

    def count_rows_by_day(self, table: Table) -> dict[date, int]:
        """Count the rows of every event_date of a table that has that column; empty where there is no such table."""
        return count_rows_by_day(self._tables, table) if self.exists(table) else {}

    def explain_damage(self, error: BaseException) -> WarehouseError | None:
        """Return an error that names the table and the file that a failed job could not read; None when no table is damaged."""
        return explain_damage(error, self._tables, TABLES)

    # Writes

    def replace(self, table: Table, rows: DataFrame) -> int:
        """Replace the whole table; returns the number of rows written."""
        return self._overwrite(table, rows, condition=None)

    def replace_day(self, table: Table, rows: DataFrame, as_of: date, stage: str | None = None) -> int:
        """Replace the rows of one as_of and keep the others; returns the number of rows written.

        stage: of a table with a column stage, replace only the rows of this one.
        """
        dated = rows.withColumn("as_of", F.lit(as_of))
        condition = f"as_of = DATE'{as_of.isoformat()}'"
        return self._overwrite(table, dated, condition if stage is None else f"{condition} AND stage = {text_literal(stage)}")

    def replace_event_dates(self, table: Table, rows: DataFrame, days: Sequence[date]) -> None:
        """Replace the rows of these event dates and keep the others. Rows must be stored already (see stage)."""
        listed = ", ".join(f"DATE'{day.isoformat()}'" for day in days)
        self._ensure(table)
        shaped = self._shape(table, rows)
        retry_conflicts(lambda: self._save(table, shaped, mode="overwrite", condition=f"event_date IN ({listed})"), table.name)

    def append(self, table: Table, rows: DataFrame) -> None:
        """Add rows."""
        self._ensure(table)
        shaped = self._shape(table, rows)
        retry_conflicts(lambda: self._save(table, shaped, mode="append"), table.name)

    def insert_missing(self, table: Table, rows: DataFrame) -> int:
        """Add the rows whose key does not exist yet; returns how many. Rows must be stored already (see stage)."""
        self._ensure(table)
        shaped = self._require_distinct_keys(table, rows)
        with mark_commits(self.spark) as mark:
            retry_conflicts(lambda: self._match(table, shaped, table.key).whenNotMatchedInsertAll().execute(), table.name)
        return count_committed(self._delta(table), mark, "numTargetRowsInserted")

    def replace_changed(self, table: Table, rows: DataFrame, within: str, ignoring: Sequence[str] = ()) -> None:
        """Make the rows that satisfy ``within`` equal to ``rows``, and touch no row whose values stay the same.

        within: SQL on the table, each column prefixed by ``target.``. ignoring: columns whose change alone does not
        count, such as the run that found a row. Rows must be stored already (see stage).
        """
        self._ensure(table)
        self._forget_days(table)
        shaped = self._require_distinct_keys(table, rows)
        compared = [c for c in table.schema.names if c not in {*table.key, *ignoring}]
        changed = " OR ".join(f"NOT (target.`{c}` <=> source.`{c}`)" for c in compared)

        def merge() -> None:
            (
                self._match(table, shaped, table.key)
                .whenMatchedUpdateAll(condition=changed)
                .whenNotMatchedInsertAll()
                .whenNotMatchedBySourceDelete(condition=within)
                .execute()
            )

        retry_conflicts(merge, table.name)

    def missing_constraints(self, table: Table) -> list[str]:
        """List the declared constraints that an existing table lacks, because it is older or somebody dropped them."""
        return find_missing_constraints(self._tables, table) if self.exists(table) else []

    def add_constraints(self, table: Table, names: list[str]) -> None:
        """Add declared constraints to an existing table, whose rows must satisfy them."""
        self.require_access(table, True)
        retry_conflicts(lambda: add_constraints(self.spark, self._tables, table, names), table.name)

    # Deletes

    def delete_users(self, table: Table, users: DataFrame) -> int:
        """Delete the rows of these users; returns how many.

        users: (user_id), each once and stored already (see stage)
        """
        return self._remove(table, users, ["user_id"])

    def delete_keys(self, table: Table, keys: DataFrame) -> int:
        """Delete rows of users by their keys; returns how many.

        keys: the key of the table, each once and stored already (see stage)
        """
        return self._remove(table, keys, table.key)

    def delete_unused(self, table: Table, keys: DataFrame) -> int:
        """Delete rows that nothing refers to; returns how many. keys: as in delete_keys."""
        return self._remove(table, keys, table.key, message="")

    def empty(self, table: Table, keys: DataFrame, column: str) -> int:
        """Set a column to null in the rows with these keys; returns how many. keys: as in delete_keys."""
        with mark_commits(self.spark, REMOVES_USERS) as mark:
            retry_conflicts(lambda: self._match(table, keys, table.key).whenMatchedUpdate(set={column: F.lit(None)}).execute(), table.name)
        return count_committed(self._delta(table), mark, "numTargetRowsUpdated")

    def delete_files_of_users(self) -> list[str]:
        """Delete the files that name users and belong to no table: the report, and staging tables of this run and of dead runs.

        Returns the ids of the live runs, whose staging tables stay. Models hold weights and no users.
        """
        if self._folder is not None:
            self._files.delete(self._folder.path(REPORT))
        return self._staging.remove_all()

    # Retention

    def expire_days(self, retention_days: int, as_of: date) -> dict[str, int]:
        """Delete derived rows whose as_of is more than retention_days before as_of (see Retention.expire_days)."""
        self._days.clear()
        return self._retention.expire_days(retention_days, as_of)

    def compact(self, table: Table, above_files: int) -> int:
        """Join the small files of a table that has more files than this (see Retention.compact)."""
        return self._retention.compact(table, above_files)

    def compact_partitions(self, table: Table, above_files: int) -> int:
        """Join the small files of the partitions that have more than this many (see Retention.compact_partitions)."""
        return self._retention.compact_partitions(table, above_files)

    def keep_users_out_of_log(self, table: Table) -> None:
        """Stop a table of an earlier version from logging texts (see Retention.keep_users_out_of_log)."""
        self._retention.keep_users_out_of_log(table)

    def vacuum(self, table: Table, forgotten_at: datetime | None, retention_hours: int | None = None) -> VacuumResult:
        """Delete the files that only old versions need (see Retention.vacuum)."""
        return self._retention.vacuum(table, forgotten_at, retention_hours)

    # Staging tables

    def stage(self, name: str, rows: DataFrame) -> DataFrame:
        """Store rows in a staging table of this run and read them back: they are not computed again and do not change."""
        return self._staging.write(name, rows)

    def clear_stage(self, prefix: str = "") -> None:
        """Remove the staging tables of this run whose names start with a prefix; by default all of them."""
        self._staging.clear(prefix)

    def remove_expired_staging(self, max_age: timedelta = MAX_AGE) -> list[str]:
        """Remove the staging tables of dead runs that are older than max_age; returns what was removed."""
        return self._staging.remove_expired(max_age)

    # Files

    def checkpoint_path(self) -> str:
        """Return the folder of the streams' checkpoints. Raises WarehouseError for a catalog, which holds no files."""
        if self._folder is None:
            raise WarehouseError(f"--warehouse {self.location} is a catalog, which holds no files. Give --checkpoints a folder")
        return self._folder.path(CHECKPOINTS)

    def report_path(self) -> str:
        """Return the path of the report. Raises WarehouseError for a catalog, which holds no files."""
        if self._folder is None:
            raise WarehouseError(f"--warehouse {self.location}: a report is a file; give --warehouse a folder for it")
        return f"{self.location}/{REPORT}/index.html"

    @property
    def local_folder(self) -> Path | None:
        """The warehouse as a folder of this machine; None for any other warehouse."""
        if self._folder is None or not self._folder.root.startswith("file:"):
            return None
        return Path(self._folder.root.removeprefix("file:"))

    def free_bytes(self) -> int | None:
        """Return the free disk of a warehouse in a local folder; None for any other warehouse."""
        folder = self.local_folder
        if folder is None:
            return None
        return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free

    def write_parquet(self, path: str, rows: DataFrame, partition_by: str | None = None) -> None:
        """Write rows to a Parquet folder for readers other than Spark."""
        self._files.write_parquet(path, rows, partition_by)

    def write_text(self, path: str, text: str) -> None:
        """Write a text file to any file system that Hadoop knows."""
        self._files.write_text(path, text)

    # Helpers

    def _delta(self, table: Table) -> DeltaTable:
        return self._tables.delta(table.name)

    def _overwrite(self, table: Table, rows: DataFrame, condition: str | None) -> int:
        self._ensure(table)
        self._forget_days(table)
        shaped = self._shape(table, rows)
        with mark_commits(self.spark) as mark:
            if condition is None:
                # Not again after a conflict: it would delete what the other command wrote.
                self._save(table, shaped, mode="overwrite")
            else:
                retry_conflicts(lambda: self._save(table, shaped, mode="overwrite", condition=condition), table.name)
        return count_committed(self._delta(table), mark, "numOutputRows")

    def _save(self, table: Table, rows: DataFrame, mode: str, condition: str | None = None) -> None:
        by = table.partition_by if not table.has_as_of else None
        with rebalance(rows, by) if by else nullcontext(rows) as shaped:
            self._tables.save(table.name, shaped, mode, condition)

    def _remove(self, table: Table, rows: DataFrame, columns: Sequence[str], message: str = REMOVES_USERS) -> int:
        self.require_access(table, True)
        self._forget_days(table)
        with mark_commits(self.spark, message) as mark:
            retry_conflicts(lambda: self._match(table, rows, columns).whenMatchedDelete().execute(), table.name)
        return count_committed(self._delta(table), mark, "numTargetRowsDeleted")

    def _match(self, table: Table, rows: DataFrame, columns: Sequence[str]):  # type: ignore[no-untyped-def]
        same = " AND ".join(f"target.`{c}` = source.`{c}`" for c in columns)
        return self._delta(table).alias("target").merge(rows.alias("source"), same)

    def _require_distinct_keys(self, table: Table, rows: DataFrame) -> DataFrame:
        """Return the rows as the table stores them. Raises WarehouseError when two have the same key."""
        shaped = self._shape(table, rows)
        repeated = shaped.groupBy(*table.key).count().where("count > 1").first()
        if repeated is not None:
            raise WarehouseError(f"{table.name}: two rows to merge have the same key {repeated.asDict()}")
        return shaped

    def _shape(self, table: Table, rows: DataFrame) -> DataFrame:
        return rows.select(*[F.col(c.name).cast(c.dataType).alias(c.name) for c in table.schema.fields])

    def _forget_days(self, table: Table) -> None:
        """Look again, at the next read, whether a day of a table has rows."""
        self._days = {day for day in self._days if day[0] != table.name}

    def _ensure(self, table: Table) -> None:
        """Create the table if it does not exist; refuse one of another shape, but for columns that later versions added."""
        self.require_access(table, True)
        if table.name not in self._ready:
            retry_conflicts(lambda: self._create_or_widen(table), table.name)
            self._ready.add(table.name)

    def _create_or_widen(self, table: Table) -> None:
        if self.exists(table):
            self._require_same_columns(table)
            self._widen(table)
            return
        builder = self._tables.builder(table.name).addColumns(table.schema).comment(table.description)
        for name, value in table.properties.items():
            builder = builder.property(name, value)
        if table.partition_by:
            builder = builder.partitionedBy(table.partition_by)
        try:
            builder.execute()
        except AnalysisException as error:
            if error.getErrorClass() != "DELTA_TABLE_NOT_FOUND":
                raise
            # Another command is creating it: its log has a folder, and no commit yet.
            raise MetadataChangedException(str(error), "") from error

    def _widen(self, table: Table) -> None:
        """Add the columns that earlier versions did not have; they are null in the rows so far."""
        added = table.added_since(self._tables.read(table.name).schema)
        if added:
            columns = ", ".join(f"`{c.name}` {c.dataType.simpleString()} COMMENT {text_literal(c.metadata['comment'])}" for c in added)
            self.spark.sql(f"ALTER TABLE {self._tables.name_in_sql(table.name)} ADD COLUMNS ({columns})")

    def _require_same_columns(self, table: Table) -> None:
        schema = self._tables.read(table.name).schema
        found, added = {f.name: f.dataType.simpleString() for f in schema.fields}, table.added_since(schema)
        expected = {f.name: f.dataType.simpleString() for f in table.schema.fields if f not in added}
        if found != expected:
            differing = sorted(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
            details = ", ".join(f"{c}: found {found.get(c, 'nothing')}, expected {expected.get(c, 'nothing')}" for c in differing)
            raise WarehouseError(f"{self.location}: the table {table.name} has other columns ({details}). Give another --warehouse")

    def _claim_store(self, folder: Folder) -> ClaimStore:
        path = folder.path(CLAIMS)
        return LocalClaims(Path(path.removeprefix("file:"))) if path.startswith("file:") else RemoteClaims(self._files, path)

    def _require_own_folder(self, folder: Folder) -> None:
        """Refuse, before any work, a folder that is no warehouse, or whose tables are not Delta."""
        names = self._files.list(folder.root)
        # A config may lie in the same folder.
        visible = [name for name in names if not name.startswith(".") and not name.endswith((".yaml", ".yml"))]
        known = {table.name for table in TABLES}
        if visible and not known.union((STAGING, CLAIMS, REPORT, CHECKPOINTS)).intersection(visible):
            raise WarehouseError(
                f"--warehouse {self.location} is not a warehouse: it holds {', '.join(visible[:NAMED_ENTRIES])} and no Delta table of "
                "this project. Give an empty folder, or one that does not exist yet"
            )
        for name in visible:
            if name in known:
                folder.exists(name)
