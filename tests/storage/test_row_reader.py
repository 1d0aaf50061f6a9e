"""Delta-rs and Spark give the same answers on tables of either writer."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers.storage.row_reader import FolderRows, SparkRows, open_rows
from interest_tiers.storage.schemas import USER_VECTORS, USERS
from interest_tiers.storage.warehouse import Warehouse

DAY = date(2024, 4, 1)


@pytest.fixture
def location(spark: SparkSession, warehouse: Warehouse) -> str:
    vectors = [("a", [1.0, 0.0]), ("b", [0.6, 0.8]), ("c", [0.0, 1.0])]
    warehouse.replace_day(USER_VECTORS, spark.createDataFrame(vectors, "user_id string, vector array<float>"), DAY)
    warehouse.replace(USERS, spark.createDataFrame([("a", {"age": "30"}), ("b'", {})], USERS.schema))
    warehouse.replace(USERS, spark.createDataFrame([("a", {"age": "31"}), ("b'", {})], USERS.schema))
    return warehouse.location


def test_both_readers_agree(spark: SparkSession, location: str) -> None:
    by_spark, without = SparkRows(location, lambda: spark), FolderRows(location)
    for where in ({}, {"user_id": "b'"}, {"user_id": ["a", "b'"]}, {"user_id": []}):
        found = [reader.select("users", ["user_id", "attributes"], where, order_by="user_id DESC") for reader in (by_spark, without)]
        assert [(row["user_id"], dict(row["attributes"])) for row in found[0]] == [
            (row["user_id"], dict(row["attributes"])) for row in found[1]
        ]
    assert by_spark.list_days("user_vectors", {}) == without.list_days("user_vectors", {}) == [DAY]
    for reader in (by_spark, without):
        near = reader.find_nearest("user_vectors", {"as_of": DAY}, [1.0, 0.0], limit=2)
        assert [user for user, _ in near] == ["a", "b"]
        assert near[1][1] == pytest.approx((2 - 2 * 0.6) ** 0.5, abs=1e-6)


def test_a_folder_and_s3_are_read_without_spark_unless_asked(tmp_path: Path) -> None:
    def build() -> SparkSession:
        raise AssertionError("no session is built before a row is read")

    assert isinstance(open_rows(str(tmp_path), build), FolderRows)
    assert isinstance(open_rows(f"file://{tmp_path}", build), FolderRows)
    for location in ("s3a://bucket/tiers", "s3://bucket/tiers"):
        assert isinstance(open_rows(location, build), FolderRows)
        assert isinstance(open_rows(location, build, by_spark=True), SparkRows)
    for location in ("main.tiers", "abfss://box@account.dfs.core.windows.net/tiers", "gs://bucket/tiers"):
        assert isinstance(open_rows(location, build), SparkRows)
    assert isinstance(open_rows(str(tmp_path), build, by_spark=True), SparkRows)


def test_tables_that_another_tool_gave_newer_features_are_read_too(spark: SparkSession, tmp_path: Path) -> None:
    """Deletion vectors, and a column that was renamed and made again."""
    users, items = f"delta.`{tmp_path}/users`", f"delta.`{tmp_path}/items`"
    spark.sql(f"CREATE TABLE {users} (user_id string) USING delta TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    spark.sql(f"INSERT INTO {users} SELECT /*+ COALESCE(1) */ CAST(id AS string) FROM range(4)")
    spark.sql(f"DELETE FROM {users} WHERE user_id = '2'")
    versions = "'delta.minReaderVersion' = '2', 'delta.minWriterVersion' = '5'"
    spark.sql(
        f"CREATE TABLE {items} (item_id string, text string) USING delta TBLPROPERTIES ('delta.columnMapping.mode' = 'name', {versions})"
    )
    spark.sql(f"INSERT INTO {items} VALUES ('i1', 'old')")
    spark.sql(f"ALTER TABLE {items} RENAME COLUMN text TO was")
    spark.sql(f"ALTER TABLE {items} ADD COLUMN text string")
    rows = FolderRows(str(tmp_path))
    assert [row["user_id"] for row in rows.select("users", ["user_id"], {}, order_by="user_id")] == ["0", "1", "3"]
    assert rows.select("items", ["item_id", "was", "text"], {}) == [{"item_id": "i1", "was": "old", "text": None}]
