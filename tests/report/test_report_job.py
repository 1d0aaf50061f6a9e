"""The stage report on a warehouse held in memory: what it reads, and what it writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers import conf
from interest_tiers.config import load_config
from interest_tiers.errors import WarehouseError
from interest_tiers.stages import report
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import (
    CLUSTERS,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    INTERESTS,
    ITEMS,
    METRICS,
    RECOMMENDATIONS,
    USER_CLUSTERS,
    USER_INTERESTS,
    USER_TIERS,
    USER_VECTORS,
    USERS,
    Table,
)
from interest_tiers.storage.warehouse import Warehouse

MONDAY, TUESDAY = date(2017, 10, 9), date(2017, 10, 10)
NOON = datetime(2017, 10, 9, 12, tzinfo=UTC)
#: One user with one interest; the quarantined row has no day.
ROWS = (
    (INTERACTIONS, ("e1", "u1", "i1", "purchase", NOON, MONDAY, 1.5, None, None, "interactions")),
    (INTERACTIONS_QUARANTINE, ("h1", ["day cannot be read"], "{}", "interactions", "r1", None, False)),
    (ITEMS, ("i1", "whole milk", "h1", "MILK", None)),
    (USERS, ("u1", {})),
    (INTERESTS, ("n1", TUESDAY, "MILK", "category", None, 1, 1, ["milk"], None, None)),
    (USER_INTERESTS, ("u1", "n1", TUESDAY, 1.0, 0.0, 1.0, 1, 1, 1, 1, 1, 1, 1, 0, 1.0, None, 1.5, None)),
    (USER_TIERS, ("u1", "n1", TUESDAY, "core", 0.7, 0.2, 0.1, "rule", "v1", False)),
    (USER_VECTORS, ("u1", TUESDAY, [0.6, 0.8])),
    (CLUSTERS, ("c1", TUESDAY, "Milk", 1, [0.6, 0.8], None, ["MILK"], "v1")),
    (USER_CLUSTERS, ("u1", "c1", TUESDAY, 1.0, True, 0.0, None, "v1")),
    (RECOMMENDATIONS, ("u1", TUESDAY, 1, "i1", 1.0, "n1", "core", "c1", "bought yesterday")),
)
MEASURED = ("r1", TUESDAY, "evaluate", "J", "model=rule_calibrated", 0.376, 0.37, 0.38)


class WarehouseInMemory:
    """Hands out frames as a Warehouse does, and keeps the texts that are written."""

    def __init__(self, spark: SparkSession, rows: Sequence[tuple[Table, tuple[Any, ...]]]) -> None:
        self.spark = spark
        # Columns that a later version added are null in rows of an earlier one.
        self.frames = {
            table.name: spark.createDataFrame([row + (None,) * (len(table.schema) - len(row))], table.schema) for table, row in rows
        }
        self.reads: dict[str, date | None] = {}
        self.written: dict[str, str] = {}

    def exists(self, table: Table) -> bool:
        return table.name in self.frames

    def read(self, table: Table, as_of: date | None = None, version: int | None = None) -> DataFrame:
        self.reads[table.name] = as_of
        return self.frames[table.name]

    def version(self, table: Table) -> int:
        return 0

    def report_path(self) -> str:
        return "warehouse/report/index.html"

    def write_text(self, path: str, text: str) -> None:
        self.written[path] = text


class CatalogInMemory(WarehouseInMemory):
    """Holds no files, as a catalog."""

    location = "main.shop"

    def report_path(self) -> str:
        raise WarehouseError("no path")


def context_of(warehouse: WarehouseInMemory) -> StageContext:
    config = load_config(Path(next(iter(conf.__path__))) / "complete_journey.yaml")
    return StageContext(config=config, warehouse=cast(Warehouse, warehouse), requested_as_of=TUESDAY)


def test_one_page_is_written_before_evaluate_has_run(spark: SparkSession) -> None:
    warehouse = WarehouseInMemory(spark, ROWS)
    result = report.run(context_of(warehouse))
    assert result == StageResult(rows_in=1, rows_out=1, message="warehouse/report/index.html")
    assert list(warehouse.written) == ["warehouse/report/index.html"]
    page = warehouse.written["warehouse/report/index.html"]
    for expected in ("complete_journey", "day cannot be read", "bought yesterday", "The back-test has not been run for 2017-10-10"):
        assert expected in page, expected


@pytest.mark.parametrize(
    ("report_to", "path"),
    [
        ("s3a://pages/shop.html", "s3a://pages/shop.html"),
        ("/reports/shop", "/reports/shop/index.html"),
        ("/reports/shop/", "/reports/shop/index.html"),
    ],
)
def test_a_catalog_has_its_report_where_report_to_says(spark: SparkSession, report_to: str, path: str) -> None:
    warehouse = CatalogInMemory(spark, ROWS)
    assert report.run(context_of(warehouse), report_to=report_to).message == path
    assert list(warehouse.written) == [path]


def test_a_catalog_without_report_to_has_no_report_and_preflight_says_so(spark: SparkSession) -> None:
    warehouse = CatalogInMemory(spark, ROWS)
    said = "no report is written: a catalog holds no files; give --report-to PATH"
    assert report.preflight(context_of(warehouse)) == [said]
    assert report.preflight(context_of(warehouse), report_to="/reports") == []
    assert report.preflight(context_of(WarehouseInMemory(spark, ROWS))) == []
    assert report.run(context_of(warehouse)) == StageResult(rows_in=0, rows_out=0, message=said)
    assert (warehouse.reads, warehouse.written) == ({}, {})


def test_the_user_is_named_only_where_that_is_asked_for(spark: SparkSession) -> None:
    pages = {}
    for show_users in (False, True):
        warehouse = WarehouseInMemory(spark, ROWS)
        report.run(context_of(warehouse), show_users=show_users)
        [page] = warehouse.written.values()
        pages[show_users] = re.sub(r'src="data:[^"]*"', "", page)
    assert "User <code>u1</code></strong>" in pages[True]
    assert "User 1</strong>" in pages[False] and "u1" not in pages[False]


def test_tables_with_days_are_read_as_of_the_day_and_the_others_whole(spark: SparkSession) -> None:
    warehouse = WarehouseInMemory(spark, [*ROWS, (METRICS, MEASURED)])
    sources = report.read_sources(context_of(warehouse))
    whole = {INTERACTIONS_QUARANTINE.name, ITEMS.name, USERS.name, METRICS.name}
    assert {name for name, as_of in warehouse.reads.items() if as_of is None} == whole
    assert set(warehouse.reads.values()) == {None, TUESDAY}
    assert (sources.metrics, sources.runs) == (warehouse.frames["metrics"], None)
