"""Ask Delta's log about a table without reading its rows: version, files, number of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from delta.tables import DeltaTable
from py4j.protocol import Py4JError
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.storage.location import Location
from interest_tiers.storage.table import Table


@dataclass(frozen=True)
class TableState:
    """What a dry run says about a table.

    n_rows: rows of the whole table; None where the log does not know.
    has_rows: whether as_of has rows; of a table with event_date, whether a day before as_of has. None without as_of.
    n_rows_as_of: the number of those rows; None where the log does not know.
    """

    table: str
    exists: bool
    version: int | None = None
    n_rows: int | None = None
    has_rows: bool | None = None
    n_rows_as_of: int | None = None


def current_version(table: DeltaTable) -> int:
    """Return the newest version of a table, from Delta's cached log: some milliseconds, where history takes a Spark job."""
    snapshot = _snapshot(table)
    if snapshot is not None:
        return int(snapshot.version())
    row = table.history(1).select("version").first()
    assert row is not None  # a Delta table has at least the commit that created it
    return int(row["version"])


def newest_commits(table: DeltaTable, searched: int) -> Iterator[dict[str, Any]]:
    """Yield what Delta recorded of the newest commits, the newest first: operationMetrics, userMetadata and more.

    searched: of how many commits at most. Each is one small file of the log; history would take a Spark job.
    """
    snapshot = _snapshot(table)
    if snapshot is None:
        for row in table.history(searched).collect():
            yield row.asDict()
        return
    log = table._jdt.deltaLog()
    conf, newest = log.newDeltaHadoopConf(), int(snapshot.version())
    for version in range(newest, max(-1, newest - searched), -1):
        path = table.toDF().sparkSession._jvm.org.apache.hadoop.fs.Path(log.logPath(), f"{version:020d}.json")  # type: ignore[union-attr]
        if not path.getFileSystem(conf).exists(path):  # older ones were cleaned up
            return
        # It is the first line; a commit of many files has many more, which are not read.
        lines = log.store().readAsIterator(path, conf)
        try:
            while lines.hasNext():
                action = json.loads(lines.next())
                if "commitInfo" in action:
                    yield action["commitInfo"]
                    break
        finally:
            lines.close()


def list_files(table: DeltaTable) -> DataFrame | None:
    """List the files of the newest version, or return None where this Delta does not open its log.

    Returns: (path, partitionValues map<string,string>, size bigint, stats string as JSON, …), one row per file
    """
    snapshot = _snapshot(table)
    return None if snapshot is None else DataFrame(snapshot.allFiles().toDF(), table.toDF().sparkSession)


def describe_table(location: Location, table: Table, as_of: date | None) -> TableState:
    """Describe a table by one Spark job on its log."""
    if not location.exists(table.name):
        return TableState(table.name, exists=False, has_rows=None if as_of is None else False)
    delta = location.delta(table.name)
    version, files = current_version(delta), list_files(delta)
    if files is None:
        return TableState(table.name, True, version, has_rows=None if as_of is None else _has_rows(location, table, as_of))
    column, seen = _partition_as_of(table, as_of)
    is_partitioned = column is not None and column in _partitions(delta)
    n_rows = F.get_json_object("stats", "$.numRecords").cast("bigint")
    value = F.col("partitionValues")[column].cast("date") if is_partitioned else F.lit(None).cast("date")
    is_seen = F.expr("true") if as_of is None else seen(value)
    found = files.select(
        F.coalesce(F.sum(n_rows), F.lit(0)).alias("n_rows"),
        F.coalesce(F.sum(F.when(is_seen, n_rows)), F.lit(0)).alias("n_rows_as_of"),
        F.count(F.when(n_rows.isNull(), True)).alias("n_unknown"),
    ).first()
    assert found is not None  # an aggregate without keys has one row
    known = found["n_unknown"] == 0
    rows = found["n_rows"] if known else None
    if as_of is None:
        return TableState(table.name, True, version, rows)
    if column is None:
        return TableState(table.name, True, version, rows, rows > 0 if rows is not None else None, rows)
    if is_partitioned and known:
        return TableState(table.name, True, version, rows, found["n_rows_as_of"] > 0, found["n_rows_as_of"])
    # A table of an earlier version, without partitions.
    return TableState(table.name, True, version, rows, _has_rows(location, table, as_of))


def count_rows_by_day(location: Location, table: Table) -> dict[date, int]:
    """Count the rows of every event_date, from Delta's log where it knows them. Days are as many as the calendar has."""
    rows, files = location.read(table.name), list_files(location.delta(table.name))
    if files is not None and "event_date" in _partitions(location.delta(table.name)):
        n_rows = F.get_json_object("stats", "$.numRecords").cast("bigint")
        day = F.col("partitionValues")["event_date"].cast("date").alias("day")
        # A file without a number makes its day's number null: then the rows are counted.
        n_rows = F.when(F.count_if(n_rows.isNull()) == 0, F.sum(n_rows)).alias("n")
        found = {row["day"]: row["n"] for row in files.groupBy(day).agg(n_rows).collect()}
        if None not in found.values():
            return found
    counted = rows.groupBy("event_date").agg(F.count(F.lit(1)).alias("n")).collect()
    return {row["event_date"]: row["n"] for row in counted}


def _partition_as_of(table: Table, as_of: date | None):  # type: ignore[no-untyped-def]
    """Return the column that decides what as_of sees, and the condition on it; None where every row is seen."""
    if table.is_derived:
        return "as_of", lambda value: value == F.lit(as_of)
    if "event_date" in table.schema.names and table.partition_by == "event_date":
        return "event_date", lambda value: value < F.lit(as_of)
    return None, lambda value: F.lit(True)


def _has_rows(location: Location, table: Table, as_of: date) -> bool:
    column, seen = _partition_as_of(table, as_of)
    rows = location.read(table.name)
    return not (rows if column is None else rows.where(seen(F.col(column)))).isEmpty()


def _partitions(table: DeltaTable) -> list[str]:
    snapshot = _snapshot(table)
    assert snapshot is not None
    return [str(name) for name in snapshot.metadata().partitionColumns().mkString("\n").split("\n")]


def _snapshot(table: DeltaTable) -> Any:
    """Return Delta's own snapshot of the newest version; None where the platform's Delta has no such class."""
    try:
        log = table._jdt.deltaLog()
        # Scala's default values are methods.
        return log.update(False, getattr(log, "update$default$2")(), getattr(log, "update$default$3")())
    except Py4JError:
        return None
