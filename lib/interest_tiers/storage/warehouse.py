"""The tables of one warehouse: a folder (``build/demo``, ``s3a://bucket/tiers``) or a ``catalog.schema``."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

from delta.tables import DeltaTable, DeltaTableBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.errors import WarehouseError
from interest_tiers.storage.schemas import DATA_RETENTION, LOG_RETENTION, STATISTICS, TABLES, Table
from interest_tiers.text import quote_name

#: Folders of a warehouse beside its tables.
STAGING, REPORT, CHECKPOINTS = "_staging", "report", "_checkpoints"

#: Of Parquet files for other readers than Spark.
ROW_GROUP_BYTES = 16 * 1024**2

#: How many names of foreign files a message lists.
NAMED_ENTRIES = 5

DEFAULT_RETENTION: Mapping[str, str] = {DATA_RETENTION: "interval 1 week", LOG_RETENTION: "interval 30 days"}

#: Table properties of this project: the retention to return to, and that the log was kept before its statistics left users out.
RETENTION_BEFORE, LOG_NAMES_USERS = "interest_tiers.retentionBefore", "interest_tiers.logNamesUsers"

#: Begins what stands in the log beside the commits that removed users.
REMOVES_USERS = "removes users"

#: A commit of this command is looked for among so many of the newest: others may have written since.
COMMITS_SEARCHED = 5


@dataclass(frozen=True)
class Vacuumed:
    """What can still be read of a table's past after a vacuum. Times are UTC.

    unreadable_from: when, after another vacuum, no file holds a user forgotten so far; None when nobody was.
    log_unreadable_from: the same of the log, for a table made before its statistics left users out; else None.
    oldest_version: versions from here on can be read.
    """

    table: str
    unreadable_from: datetime | None
    log_unreadable_from: datetime | None
    oldest_version: int


class Warehouse:
    """The tables of one warehouse. Every write is one Delta commit: it happens whole or not at all."""

    def __init__(self, spark: SparkSession, location: str, run_id: str | None = None) -> None:
        """location: a folder or ``catalog.schema``.

        Raises WarehouseError for a folder that is a file or holds something else, or a schema that is not there.
        """
        self.spark = spark
        self.location = location.rstrip("/")
        self._is_catalog = re.fullmatch(r"\w+\.\w+", location) is not None
        self._ready: set[str] = set()
        self._days: set[tuple[str, date]] = set()
        self._staged: set[str] = set()
        if self._is_catalog:
            if not spark.catalog.databaseExists(self.location):
                raise WarehouseError(
                    f"--warehouse {location}: there is no such schema; make it with CREATE SCHEMA, or write ./{location} for a folder"
                )
            return
        target = self._hadoop_path(self.location)
        # Delta takes no relative path; which file system a bare path means is Hadoop's to say.
        self._root = str(target.getFileSystem(self._hadoop_conf()).makeQualified(target).toString())
        if self._is_file(self._root):
            raise WarehouseError(f"--warehouse {location}: a file stands there; give a folder or catalog.schema")
        self._require_own_folder()

    def exists(self, table: Table) -> bool:
        """Whether the table is there. Raises WarehouseError for a folder of its name that is not a Delta table."""
        if self._is_catalog:
            return self.spark.catalog.tableExists(self._identifier(table.name))
        path = self._path(table.name)
        if DeltaTable.isDeltaTable(self.spark, path):
            return True
        if self._has_files(path):
            raise WarehouseError(
                f"{path} is not a Delta table (it has files but no _delta_log). Give another --warehouse, or move that folder away"
            )
        return False

    def read(self, table: Table, as_of: date | None = None, version: int | None = None) -> DataFrame:
        """The rows of a table as seen at as_of.

        Tables with a column as_of: the rows of that day. Interactions: those with event_date < as_of.
        Without as_of: all rows. Raises WarehouseError when the table, or that day of it, has not been made.
        """
        if not self.exists(table):
            raise WarehouseError(f"{self.location} has no table {table.name}: run the stage {table.stage} first")
        rows = self._read_all(table, version)
        # Until it is written to, a table made by an earlier version lacks them.
        rows = rows.withColumns({c.name: F.lit(None).cast(c.dataType) for c in table.added_since(rows.schema)})
        if as_of is None:
            return rows
        if not table.has_as_of:
            return rows.where(F.col("event_date") < F.lit(as_of)) if "event_date" in table.schema.names else rows
        day = rows.where(F.col("as_of") == F.lit(as_of))
        # One command reads the same day many times over.
        if (table.name, as_of) not in self._days:
            if day.isEmpty():
                raise WarehouseError(f"{table.name} has no rows for as_of {as_of}: run the stage {table.stage} with --as-of {as_of} first")
            self._days.add((table.name, as_of))
        return day

    def version(self, table: Table) -> int:
        """The current Delta version of a table."""
        row = self._delta(table).history(1).select("version").first()
        assert row is not None  # a Delta table has at least the commit that made it
        return int(row["version"])

    def replace(self, table: Table, rows: DataFrame) -> int:
        """Replace the whole table; returns the number of rows written."""
        return self._overwrite(table, rows, condition=None)

    def replace_day(self, table: Table, rows: DataFrame, as_of: date) -> int:
        """Replace the rows of one day and leave the others as they are; returns the number of rows written."""
        dated = rows.withColumn("as_of", F.lit(as_of))
        return self._overwrite(table, dated, condition=f"as_of = DATE'{as_of.isoformat()}'")

    def replace_event_dates(self, table: Table, rows: DataFrame, days: Sequence[date]) -> None:
        """Replace the rows of these days and leave the others as they are. Rows must be stored already (see stage)."""
        listed = ", ".join(f"DATE'{day.isoformat()}'" for day in days)
        self._ensure(table)
        self._save(table, self._shaped(table, rows), mode="overwrite", condition=f"event_date IN ({listed})")

    def append(self, table: Table, rows: DataFrame) -> None:
        """Add rows."""
        self._ensure(table)
        self._save(table, self._shaped(table, rows), mode="append")

    def insert_missing(self, table: Table, rows: DataFrame) -> int:
        """Add the rows whose key is not there yet; returns how many. Rows must be stored already (see stage)."""
        self._ensure(table)
        with self._marked("") as mark:
            self._merge(table, rows).whenNotMatchedInsertAll().execute()
        return self._count_of(table, mark, "numTargetRowsInserted")

    def replace_changed(self, table: Table, rows: DataFrame, within: str, ignoring: Sequence[str] = ()) -> None:
        """Make the rows that satisfy ``within`` equal to ``rows``; a row whose values are the same is not touched.

        within: SQL on the table, each column prefixed by ``target.``. ignoring: columns that alone make no
        change, such as the run that measured a value. Rows must be stored already (see stage).
        """
        self._ensure(table)
        self._forget_days(table)
        compared = [c for c in table.schema.names if c not in {*table.key, *ignoring}]
        changed = " OR ".join(f"NOT (target.`{c}` <=> source.`{c}`)" for c in compared)
        (
            self._merge(table, rows)
            .whenMatchedUpdateAll(condition=changed)
            .whenNotMatchedInsertAll()
            .whenNotMatchedBySourceDelete(condition=within)
            .execute()
        )

    def delete_users(self, table: Table, users: DataFrame) -> int:
        """Remove the rows of these users; returns how many. users: user_id string, each once and stored already (see stage)."""
        return self._remove(table, users, ["user_id"])

    def delete_keys(self, table: Table, keys: DataFrame) -> int:
        """Remove rows of users by their keys; returns how many. keys: the key of the table, each once and stored already (see stage)."""
        return self._remove(table, keys, table.key)

    def delete_unused(self, table: Table, keys: DataFrame) -> int:
        """Remove rows that nothing refers to; returns how many. keys: as in delete_keys."""
        return self._remove(table, keys, table.key, beginning="")

    def compact(self, table: Table, above_files: int) -> int:
        """Join the small files of a table that has more files than this, within its partitions; returns how many files went."""
        detail = self._delta(table).detail().select("numFiles").first()
        assert detail is not None  # a Delta table describes itself in one row
        if detail["numFiles"] <= above_files:
            return 0
        joined = self._delta(table).optimize().executeCompaction().select("metrics.numFilesRemoved").first()
        return 0 if joined is None else int(joined[0])

    def empty(self, table: Table, keys: DataFrame, column: str) -> int:
        """Make a column null in the rows with these keys; returns how many. keys: as in delete_keys."""
        with self._marked(REMOVES_USERS) as mark:
            self._matched(table, keys, table.key).whenMatchedUpdate(set={column: F.lit(None)}).execute()
        return self._count_of(table, mark, "numTargetRowsUpdated")

    def delete_files_of_users(self) -> None:
        """Remove the files beside the tables that name users: the report, and what a killed command wrote aside.

        Models hold weights and no user; a model that keeps rows of users belongs here too.
        """
        if self._is_catalog:
            for row in self.spark.sql(f"SHOW TABLES IN {self.location} LIKE '_staging_*'").collect():
                self.spark.sql(f"DROP TABLE IF EXISTS {self._identifier(row['tableName'])}")
        else:
            for folder in (STAGING, REPORT):
                path = self._hadoop_path(self._path(folder))
                path.getFileSystem(self._hadoop_conf()).delete(path, True)
        self._staged.clear()

    def keep_users_out_of_log(self, table: Table) -> None:
        """Let a table made by an earlier version keep no more texts in its log, and remember that it has some."""
        if self._properties(table).get(STATISTICS) != table.properties[STATISTICS]:
            self._set_properties(table, {STATISTICS: table.properties[STATISTICS], LOG_NAMES_USERS: "true"})

    def vacuum(self, table: Table, forgotten_at: datetime | None, retention_hours: int | None = None) -> Vacuumed:
        """Remove the files that belong to no version younger than the table's retention.

        forgotten_at: when a user was entered as forgotten last. retention_hours: becomes the table's own retention, and
        what it was before comes back afterwards, also when an earlier run was killed in between.
        """
        properties = self._own_retention(table)
        with self._shortened(table, properties, retention_hours) as retention:
            cutoff = self._time(f"current_timestamp() - {retention}")
            self._delta(table).vacuum()
            oldest, removed_at = self._past(table, cutoff)
        # Whoever was entered as forgotten had left the current version of every table by then, or was removed later.
        last = max((time for time in (removed_at, forgotten_at) if time is not None), default=None)
        if last is None:
            return Vacuumed(table.name, None, None, oldest)
        log_until = None
        if LOG_NAMES_USERS in properties:
            # Delta removes whole days of its log.
            log_until = self._time(f"{_instant(last)} + {_interval(properties, LOG_RETENTION)} + interval 1 day")
        return Vacuumed(table.name, self._time(f"{_instant(last)} + {retention}"), log_until, oldest)

    def stage(self, name: str, rows: DataFrame) -> DataFrame:
        """Write rows aside and read them back, so that what follows neither computes them again nor sees them change."""
        self._staged.add(name)
        if self._is_catalog:
            identifier = self._staging_identifier(name)
            self.spark.sql(f"DROP TABLE IF EXISTS {identifier}")
            rows.write.format("delta").saveAsTable(identifier)
            return self.spark.read.table(identifier)
        path = self._path(f"{STAGING}/{name}")
        rows.write.mode("overwrite").parquet(path)
        return self.spark.read.schema(rows.schema).parquet(path)

    def clear_stage(self, prefix: str = "") -> None:
        """Remove what ``stage`` wrote under names that begin so; by default all of it."""
        for name in sorted(name for name in self._staged if name.startswith(prefix)):
            if self._is_catalog:
                self.spark.sql(f"DROP TABLE IF EXISTS {self._staging_identifier(name)}")
            else:
                path = self._hadoop_path(self._path(f"{STAGING}/{name}"))
                path.getFileSystem(self._hadoop_conf()).delete(path, True)
            self._staged.remove(name)

    def checkpoint_path(self) -> str:
        """Where streams remember what they have seen. Raises WarehouseError for a catalog, which holds no files."""
        if self._is_catalog:
            raise WarehouseError(f"--warehouse {self.location} holds no files: give --checkpoints a folder for what the stream remembers")
        return f"{self._root}/{CHECKPOINTS}"

    def report_path(self) -> str:
        """Where the report of this warehouse stands. Raises WarehouseError for a catalog, which holds no files."""
        if self._is_catalog:
            raise WarehouseError(f"--warehouse {self.location}: a report is a file; give --warehouse a folder for it")
        return f"{self.location}/{REPORT}/index.html"

    def write_parquet(self, path: str, rows: DataFrame, partition_by: str | None = None) -> None:
        """Write rows to Parquet in a folder of any file system that Spark knows, for other readers, which hold a row group each."""
        writer = rows.write.mode("overwrite").option("parquet.block.size", ROW_GROUP_BYTES)
        (writer if partition_by is None else writer.partitionBy(partition_by)).parquet(path)

    def write_text(self, path: str, text: str) -> None:
        """Write a text file to any file system that Spark knows."""
        target = self._hadoop_path(path)
        stream = target.getFileSystem(self._hadoop_conf()).create(target, True)
        try:
            stream.write(bytearray(text.encode("utf-8")))
        finally:
            stream.close()

    def _overwrite(self, table: Table, rows: DataFrame, condition: str | None) -> int:
        self._ensure(table)
        self._forget_days(table)
        with self._marked("") as mark:
            self._save(table, self._shaped(table, rows), mode="overwrite", condition=condition)
        return self._count_of(table, mark, "numOutputRows")

    def _forget_days(self, table: Table) -> None:
        """Whether a day of a table has rows is to be asked again."""
        self._days = {(name, day) for name, day in self._days if name != table.name}

    def _save(self, table: Table, rows: DataFrame, mode: str, condition: str | None = None) -> None:
        if table.partition_by and not table.has_as_of:
            # One file per partition rather than one per partition and task; a large one is split.
            rows = self.spark.sql(f"SELECT /*+ REBALANCE(`{table.partition_by}`) */ * FROM {{rows}}", rows=rows)
        if self._is_catalog:
            self._save_in_catalog(table, rows, mode, condition)
            return
        writer = rows.write.format("delta").mode(mode)
        if condition is not None:
            writer = writer.option("replaceWhere", condition)
        writer.save(self._path(table.name))

    def _save_in_catalog(self, table: Table, rows: DataFrame, mode: str, condition: str | None) -> None:
        # Not saveAsTable: to overwrite, it replaces the table itself, which Delta 3.3 does not support on Spark 3.5.6 or later.
        writer = rows.writeTo(self._identifier(table.name))
        if mode == "append":
            writer.append()
        else:
            writer.overwrite(F.expr(condition or "true"))

    def _shaped(self, table: Table, rows: DataFrame) -> DataFrame:
        return rows.select(*[F.col(c.name).cast(c.dataType).alias(c.name) for c in table.schema.fields])

    def _remove(self, table: Table, rows: DataFrame, columns: Sequence[str], beginning: str = REMOVES_USERS) -> int:
        self._forget_days(table)
        with self._marked(beginning) as mark:
            self._matched(table, rows, columns).whenMatchedDelete().execute()
        return self._count_of(table, mark, "numTargetRowsDeleted")

    def _matched(self, table: Table, rows: DataFrame, columns: Sequence[str]):  # type: ignore[no-untyped-def]
        same = " AND ".join(f"target.`{c}` = source.`{c}`" for c in columns)
        return self._delta(table).alias("target").merge(rows.alias("source"), same)

    @contextmanager
    def _marked(self, beginning: str) -> Iterator[str]:
        """Commits made meanwhile carry a mark that no other commit has; it begins as asked for."""
        key, mark = "spark.databricks.delta.commitInfo.userMetadata", f"{beginning} {uuid.uuid4().hex}".strip()
        self.spark.conf.set(key, mark)
        try:
            yield mark
        finally:
            self.spark.conf.unset(key)

    @contextmanager
    def _shortened(self, table: Table, properties: Mapping[str, str], hours: int | None) -> Iterator[str]:
        """The retention of a table as an SQL interval, while it is so many hours."""
        if hours is None:
            yield _interval(properties, DATA_RETENTION)
            return
        interval = f"interval {hours} hours"
        self._set_properties(table, {DATA_RETENTION: interval, RETENTION_BEFORE: properties.get(DATA_RETENTION, "")})
        try:
            yield interval
        finally:
            self._own_retention(table)

    def _own_retention(self, table: Table) -> dict[str, str]:
        """Give a table back the retention that it had before it was shortened; returns its properties."""
        properties = self._properties(table)
        before = properties.pop(RETENTION_BEFORE, None)
        if before is None:
            return properties
        if before:
            properties[DATA_RETENTION] = before
            self._set_properties(table, {DATA_RETENTION: before})
            self._unset_properties(table, [RETENTION_BEFORE])
        else:
            del properties[DATA_RETENTION]
            self._unset_properties(table, [DATA_RETENTION, RETENTION_BEFORE])
        return properties

    def _past(self, table: Table, cutoff: datetime) -> tuple[int, datetime | None]:
        """The oldest version that has all its files, those removed before the cutoff being gone; and when users were removed last."""
        removed = F.col("userMetadata").startswith(REMOVES_USERS) & (F.expr("operationMetrics['numTargetFilesRemoved']").cast("bigint") > 0)
        kept = F.max(F.when(F.col("timestamp") <= F.lit(cutoff), F.col("version")))
        past = self._delta(table).history().select(
            F.coalesce(kept, F.min("version")).alias("oldest"), F.max(F.when(removed, F.col("timestamp"))).alias("removed_at")
        ).first()  # fmt: skip
        assert past is not None  # an aggregate without keys has one row
        return int(past["oldest"]), past["removed_at"]

    def _time(self, expression: str) -> datetime:
        row = self.spark.range(1).select(F.expr(expression).alias("time")).first()
        assert row is not None
        return row["time"]

    def _properties(self, table: Table) -> dict[str, str]:
        rows = self.spark.sql(f"SHOW TBLPROPERTIES {self._sql_name(table)}").collect()
        return {row["key"]: row["value"] for row in rows}

    def _set_properties(self, table: Table, properties: Mapping[str, str]) -> None:
        pairs = ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
        self.spark.sql(f"ALTER TABLE {self._sql_name(table)} SET TBLPROPERTIES ({pairs})")

    def _unset_properties(self, table: Table, keys: Sequence[str]) -> None:
        names = ", ".join(f"'{key}'" for key in keys)
        self.spark.sql(f"ALTER TABLE {self._sql_name(table)} UNSET TBLPROPERTIES IF EXISTS ({names})")

    def _sql_name(self, table: Table) -> str:
        if self._is_catalog:
            return self._identifier(table.name)
        return f"delta.{quote_name(self._path(table.name))}"

    def _merge(self, table: Table, rows: DataFrame):  # type: ignore[no-untyped-def]
        shaped = self._shaped(table, rows)
        repeated = shaped.groupBy(*table.key).count().where("count > 1").first()
        if repeated is not None:
            raise WarehouseError(f"{table.name}: two rows to merge have the same key {repeated.asDict()}")
        return self._matched(table, shaped, table.key)

    def _ensure(self, table: Table) -> None:
        """Make the table if it is not there; refuse one of another shape, but for columns that later versions added."""
        if table.name in self._ready:
            return
        if self.exists(table):
            self._require_same_columns(table)
            self._widen(table)
        else:
            self._create(table)
        self._ready.add(table.name)

    def _create(self, table: Table) -> None:
        builder: DeltaTableBuilder = DeltaTable.createIfNotExists(self.spark)
        builder = builder.tableName(self._delta_identifier(table.name)) if self._is_catalog else builder.location(self._path(table.name))
        builder = builder.addColumns(table.schema).comment(table.description)
        for name, value in table.properties.items():
            builder = builder.property(name, value)
        if table.partition_by:
            builder = builder.partitionedBy(table.partition_by)
        builder.execute()

    def _widen(self, table: Table) -> None:
        """Add the columns that earlier versions did not have: null in the rows so far."""
        added = table.added_since(self._read_all(table).schema)
        if added:
            columns = ", ".join(f"`{c.name}` {c.dataType.simpleString()} COMMENT '{c.metadata['comment']}'" for c in added)
            self.spark.sql(f"ALTER TABLE {self._sql_name(table)} ADD COLUMNS ({columns})")

    def _require_same_columns(self, table: Table) -> None:
        schema = self._read_all(table).schema
        found, added = {f.name: f.dataType.simpleString() for f in schema.fields}, table.added_since(schema)
        expected = {f.name: f.dataType.simpleString() for f in table.schema.fields if f not in added}
        if found != expected:
            differing = sorted(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
            details = ", ".join(f"{c}: found {found.get(c, 'nothing')}, expected {expected.get(c, 'nothing')}" for c in differing)
            raise WarehouseError(f"{self.location}: the table {table.name} has other columns ({details}). Give another --warehouse")

    def _read_all(self, table: Table, version: int | None = None) -> DataFrame:
        options = {} if version is None else {"versionAsOf": version}
        if self._is_catalog:
            return self.spark.read.options(**options).table(self._identifier(table.name))
        return self.spark.read.options(**options).format("delta").load(self._path(table.name))

    def _delta(self, table: Table) -> DeltaTable:
        if self._is_catalog:
            return DeltaTable.forName(self.spark, self._delta_identifier(table.name))
        return DeltaTable.forPath(self.spark, self._path(table.name))

    def _count_of(self, table: Table, mark: str, metric: str) -> int:
        """A count of the commit with a mark, from Delta's own record rather than from another scan.

        A write that changes nothing makes no commit; its count is 0.
        """
        commits = self._delta(table).history(COMMITS_SEARCHED).where(F.col("userMetadata") == mark)
        made = commits.select(F.col("operationMetrics")[metric].alias("count")).first()
        return 0 if made is None else int(made["count"] or 0)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _identifier(self, name: str) -> str:
        catalog, schema = self.location.split(".")
        return f"`{catalog}`.`{schema}`.`{name}`"

    def _delta_identifier(self, name: str) -> str:
        """The name for Delta's own functions, which take no catalog for a table of the session's catalog."""
        return self._identifier(name).removeprefix("`spark_catalog`.")

    def _staging_identifier(self, name: str) -> str:
        return self._identifier("_staging_" + re.sub(r"\W", "_", name))

    def _hadoop_path(self, path: str):  # type: ignore[no-untyped-def]
        return self.spark._jvm.org.apache.hadoop.fs.Path(path)  # type: ignore[union-attr]

    def _hadoop_conf(self):  # type: ignore[no-untyped-def]
        return self.spark._jsparkSession.sessionState().newHadoopConf()

    def _require_own_folder(self) -> None:
        """Refuse, before any work, a folder that is no warehouse, or whose tables are not Delta."""
        root = self._hadoop_path(self._root)
        system = root.getFileSystem(self._hadoop_conf())
        if not system.exists(root):
            return
        names = sorted(str(entry.getPath().getName()) for entry in system.listStatus(root))
        # A config may lie beside the tables.
        visible = [name for name in names if not name.startswith(".") and not name.endswith((".yaml", ".yml"))]
        known = {table.name: table for table in TABLES}
        if visible and not any(name in known or name in (STAGING, REPORT, CHECKPOINTS) for name in visible):
            raise WarehouseError(
                f"--warehouse {self.location}: not a warehouse; it holds {', '.join(visible[:NAMED_ENTRIES])} and no Delta table of this "
                "project. Give an empty folder, or one that is not there yet"
            )
        for name in visible:
            if name in known:
                self.exists(known[name])

    def _is_file(self, path: str) -> bool:
        target = self._hadoop_path(path)
        system = target.getFileSystem(self._hadoop_conf())
        return bool(system.exists(target)) and not system.getFileStatus(target).isDirectory()

    def _has_files(self, path: str) -> bool:
        target = self._hadoop_path(path)
        system = target.getFileSystem(self._hadoop_conf())
        return bool(system.exists(target)) and len(system.listStatus(target)) > 0


def _interval(properties: Mapping[str, str], key: str) -> str:
    """A duration among a table's properties as an SQL interval."""
    text = properties.get(key, DEFAULT_RETENTION[key])
    return text if text.lower().startswith("interval") else f"interval {text}"


def _instant(time: datetime) -> str:
    """A time that Spark gave, in SQL. Not as text: it has no zone, and the driver's may be another than the session's."""
    return f"timestamp_micros({round(time.timestamp() * 1_000_000)})"
