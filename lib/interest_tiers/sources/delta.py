"""Delta tables as sources: their state, whether they only grew, and the rows that a span of versions added."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from delta.tables import DeltaTable
from py4j.protocol import Py4JError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.sources.faults import read_or_config_error

#: How the state of a Delta table reads.
DELTA_STATE = "version %d of %s"

#: Operations that change no rows.
NEUTRAL_OPERATIONS = (
    "OPTIMIZE",
    "VACUUM START",
    "VACUUM END",
    "SET TBLPROPERTIES",
    "UNSET TBLPROPERTIES",
    "ADD CONSTRAINT",
    "CHANGE COLUMN",
)


def delta_state(spark: SparkSession, path: str) -> DataFrame:
    """Return a Delta table as one entry: (path string, state string), its version and id."""
    table = _delta_table(spark, path)
    version = table.history(1).select("version").crossJoin(table.detail().select("id"))
    return version.select(F.lit(path).alias("path"), F.format_string(DELTA_STATE, "version", "id").alias("state"))


def has_only_grown(spark: SparkSession, path: str, state: str) -> bool:
    """Whether a Delta table that was in this state has only had rows added since, as far as its history shows."""
    table, version = _delta_table(spark, path), _version_of(state, _id_of(spark, path))
    if version is None:
        return False
    since = table.history().where(F.col("version") > version)
    is_addition = F.coalesce("isBlindAppend", F.lit(False)) | F.col("operation").isin(*NEUTRAL_OPERATIONS)
    counted = since.agg(F.min("version").alias("first"), F.coalesce(F.every(is_addition), F.lit(True)).alias("only_added")).first()
    assert counted is not None  # an aggregate without keys has one row
    # History that was cleaned up proves nothing.
    return counted["first"] in (None, version + 1) and counted["only_added"]


def read_delta(spark: SparkSession, path: str, options: Mapping[str, str]) -> DataFrame:
    """Read a whole Delta table, by its path or its name in a catalog."""
    reader = spark.read.options(**options).format("delta")
    return reader.table(path) if _is_table_name(path) else reader.load(path)


def read_added_rows(spark: SparkSession, path: str, options: Mapping[str, str], before: str, now: str) -> DataFrame | None:
    """Read the rows that were added to a Delta table between two states, and no others.

    Only files that the log lists as new data are read; a file that OPTIMIZE wrote holds old rows.
    Returns None where this cannot be proven or read: rows were removed or changed, the log or a file was cleaned up,
    an option chooses what is read, or the runtime hides Delta's log.
    """
    table, table_id = _delta_table(spark, path), _id_of(spark, path)
    first, last = _version_of(before, table_id), _version_of(now, table_id)
    if options or first is None or last is None:
        return None
    try:
        log = table._jdt.deltaLog()
    except Py4JError:
        return None
    added = _added_files(spark, log, first, last)
    if added is None:
        return None
    empty = spark._jvm.scala.Option.empty()  # type: ignore[union-attr]
    files = spark._jvm.org.apache.spark.api.python.PythonUtils.toSeq(added)  # type: ignore[union-attr]
    return DataFrame(log.createDataFrame(log.getSnapshotAt(last, empty, empty), files, False, empty), spark)


def delta_folder(spark: SparkSession, path: str) -> str:
    """Return the folder of a Delta table."""
    detail = _delta_table(spark, path).detail().select("location").first()
    assert detail is not None  # a Delta table describes itself in one row
    return str(detail["location"])


def _added_files(spark: SparkSession, log: Any, first: int, last: int) -> list[Any] | None:
    """Return the files of new data in the versions after first up to last; None where rows left or a file is gone."""
    jvm: Any = spark._jvm
    added: dict[str, Any] = {}
    rewritten: set[str] = set()
    changes, expected = log.getChanges(first + 1, last, False), first + 1
    while changes.hasNext():
        version = changes.next()
        if int(version._1()) != expected:
            return None
        expected += 1
        actions = version._2().iterator()
        while actions.hasNext():
            action = actions.next()
            kind = action.getClass().getSimpleName()
            if kind == "AddFile" and action.dataChange():
                added[action.path()] = action
            elif kind == "RemoveFile" and action.dataChange():
                return None
            elif kind == "RemoveFile":
                rewritten.add(action.path())
    if expected <= last:
        return None
    # A vacuum may have deleted what OPTIMIZE replaced.
    paths = [
        jvm.org.apache.hadoop.fs.Path(log.dataPath(), jvm.org.apache.hadoop.fs.Path(jvm.java.net.URI(p))) for p in added.keys() & rewritten
    ]
    system = log.dataPath().getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
    return list(added.values()) if all(system.exists(path) for path in paths) else None


def _version_of(state: str, table_id: str) -> int | None:
    """Return the version in a state; None for the state of another table."""
    found = re.fullmatch(r"version (\d+) of (\S+)", state)
    return int(found.group(1)) if found is not None and found.group(2) == table_id else None


def _id_of(spark: SparkSession, path: str) -> str:
    detail = _delta_table(spark, path).detail().select("id").first()
    assert detail is not None  # a Delta table describes itself in one row
    return str(detail["id"])


def _delta_table(spark: SparkSession, path: str) -> DeltaTable:
    def open_table() -> DeltaTable:
        return DeltaTable.forName(spark, path) if _is_table_name(path) else DeltaTable.forPath(spark, path)

    return read_or_config_error(path, "delta", open_table)


def _is_table_name(path: str) -> bool:
    return re.fullmatch(r"\w+(\.\w+){1,2}", path) is not None
