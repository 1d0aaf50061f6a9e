"""Columns of raw rows: schemas of several files merged, parts united."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, NullType, StringType, StructField, StructType

from interest_tiers.config import UNREADABLE
from interest_tiers.errors import ConfigError
from interest_tiers.text import format_number, quote_name


def merge_columns(left: StructType, right: StructType) -> StructType | None:
    """Merge two schemas, fields of structs included; None where a column has two types."""
    fields = {f.name: f for f in left.fields}
    for field in right.fields:
        kind = _merge_types(fields[field.name].dataType, field.dataType) if field.name in fields else field.dataType
        if kind is None:
            return None
        fields[field.name] = StructField(field.name, kind)
    return StructType(list(fields.values()))


def unite(parts: Sequence[DataFrame]) -> DataFrame:
    """Unite frames by name; a missing column is null, and a column whose types differ becomes text."""
    kinds: dict[str, set[str]] = {}
    for part in parts:
        for field in part.schema.fields:
            if not isinstance(field.dataType, NullType):
                kinds.setdefault(field.name, set()).add(field.dataType.simpleString())
    differing = {name for name, found in kinds.items() if len(found) > 1}

    def alike(field: StructField) -> Column:
        column = F.col(quote_name(field.name))
        return format_number(column, field.dataType).alias(field.name) if field.name in differing else column

    as_texts = [part.select(*map(alike, part.schema.fields)) for part in parts]
    return reduce(lambda left, right: left.unionByName(right, allowMissingColumns=True), as_texts)


def add_missing(rows: DataFrame, known: StructType) -> DataFrame:
    """Add the columns of ``known`` that the rows lack, null in every row."""
    missing = [f for f in known.fields if f.name not in rows.columns]
    return rows.select("*", *[F.lit(None).cast(f.dataType).alias(f.name) for f in missing])


def file_columns(rows: DataFrame) -> StructType:
    """Return the schema of raw rows without the column that the reader adds."""
    return StructType([f for f in rows.schema.fields if f.name != UNREADABLE])


def merge_repeats(schema: StructType) -> StructType:
    """Merge fields of the same name, at any depth, into one."""
    kinds: dict[str, list[DataType]] = {}
    for field in schema.fields:
        kinds.setdefault(field.name, []).append(field.dataType)
    return StructType([StructField(name, _common_type(found)) for name, found in kinds.items()])


def merge_cases(schema: StructType) -> StructType:
    """Make texts of structs, below the top, that have two fields whose names differ by case alone: Spark takes them for one."""
    return StructType([StructField(f.name, _merge_cases(f.dataType)) for f in schema.fields])


def require_distinct_names(names: Sequence[str], path: str) -> None:
    """Raise ConfigError for two names that differ by case alone: Spark takes them for one."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise ConfigError(f"{path} has the columns {seen[name.lower()]!r} and {name!r}, which differ by case alone; rename one of them")
        seen[name.lower()] = name


def _merge_cases(kind: DataType) -> DataType:
    if isinstance(kind, ArrayType):
        return ArrayType(_merge_cases(kind.elementType))
    if not isinstance(kind, StructType):
        return kind
    is_distinct = len({name.lower() for name in kind.names}) == len(kind.names)
    return merge_cases(kind) if is_distinct else StringType()


def _merge_types(left: DataType, right: DataType) -> DataType | None:
    if isinstance(left, StructType) and isinstance(right, StructType):
        return merge_columns(left, right)
    if isinstance(left, ArrayType) and isinstance(right, ArrayType):
        element = _merge_types(left.elementType, right.elementType)
        return None if element is None else ArrayType(element)
    return left if left == right else None


def _common_type(kinds: Sequence[DataType]) -> DataType:
    """Return the type that holds the values of all: structs and arrays merged, text where they differ."""
    if all(isinstance(kind, StructType) for kind in kinds):
        return merge_repeats(StructType([field for kind in kinds for field in kind.fields]))  # type: ignore[attr-defined]
    if all(isinstance(kind, ArrayType) for kind in kinds):
        return ArrayType(_common_type([kind.elementType for kind in kinds]))  # type: ignore[attr-defined]
    return kinds[0] if all(kind == kinds[0] for kind in kinds) else StringType()
