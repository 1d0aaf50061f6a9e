"""Versions, descriptions, days that expire, small files, damaged files and lost races, on tables with values."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from delta.exceptions import ConcurrentAppendException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from interest_tiers.errors import WarehouseError
from interest_tiers.storage import commits
from interest_tiers.storage.commits import retry_conflicts
from interest_tiers.storage.schemas import CLUSTERS, INTERACTIONS, ITEMS, METRICS, RUNS, USER_TIERS, USER_VECTORS
from interest_tiers.storage.snapshot import TableState
from interest_tiers.storage.table import Table, optional_column
from interest_tiers.storage.warehouse import Warehouse
from tests.storage.test_warehouse import VALID

PROJECT = Path(__file__).parents[2]

MONDAY, TUESDAY, WEDNESDAY = date(2017, 10, 9), date(2017, 10, 10), date(2017, 10, 11)


def rows(warehouse: Warehouse, table: Table, *changes: Mapping[str, Any]) -> DataFrame:
    """Make rows: the valid row of the table with some values changed."""
    values = [tuple({**VALID[table.name], **change}[name] for name in table.schema.names) for change in changes]
    return warehouse.spark.createDataFrame(values, table.schema).coalesce(1)


def event(name: str, day: date) -> dict[str, Any]:
    return {"interaction_id": name, "event_date": day, "occurred_at": datetime(day.year, day.month, day.day, 12, tzinfo=UTC)}


def test_a_pinned_read_stays_and_a_new_version_can_be_read(warehouse: Warehouse) -> None:
    warehouse.replace_day(USER_VECTORS, rows(warehouse, USER_VECTORS, {"user_id": "a"}), MONDAY)
    pinned = warehouse.version(USER_VECTORS)
    before = warehouse.read(USER_VECTORS, MONDAY, version=pinned)
    warehouse.replace_day(USER_VECTORS, rows(warehouse, USER_VECTORS, {"user_id": "b"}), MONDAY)
    assert [row["user_id"] for row in before.collect()] == ["a"]
    assert [row["user_id"] for row in warehouse.read(USER_VECTORS, MONDAY, version=pinned).collect()] == ["a"]
    assert warehouse.version(USER_VECTORS) == pinned + 1
    assert [row["user_id"] for row in warehouse.read(USER_VECTORS, MONDAY, version=pinned + 1).collect()] == ["b"]


def test_a_day_that_a_version_lacks_is_missed(warehouse: Warehouse) -> None:
    warehouse.replace_day(USER_VECTORS, rows(warehouse, USER_VECTORS, {}), MONDAY)
    pinned = warehouse.version(USER_VECTORS)
    warehouse.replace_day(USER_VECTORS, rows(warehouse, USER_VECTORS, {}), TUESDAY)
    assert warehouse.read(USER_VECTORS, TUESDAY).count() == 1
    with pytest.raises(WarehouseError, match="no rows for as_of 2017-10-10"):
        warehouse.read(USER_VECTORS, TUESDAY, version=pinned)


def test_a_version_of_a_catalog_is_read(spark: SparkSession, tmp_path: Path) -> None:
    spark.sql(f"CREATE SCHEMA pinned LOCATION '{tmp_path / 'catalog'}'")
    try:
        catalog, other = Warehouse(spark, "spark_catalog.pinned", "first"), Warehouse(spark, "spark_catalog.pinned", "second")
        catalog.replace(ITEMS, rows(catalog, ITEMS, {"item_id": "a"}))
        pinned = catalog.version(ITEMS)
        catalog.replace(ITEMS, rows(catalog, ITEMS, {"item_id": "b"}))
        assert [row["item_id"] for row in catalog.read(ITEMS, version=pinned).collect()] == ["a"]
        assert catalog.describe(ITEMS) == TableState("items", True, pinned + 1, 1)
        # Partitioned by day and rebalanced on the way.
        assert catalog.replace(INTERACTIONS, rows(catalog, INTERACTIONS, {"user_id": "a"}, {"user_id": "b"})) == 2
        assert catalog.read(INTERACTIONS).count() == 2
        with catalog.claims.hold([ITEMS], None):
            assert other.claims.live_runs() == {"first"}
            with pytest.raises(WarehouseError, match="items is being written by the run first"), other.claims.hold([ITEMS], None):
                pass
        with other.claims.hold([ITEMS], None):
            other.stage("x", spark.range(1))
            assert catalog.delete_files_of_users() == ["second"]
        assert catalog.delete_files_of_users() == []
        assert sorted(row["tableName"] for row in spark.sql("SHOW TABLES IN pinned").collect()) == ["_claims", "interactions", "items"]
    finally:
        spark.sql("DROP SCHEMA pinned CASCADE")


def test_a_table_is_described_from_its_log(warehouse: Warehouse) -> None:
    assert warehouse.describe(USER_TIERS, MONDAY) == TableState("user_tiers", exists=False, has_rows=False)
    warehouse.replace_day(USER_TIERS, rows(warehouse, USER_TIERS, {"user_id": "a"}, {"user_id": "b"}), MONDAY)
    warehouse.replace_day(USER_TIERS, rows(warehouse, USER_TIERS, {}), TUESDAY)
    version = warehouse.version(USER_TIERS)
    assert warehouse.describe(USER_TIERS) == TableState("user_tiers", True, version, 3)
    assert warehouse.describe(USER_TIERS, MONDAY) == TableState("user_tiers", True, version, 3, True, 2)
    assert warehouse.describe(USER_TIERS, WEDNESDAY) == TableState("user_tiers", True, version, 3, False, 0)
    warehouse.append(INTERACTIONS, rows(warehouse, INTERACTIONS, event("a", MONDAY), event("b", TUESDAY)))
    assert warehouse.describe(INTERACTIONS, TUESDAY) == TableState("interactions", True, 1, 2, True, 1)
    assert warehouse.describe(INTERACTIONS, MONDAY) == TableState("interactions", True, 1, 2, False, 0)
    warehouse.append(ITEMS, rows(warehouse, ITEMS, {}))
    assert warehouse.describe(ITEMS, MONDAY) == TableState("items", True, 1, 1, True, 1)


def test_a_table_of_an_earlier_version_without_partitions_is_read_written_and_described(warehouse: Warehouse) -> None:
    rows(warehouse, CLUSTERS, {}).write.format("delta").save(f"{warehouse.location}/clusters")
    assert warehouse.replace_day(CLUSTERS, rows(warehouse, CLUSTERS, {"cluster_id": "x"}), TUESDAY) == 1
    assert warehouse.replace_day(CLUSTERS, rows(warehouse, CLUSTERS, {"cluster_id": "y"}), TUESDAY) == 1
    found = {(row["cluster_id"], row["as_of"]) for row in warehouse.read(CLUSTERS).collect()}
    assert found == {("c1", MONDAY), ("y", TUESDAY)}
    assert warehouse.describe(CLUSTERS, TUESDAY) == TableState("clusters", True, 2, 2, True)
    assert warehouse.describe(CLUSTERS, WEDNESDAY) == TableState("clusters", True, 2, 2, False)


def test_old_days_of_derived_tables_expire(warehouse: Warehouse) -> None:
    for table in (USER_TIERS, METRICS, RUNS):
        warehouse.append(table, rows(warehouse, table, *[{"as_of": day} for day in (MONDAY, TUESDAY, WEDNESDAY)]))
    assert warehouse.expire_days(1, WEDNESDAY) == {"user_tiers": 1}
    assert sorted(row["as_of"] for row in warehouse.read(USER_TIERS).collect()) == [TUESDAY, WEDNESDAY]
    assert warehouse.read(METRICS).count() == warehouse.read(RUNS).count() == 3
    version = warehouse.version(USER_TIERS)
    assert warehouse.expire_days(1, WEDNESDAY) == {}
    assert warehouse.version(USER_TIERS) == version


def test_only_partitions_of_many_small_files_are_compacted(warehouse: Warehouse) -> None:
    for n in range(3):
        warehouse.append(INTERACTIONS, rows(warehouse, INTERACTIONS, event(f"m{n}", MONDAY)))
    for n in range(2):
        warehouse.append(INTERACTIONS, rows(warehouse, INTERACTIONS, event(f"t{n}", TUESDAY)))
    assert warehouse.compact_partitions(INTERACTIONS, above_files=3) == 0
    assert warehouse.compact_partitions(INTERACTIONS, above_files=2) == 3
    files = sorted(Path(name).parent.name for name in warehouse.read(INTERACTIONS).inputFiles())
    assert files == ["event_date=2017-10-09", *["event_date=2017-10-10"] * 2]
    assert warehouse.read(INTERACTIONS).count() == 5


def test_a_comment_with_an_apostrophe_widens_a_table(warehouse: Warehouse) -> None:
    warehouse.append(ITEMS, rows(warehouse, ITEMS, {}))
    column = optional_column("brand", ITEMS.schema["text"].dataType, "the item's \\ brand")
    wider = replace(ITEMS, schema=StructType([*ITEMS.schema.fields, column]), added=("brand",))
    later = Warehouse(warehouse.spark, warehouse.location)
    later.append(wider, later.spark.createDataFrame([("i2", None, None, None, None, "b")], wider.schema))
    assert later.read(wider).schema["brand"].metadata["comment"] == "the item's \\ brand"
    assert {(row["item_id"], row["brand"]) for row in later.read(wider).collect()} == {("i1", None), ("i2", "b")}


@pytest.mark.parametrize("damage", ["missing", "cut short", "cut short, without its checksum"])
def test_a_damaged_file_names_its_table_and_what_to_do(warehouse: Warehouse, damage: str) -> None:
    warehouse.append(ITEMS, rows(warehouse, ITEMS, {}))
    warehouse.replace_day(USER_TIERS, rows(warehouse, USER_TIERS, {}), MONDAY)
    (file,) = Path(warehouse.location, "user_tiers").glob("as_of=*/*.parquet")
    if damage == "missing":
        file.unlink()
    else:
        with file.open("r+b") as opened:
            opened.truncate(20)
        if damage != "cut short":
            file.with_name(f".{file.name}.crc").unlink()
    with pytest.raises(Exception) as failed:
        warehouse.read(USER_TIERS).where("p_core > 0").collect()
    told = warehouse.explain_damage(failed.value)
    assert told is not None
    assert str(told).startswith("the table user_tiers is damaged: its file ")
    assert file.name in str(told)
    assert str(told).endswith("or run the stage assign_tiers with --as-of 2017-10-09 to write it again")


def test_a_file_of_no_table_is_not_explained(warehouse: Warehouse) -> None:
    warehouse.append(ITEMS, rows(warehouse, ITEMS, {}))
    assert warehouse.explain_damage(ValueError("Encountered error while reading file file:///data/items/part-0.parquet. Details:")) is None
    assert warehouse.explain_damage(ValueError("something else")) is None


def test_a_lost_race_is_run_again_and_not_for_ever(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(commits, "FIRST_PAUSE_SECONDS", 0.0)
    outcomes: list[object] = [ConcurrentAppendException("lost", ""), ConcurrentAppendException("lost", ""), 7]

    def write() -> object:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with caplog.at_level(logging.INFO):
        assert retry_conflicts(write, "items") == 7
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == ["items: another command committed first"] * 2
    outcomes.extend(ConcurrentAppendException("lost", "") for _ in range(20))
    with pytest.raises(ConcurrentAppendException):
        retry_conflicts(write, "items")
    assert len(outcomes) == 20 - commits.ATTEMPTS


#: Writes one day of three tables, several times, as soon as the other process is ready too.
WRITER = """
import sys, time
from datetime import date
from pathlib import Path
from pyspark.sql import SparkSession
from interest_tiers.spark import session
settings = session.packaged_settings() | {"spark.master": "local[1]", "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1", "spark.driver.memory": "1g"}
session.packaged_settings = lambda: settings
from interest_tiers.storage.schemas import CLUSTERS, METRICS, RUNS
from interest_tiers.storage.warehouse import Warehouse
from tests.storage.test_warehouse import VALID
root, day = Path(sys.argv[1]), date.fromisoformat(sys.argv[2])
spark = session.build_session("writer")
warehouse = Warehouse(spark, str(root / "warehouse"))
def row(table, **changes):
    return spark.createDataFrame([tuple({**VALID[table.name], **changes}[name] for name in table.schema.names)], table.schema)
row(CLUSTERS).count()
(root / f"ready-{day}").touch()
while len(list(root.glob("ready-*"))) < 2:
    time.sleep(0.01)
with warehouse.claims.hold([CLUSTERS, METRICS], day):
    for n in range(3):
        assert warehouse.replace_day(CLUSTERS, row(CLUSTERS, size=n + 1), day) == 1
        warehouse.replace_day(METRICS, row(METRICS, as_of=day, value=float(n)), day, stage="recommend")
        warehouse.append(RUNS, row(RUNS, run_id=f"{day} {n}", as_of=day))
"""


def test_two_processes_write_two_days_from_nothing(spark: SparkSession, tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(day)], stderr=subprocess.PIPE, text=True, cwd=PROJECT)
        for day in (MONDAY, TUESDAY)
    ]
    outputs = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(text[-3000:] for text in outputs)
    warehouse = Warehouse(spark, str(tmp_path / "warehouse"))
    assert sorted((row["as_of"], row["size"]) for row in warehouse.read(CLUSTERS).collect()) == [(MONDAY, 3), (TUESDAY, 3)]
    assert sorted((row["as_of"], row["value"]) for row in warehouse.read(METRICS).collect()) == [(MONDAY, 2.0), (TUESDAY, 2.0)]
    assert warehouse.read(RUNS).select("run_id").distinct().count() == warehouse.read(RUNS).count() == 6
