"""Where the tables of a warehouse are: in a folder of any file system, or in a schema of a catalog."""

from __future__ import annotations

from typing import Any, Protocol

from delta.tables import DeltaTable, DeltaTableBuilder
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.errors import WarehouseError
from interest_tiers.storage.files import Files
from interest_tiers.text import quote_name


class Location(Protocol):
    """Finds, reads and writes Delta tables by name."""

    def exists(self, name: str) -> bool: ...

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """Read a table, at one version where one is given."""
        ...

    def delta(self, name: str) -> DeltaTable:
        """Open a table for merges, deletes and its history."""
        ...

    def name_in_sql(self, name: str) -> str:
        """Return the name of a table as SQL statements need it."""
        ...

    def builder(self, name: str) -> DeltaTableBuilder:
        """Start to create a table that may exist already."""
        ...

    def save(self, name: str, rows: DataFrame, mode: str, condition: str | None) -> None:
        """Append rows, or overwrite those that satisfy a condition; without a condition all."""
        ...


class Folder:
    """Delta tables in a folder, one folder each."""

    def __init__(self, spark: SparkSession, files: Files, location: str) -> None:
        """Open a folder. Raises WarehouseError when it is a file."""
        self.spark = spark
        self.files = files
        # Delta takes no relative path, and Hadoop decides which file system a bare path means.
        self.root = files.qualified(location)
        if files.is_file(self.root):
            raise WarehouseError(f"--warehouse {location} is a file. Give a folder or catalog.schema")

    def path(self, name: str) -> str:
        """Return the path of a table or of another folder of the warehouse."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the table exists. Raises WarehouseError for a folder of its name that is not a Delta table."""
        path = self.path(name)
        if DeltaTable.isDeltaTable(self.spark, path):
            return True
        names = self.files.list(path)
        # Another command may be about to commit the first version: its log has a folder already.
        if names and "_delta_log" not in names:
            raise WarehouseError(
                f"{path} is not a Delta table (it has files but no _delta_log). Give another --warehouse, or move that folder away"
            )
        return False

    def read(self, name: str, version: int | None = None) -> DataFrame:
        reader = self.spark.read.format("delta")
        return (reader if version is None else reader.option("versionAsOf", version)).load(self.path(name))

    def delta(self, name: str) -> DeltaTable:
        return DeltaTable.forPath(self.spark, self.path(name))

    def name_in_sql(self, name: str) -> str:
        return f"delta.{quote_name(self.path(name))}"

    def builder(self, name: str) -> DeltaTableBuilder:
        return DeltaTable.createIfNotExists(self.spark).location(self.path(name))

    def save(self, name: str, rows: DataFrame, mode: str, condition: str | None) -> None:
        writer = rows.write.format("delta").mode(mode)
        if condition is not None:
            writer = writer.option("replaceWhere", condition)
        writer.save(self.path(name))


class Catalog:
    """Delta tables in a schema of a catalog."""

    def __init__(self, spark: SparkSession, location: str) -> None:
        """Open a schema. Raises WarehouseError when it does not exist."""
        self.spark = spark
        self.schema = ".".join(quote_name(part) for part in location.split("."))
        if not self._schema_exists():
            raise WarehouseError(
                f"--warehouse {location}: there is no such schema. Create it with CREATE SCHEMA, or write ./{location} for a folder"
            )

    def exists(self, name: str) -> bool:
        return self.spark.catalog.tableExists(self.name_in_sql(name))

    def read(self, name: str, version: int | None = None) -> DataFrame:
        if version is None:
            return self.spark.read.table(self.name_in_sql(name))
        return self.spark.sql(f"SELECT * FROM {self.name_in_sql(name)} VERSION AS OF {version}")

    def delta(self, name: str) -> DeltaTable:
        return DeltaTable.forName(self.spark, self._name_in_delta(name))

    def name_in_sql(self, name: str) -> str:
        return f"{self.schema}.{quote_name(name)}"

    def builder(self, name: str) -> DeltaTableBuilder:
        return DeltaTable.createIfNotExists(self.spark).tableName(self._name_in_delta(name))

    def save(self, name: str, rows: DataFrame, mode: str, condition: str | None) -> None:
        # Not saveAsTable: an overwrite replaces the table itself, which Delta 3.3 does not support from Spark 3.5.6 on.
        writer = rows.writeTo(self.name_in_sql(name))
        if mode == "append":
            writer.append()
        else:
            writer.overwrite(F.expr(condition or "true"))

    def create(self, name: str, rows: DataFrame) -> DataFrame:
        """Create or replace a table that belongs to one run, and read it back."""
        self.drop(name)
        rows.write.format("delta").saveAsTable(self.name_in_sql(name))
        return self.read(name)

    def drop(self, name: str) -> None:
        """Drop a table if it exists."""
        self.spark.sql(f"DROP TABLE IF EXISTS {self.name_in_sql(name)}")

    def list(self, prefix: str) -> list[str]:
        """List the tables whose names start with a prefix."""
        rows = self.spark.sql(f"SHOW TABLES IN {self.schema}").collect()
        return sorted(row["tableName"] for row in rows if row["tableName"].startswith(prefix))

    def _name_in_delta(self, name: str) -> str:
        # Delta's own functions take no catalog for a table of the session's catalog.
        return self.name_in_sql(name).removeprefix("`spark_catalog`.")

    def _schema_exists(self) -> bool:
        try:
            return self.spark.catalog.databaseExists(self.schema)
        except AnalysisException:  # the catalog itself does not exist
            return False


def text_literal(value: Any) -> str:
    """Return a text as an SQL literal, whatever characters it holds."""
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
