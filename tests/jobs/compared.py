"""Two warehouses, table by table."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.storage.schemas import DATA_QUALITY, FORGOTTEN_USERS, METRICS, RUNS, TABLES, USERS, Table
from interest_tiers.storage.warehouse import Warehouse

#: Tables that say something of the data rather than of a run, as the pipeline leaves them.
LASTING = [table for table in TABLES if table not in (RUNS, DATA_QUALITY, FORGOTTEN_USERS)]
DERIVED = [table for table in TABLES if table.has_as_of and table not in (RUNS, METRICS)]


def rows_of(spark: SparkSession, warehouse: str, table: Table) -> DataFrame:
    """A table without the names of the runs that wrote it."""
    rows = Warehouse(spark, warehouse).read(table)
    return rows.drop("run_id") if "run_id" in rows.columns else rows


def assert_same_rows(spark: SparkSession, actual: str, expected: str, tables: list[Table]) -> None:
    for table in tables:
        found, wanted = (rows_of(spark, warehouse, table) for warehouse in (actual, expected))
        if table is USERS:  # maps cannot be compared
            found, wanted = (rows.selectExpr("user_id", "to_json(attributes) AS attributes") for rows in (found, wanted))
        assertDataFrameEqual(found, wanted, rtol=1e-9, atol=1e-9)
