"""Reads a few rows of a warehouse for a person: tables in a local folder or on S3 without a JVM, all others by Spark.

Stages read frames by warehouse.py. Here every answer is bounded, by a user, a cluster or a limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from interest_tiers.errors import WarehouseError
from interest_tiers.storage.address import is_local_folder, is_on_s3

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import Column, DataFrame, SparkSession

    from interest_tiers.storage.warehouse import Warehouse

Value = str | bool | int | date
Row = dict[str, Any]

#: Conditions that all hold: a column and its value, or the values that it may have.
Where = Mapping[str, Value | Sequence[Value]]


class RowReader(Protocol):
    """Reads rows as dictionaries, from the newest version of a table.

    A column that tables of earlier versions lack is None. Raises WarehouseError where there is no such table.
    """

    location: str

    def select(self, table: str, columns: Sequence[str], where: Where, order_by: str = "", limit: int | None = None) -> list[Row]:
        """Select rows. order_by: a column, and DESC where the largest comes first; limit: at most so many rows."""
        ...

    def list_days(self, table: str, where: Where) -> list[date]:
        """List the distinct as_of of the rows, the newest first."""
        ...

    def find_nearest(self, table: str, where: Where, vector: Sequence[float], limit: int) -> list[tuple[str, float]]:
        """Find the users whose vectors are nearest to one: user_id and Euclidean distance, the nearest first."""
        ...


def open_rows(location: str, build_session: Callable[[], SparkSession], by_spark: bool = False) -> RowReader:
    """Open a warehouse for reading.

    build_session: called where Spark is needed. by_spark: read a local folder and S3 by Spark too, as all else is.
    """
    is_for_delta_rs = is_local_folder(location) or is_on_s3(location)
    return FolderRows(location) if is_for_delta_rs and not by_spark else SparkRows(location, build_session)


class FolderRows:
    """Tables in a local folder or on S3, read without a JVM by delta-rs.

    For S3, the environment has the credentials and the region or endpoint: AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL, ...
    """

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")

    def select(self, table: str, columns: Sequence[str], where: Where, order_by: str = "", limit: int | None = None) -> list[Row]:
        delta = self._open(table)
        known = {field.name for field in delta.schema().fields}
        listed = ", ".join(_quote(name) if name in known else f"NULL AS {_quote(name)}" for name in columns)
        query = f"SELECT {listed} FROM rows {_conditions(where)}"
        if order_by:
            query += f" ORDER BY {order_by}"
        return self._query(delta, query if limit is None else f"{query} LIMIT {limit}")

    def list_days(self, table: str, where: Where) -> list[date]:
        rows = self._query(self._open(table), f"SELECT DISTINCT as_of FROM rows {_conditions(where)} ORDER BY as_of DESC")
        return [row["as_of"] for row in rows]

    def find_nearest(self, table: str, where: Where, vector: Sequence[float], limit: int) -> list[tuple[str, float]]:
        given = ", ".join(f"CAST({float(number)!r} AS FLOAT)" for number in vector)
        distance = f"array_distance(vector, make_array({given}))"
        query = f"SELECT user_id, {distance} AS distance FROM rows {_conditions(where)} ORDER BY distance, user_id LIMIT {limit}"
        return [(row["user_id"], row["distance"]) for row in self._query(self._open(table), query)]

    def _open(self, table: str) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        address = f"{self.location}/{table}" if is_on_s3(self.location) else self._local_address(table)
        try:
            return DeltaTable(address)
        except TableNotFoundError as error:
            raise _missing(self.location, table) from error
        except (DeltaError, OSError) as error:
            raise WarehouseError(f"{self.location}/{table} cannot be read without Spark: {error}. Add --spark") from error

    def _local_address(self, table: str) -> str:
        path = Path(re.sub("^file:(//)?", "", self.location)) / table
        if not (path / "_delta_log").is_dir():
            raise _missing(self.location, table)
        return path.resolve().as_uri()

    def _query(self, delta: DeltaTable, query: str) -> list[Row]:
        from deltalake import QueryBuilder
        from deltalake.exceptions import DeltaError

        try:
            answer = QueryBuilder().register("rows", delta).execute(query).read_all()
        except (DeltaError, OSError) as error:
            raise WarehouseError(f"{delta.table_uri} cannot be read: {error}") from error
        columns = [column.to_pylist() for column in answer.columns]
        return [dict(zip(answer.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


class SparkRows:
    """Tables in a catalog, or on any file system that Spark knows."""

    def __init__(self, location: str, build_session: Callable[[], SparkSession]) -> None:
        self.location = location.rstrip("/")
        self._build_session = build_session

    @cached_property
    def _warehouse(self) -> Warehouse:
        from interest_tiers.storage.warehouse import Warehouse

        return Warehouse(self._build_session(), self.location)

    def select(self, table: str, columns: Sequence[str], where: Where, order_by: str = "", limit: int | None = None) -> list[Row]:
        from pyspark.sql import functions as F

        rows = self._filter(table, where)
        if order_by:
            rows = rows.orderBy(F.expr(order_by.split(" ")[0]).desc() if order_by.endswith(" DESC") else F.expr(order_by))
        rows = rows.select(*columns)
        return [row.asDict(recursive=True) for row in (rows if limit is None else rows.limit(limit)).collect()]

    def list_days(self, table: str, where: Where) -> list[date]:
        rows = self._filter(table, where).select("as_of").distinct().collect()
        return sorted((row["as_of"] for row in rows), reverse=True)

    def find_nearest(self, table: str, where: Where, vector: Sequence[float], limit: int) -> list[tuple[str, float]]:
        from pyspark.sql import functions as F

        given = F.array(*(F.lit(float(number)).cast("float") for number in vector))
        squares = F.zip_with("vector", given, lambda left, right: (left - right) * (left - right))
        distance = F.sqrt(F.aggregate(squares, F.lit(0.0), lambda total, square: total + square))
        rows = self._filter(table, where).select("user_id", distance.alias("distance"))
        return [(row["user_id"], row["distance"]) for row in rows.orderBy("distance", "user_id").limit(limit).collect()]

    def _filter(self, table: str, where: Where) -> DataFrame:
        from interest_tiers.storage.schemas import TABLES

        declared = next(each for each in TABLES if each.name == table)
        rows = self._warehouse.read(declared)
        for name, value in where.items():
            rows = rows.where(_condition(name, value))
        return rows


def _condition(name: str, value: Value | Sequence[Value]) -> Column:
    from pyspark.sql import functions as F

    return F.col(name) == value if isinstance(value, Value) else F.col(name).isin(*value)


def _missing(location: str, table: str) -> WarehouseError:
    from interest_tiers.storage.schemas import TABLES

    stage = next(each.stage for each in TABLES if each.name == table)
    return WarehouseError(f"{location} has no table {table}: run the stage {stage} first")


def _conditions(where: Where) -> str:
    parts = [
        f"{_quote(name)} = {_literal(value)}"
        if isinstance(value, Value)
        else f"{_quote(name)} IN ({', '.join(map(_literal, value))})"
        if value
        else "FALSE"
        for name, value in where.items()
    ]
    return f"WHERE {' AND '.join(parts)}" if parts else ""


def _quote(name: str) -> str:
    return f'"{name}"'


def _literal(value: Value) -> str:
    if isinstance(value, str):
        escaped = value.replace("'", "''")
        return f"'{escaped}'"
    return f"DATE '{value.isoformat()}'" if isinstance(value, date) else str(value).upper()
