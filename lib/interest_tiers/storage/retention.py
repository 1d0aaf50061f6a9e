"""What becomes of old and small files and of old days: vacuum, retention, expired days, compaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.storage.commits import REMOVES_USERS, count_committed, mark_commits, retry_conflicts
from interest_tiers.storage.location import Location, text_literal
from interest_tiers.storage.schemas import METRICS, TABLES
from interest_tiers.storage.snapshot import list_files
from interest_tiers.storage.table import DATA_RETENTION, LOG_RETENTION, STATISTICS, Table

#: Delta's own values where a table sets none.
DEFAULT_RETENTION: Mapping[str, str] = {DATA_RETENTION: "interval 1 week", LOG_RETENTION: "interval 30 days"}

#: Our table properties: the retention to restore after a forced vacuum; a flag that old log entries may still hold user ids.
RETENTION_BEFORE, LOG_NAMES_USERS = "interest_tiers.retentionBefore", "interest_tiers.logNamesUsers"

#: A file that compaction joins with others of its partition is smaller than this.
SMALL_FILE_BYTES = 64 * 1024**2

#: Partitions that one compaction rewrites at most; the next one goes on.
PARTITIONS_AT_ONCE = 500


@dataclass(frozen=True)
class VacuumResult:
    """What can still be read of a table's past after a vacuum. Times are UTC.

    unreadable_from: from then on, after another vacuum, no file holds a forgotten user; None when nobody was forgotten.
    log_unreadable_from: the same for the log of a table that was created before its statistics left texts out; else None.
    oldest_version: the oldest version that can be read.
    """

    table: str
    unreadable_from: datetime | None
    log_unreadable_from: datetime | None
    oldest_version: int


class Retention:
    """Keeps the tables of a warehouse small, and their past as short as it must be."""

    def __init__(self, spark: SparkSession, tables: Location) -> None:
        self._spark = spark
        self._tables = tables

    def expire_days(self, retention_days: int, as_of: date) -> dict[str, int]:
        """Delete the rows of derived tables whose as_of is more than retention_days before as_of; returns the rows per table.

        Metrics stay: they are few, hold no users, and show how quality changed. A vacuum deletes the files later.
        """
        oldest = as_of - timedelta(days=retention_days)
        deleted: dict[str, int] = {}
        for table in TABLES:
            if table.is_derived and table is not METRICS and self._tables.exists(table.name):
                count = self._delete(table, f"as_of < DATE'{oldest.isoformat()}'")
                deleted |= {table.name: count} if count else {}
        return deleted

    def compact(self, table: Table, above_files: int) -> int:
        """Join the small files of a table that has more files than this, within its partitions; returns how many were replaced."""
        detail = self._tables.delta(table.name).detail().select("numFiles").first()
        assert detail is not None  # a Delta table describes itself in one row
        return self._optimize(table, None) if detail["numFiles"] > above_files else 0

    def compact_partitions(self, table: Table, above_files: int) -> int:
        """Join the small files of each partition that has more than this many of them; returns how many were replaced.

        The other partitions are neither read nor listed.
        """
        assert table.partition_by is not None
        files = list_files(self._tables.delta(table.name))
        if files is None:
            return self.compact(table, above_files)
        value = F.col("partitionValues")[table.partition_by]
        small = files.where(F.col("size") < SMALL_FILE_BYTES).groupBy(value.alias("value")).count()
        rows = small.where((F.col("count") > above_files) & F.col("value").isNotNull()).orderBy(F.desc("count"), "value")
        values = [row["value"] for row in rows.limit(PARTITIONS_AT_ONCE).collect()]
        if not values:
            return 0
        kind = table.schema[table.partition_by].dataType.simpleString()
        listed = ", ".join(f"CAST({text_literal(value)} AS {kind})" for value in values)
        return self._optimize(table, f"{table.partition_by} IN ({listed})")

    def keep_users_out_of_log(self, table: Table) -> None:
        """Stop a table of an earlier version from logging texts, and flag that its log holds some."""
        if self._properties(table).get(STATISTICS) != table.properties[STATISTICS]:
            self._set_properties(table, {STATISTICS: table.properties[STATISTICS], LOG_NAMES_USERS: "true"})

    def vacuum(self, table: Table, forgotten_at: datetime | None, retention_hours: int | None = None) -> VacuumResult:
        """Delete the files that only versions older than the table's retention need.

        forgotten_at: when a user was last entered as forgotten. retention_hours: replaces the table's retention for this vacuum.
        The retention of before comes back afterwards, by the next vacuum where this one is killed.
        """
        properties = self._restore_retention(table)
        with self._shorten(table, properties, retention_hours) as retention:
            cutoff = self._time(f"current_timestamp() - {retention}")
            self._tables.delta(table.name).vacuum()
            oldest, removed_at = self._past(table, cutoff)
        # A user entered as forgotten had left the current version of every table by then, or was removed later.
        last = max((time for time in (removed_at, forgotten_at) if time is not None), default=None)
        if last is None:
            return VacuumResult(table.name, None, None, oldest)
        log_until = None
        if LOG_NAMES_USERS in properties:
            # Delta removes whole days of its log.
            log_until = self._time(f"{_instant(last)} + {_interval(properties, LOG_RETENTION)} + interval 1 day")
        return VacuumResult(table.name, self._time(f"{_instant(last)} + {retention}"), log_until, oldest)

    def _delete(self, table: Table, condition: str) -> int:
        with mark_commits(self._spark) as mark:
            retry_conflicts(lambda: self._tables.delta(table.name).delete(condition), table.name)
        return count_committed(self._tables.delta(table.name), mark, "numDeletedRows")

    def _optimize(self, table: Table, condition: str | None) -> int:
        def optimize() -> int:
            builder = self._tables.delta(table.name).optimize()
            metrics = (builder if condition is None else builder.where(condition)).executeCompaction()
            replaced = metrics.select("metrics.numFilesRemoved").first()
            return 0 if replaced is None else int(replaced[0])

        return retry_conflicts(optimize, table.name)

    @contextmanager
    def _shorten(self, table: Table, properties: Mapping[str, str], hours: int | None) -> Iterator[str]:
        """Set the retention of a table for a while, and yield it as an SQL interval."""
        if hours is None:
            yield _interval(properties, DATA_RETENTION)
            return
        interval = f"interval {hours} hours"
        self._set_properties(table, {DATA_RETENTION: interval, RETENTION_BEFORE: properties.get(DATA_RETENTION, "")})
        try:
            yield interval
        finally:
            self._restore_retention(table)

    def _restore_retention(self, table: Table) -> dict[str, str]:
        """Restore the retention that a table had before it was shortened; returns the table's properties."""
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
        """Return the oldest version whose files were all in use at the cutoff, and the time of the newest commit that removed users."""
        removed = F.col("userMetadata").startswith(REMOVES_USERS) & (F.expr("operationMetrics['numTargetFilesRemoved']").cast("bigint") > 0)
        kept = F.max(F.when(F.col("timestamp") <= F.lit(cutoff), F.col("version")))
        past = self._tables.delta(table.name).history().select(
            F.coalesce(kept, F.min("version")).alias("oldest"), F.max(F.when(removed, F.col("timestamp"))).alias("removed_at")
        ).first()  # fmt: skip
        assert past is not None  # an aggregate without keys has one row
        return int(past["oldest"]), past["removed_at"]

    def _time(self, expression: str) -> datetime:
        row = self._spark.range(1).select(F.expr(expression).alias("time")).first()
        assert row is not None
        return row["time"]

    def _properties(self, table: Table) -> dict[str, str]:
        rows = self._spark.sql(f"SHOW TBLPROPERTIES {self._tables.name_in_sql(table.name)}").collect()
        return {row["key"]: row["value"] for row in rows}

    def _set_properties(self, table: Table, properties: Mapping[str, str]) -> None:
        pairs = ", ".join(f"{text_literal(key)} = {text_literal(value)}" for key, value in properties.items())
        self._spark.sql(f"ALTER TABLE {self._tables.name_in_sql(table.name)} SET TBLPROPERTIES ({pairs})")

    def _unset_properties(self, table: Table, keys: Sequence[str]) -> None:
        names = ", ".join(text_literal(key) for key in keys)
        self._spark.sql(f"ALTER TABLE {self._tables.name_in_sql(table.name)} UNSET TBLPROPERTIES IF EXISTS ({names})")


def _interval(properties: Mapping[str, str], key: str) -> str:
    """Return a duration from a table's properties as an SQL interval."""
    text = properties.get(key, DEFAULT_RETENTION[key])
    return text if text.lower().startswith("interval") else f"interval {text}"


def _instant(time: datetime) -> str:
    """Return a time from Spark in SQL, as a number: a text has no zone, and the driver's zone may differ from the session's."""
    return f"timestamp_micros({round(time.timestamp() * 1_000_000)})"
