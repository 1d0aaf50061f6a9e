"""Delta tables as sources: what was added since, and when that cannot be told."""

from __future__ import annotations

import re
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.sources.delta import has_only_grown, read_added_rows
from interest_tiers.sources.files import list_files


def test_a_delta_table_has_grown_until_rows_are_removed(spark: SparkSession, tmp_path: Path) -> None:
    table = str(tmp_path / "table")
    events = spark.createDataFrame([("u1", 1)], "user string, n int")
    events.write.format("delta").save(table)
    [entry] = list_files(spark, table, "delta", {}).collect()
    assert (entry["path"], entry["state"].split(" of ")[0]) == (table, "version 0")
    assert has_only_grown(spark, table, entry["state"])
    events.write.format("delta").mode("append").save(table)
    spark.sql(f"OPTIMIZE delta.`{table}`")
    assert has_only_grown(spark, table, entry["state"])
    assert not has_only_grown(spark, table, "version 0 of another-table")
    spark.sql(f"DELETE FROM delta.`{table}` WHERE n = 1")
    assert not has_only_grown(spark, table, entry["state"])


def test_only_added_rows_of_a_delta_table_are_read(spark: SparkSession, tmp_path: Path) -> None:
    table = f"{tmp_path}/events"

    def state() -> str:
        [entry] = list_files(spark, table, "delta", {}).collect()
        return entry["state"]

    def append(first: int, last: int) -> None:
        rows = spark.range(first, last).select("id", F.lit("2024-01-01").alias("day"), F.lit(None).cast("string").alias("note"))
        rows.write.format("delta").mode("append").option("mergeSchema", "true").partitionBy("day").save(table)

    def added(before: str, now: str) -> list[tuple[int, str]] | None:
        rows = read_added_rows(spark, table, {}, before, now)
        return None if rows is None else sorted((row["id"], row["day"]) for row in rows.select("id", "day").collect())

    append(0, 3)
    first = state()
    append(3, 5)
    middle = state()
    append(5, 6)
    spark.sql(f"OPTIMIZE delta.`{table}`")
    last = state()
    assert added(first, last) == [(3, "2024-01-01"), (4, "2024-01-01"), (5, "2024-01-01")]
    assert added(first, middle) == [(3, "2024-01-01"), (4, "2024-01-01")]
    assert added(last, last) == []
    read = read_added_rows(spark, table, {}, first, last)
    assert read is not None
    # The files of version 0 and the file that OPTIMIZE wrote are not touched.
    assert len(read.inputFiles()) == len(set(spark.read.format("delta").option("versionAsOf", 2).load(table).inputFiles())) - len(
        set(spark.read.format("delta").option("versionAsOf", 0).load(table).inputFiles())
    )
    assert read_added_rows(spark, table, {"versionAsOf": "0"}, first, last) is None
    assert added("version 0 of another-table", last) is None
    spark.sql(f"UPDATE delta.`{table}` SET note = 'x' WHERE id = 1")
    assert added(first, state()) is None


def test_added_rows_are_not_read_where_a_vacuum_deleted_their_files(spark: SparkSession, tmp_path: Path) -> None:
    table = f"{tmp_path}/events"
    spark.range(3).coalesce(1).write.format("delta").save(table)
    [before] = list_files(spark, table, "delta", {}).collect()
    spark.range(3, 5).coalesce(1).write.format("delta").mode("append").save(table)
    [added] = set(spark.read.format("delta").load(table).inputFiles()) - set(
        spark.read.format("delta").option("versionAsOf", 0).load(table).inputFiles()
    )
    spark.sql(f"OPTIMIZE delta.`{table}`")
    Path(re.sub("^file:/+", "/", added)).unlink()
    [now] = list_files(spark, table, "delta", {}).collect()
    assert read_added_rows(spark, table, {}, before["state"], now["state"]) is None
