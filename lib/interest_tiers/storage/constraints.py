"""Find and add the CHECK constraints that a table of an earlier version lacks."""

from __future__ import annotations

from pyspark.sql import SparkSession

from interest_tiers.storage.location import Location
from interest_tiers.storage.table import Table


def find_missing_constraints(location: Location, table: Table) -> list[str]:
    """List the names of the declared constraints that a table lacks."""
    details = location.delta(table.name).detail().select("properties").first()
    assert details is not None  # a Delta table describes itself in one row
    return [name for name in table.constraints if f"delta.constraints.{name}" not in details["properties"]]


def add_constraints(spark: SparkSession, location: Location, table: Table, names: list[str]) -> None:
    """Add declared constraints. Delta reads the table, and raises an error where a row breaks one."""
    for name in names:
        spark.sql(f"ALTER TABLE {location.name_in_sql(table.name)} ADD CONSTRAINT {name} CHECK ({table.constraints[name]})")
