"""Makes rows of what a source's files hold: joins, lists and wide tables to rows, rows to leave out.

Whatever a step adds for its own use is a hidden column. Hidden columns are no part of a row's fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, MapType, StructField

from interest_tiers.cleaning.columns import (
    given_column,
    identifier,
    is_unreadable,
    kind_of,
    require_columns,
    require_sql,
    require_sql_column,
    source_column,
)
from interest_tiers.config import UNREADABLE, Explode, Join, Source, Unpivot
from interest_tiers.errors import ConfigError
from interest_tiers.text import format_number, quote_name, wildcard_to_regex

#: Joins, by path, whose table has no row, or several different rows, with the key: array<string>.
UNMATCHED, AMBIGUOUS = "__unmatched", "__ambiguous"

#: Whether a row is left out, which is no fault.
LEFT_OUT = "__left_out"

HIDDEN = (UNMATCHED, AMBIGUOUS, LEFT_OUT)

#: Names that no source would use.
_KEY, _MATCH, _CELL = "__key_{}", "__match", "__cell"


def own_columns(rows: DataFrame) -> list[str]:
    """List the columns of shaped rows that are not hidden."""
    return [c for c in rows.columns if c not in HIDDEN]


def ambiguous_reasons(rows: DataFrame, source: Source) -> dict[str, Column]:
    """Return a reason for each join whose key several different rows have: reason to condition."""
    return {
        f"join: {join.path} has several rows for {', '.join(join.on)}": F.array_contains(AMBIGUOUS, join.path)
        for join in source.join
        if AMBIGUOUS in rows.columns
    }


def shape_rows(rows: DataFrame, source: Source, joined: Sequence[DataFrame], key: str, path: str) -> DataFrame:
    """Apply what the config says of a source's rows: join, explode, unpivot, where.

    rows:      as the files have them
    joined:    the tables of source.join
    key, path: of the source, in messages
    Returns:   the rows; with joins also UNMATCHED and AMBIGUOUS; with unpivot or where also LEFT_OUT.
               A row without elements stays, with null in source.element. A line that cannot be read is never left out.
    Raises ConfigError for a column or SQL that does not fit.
    """
    for position, (join, table) in enumerate(zip(source.join, joined, strict=True)):
        rows = _join(rows, join, table, f"{key}.join[{position}]", path)
    if source.explode is not None:
        rows = _explode(rows, source.explode, key, path)
    if source.unpivot is not None:
        rows = _unpivot(rows, source.unpivot, f"{key}.unpivot", path)
    return _mark_left_out(rows, source.where, key, path) if source.where else rows


def split_left_out(rows: DataFrame) -> tuple[DataFrame, DataFrame | None]:
    """Split shaped rows into those that stay and those that are left out; None where nothing could be."""
    if LEFT_OUT not in rows.columns:
        return rows, None
    return rows.where(~F.col(LEFT_OUT)).drop(LEFT_OUT), rows.where(LEFT_OUT)


def _join(rows: DataFrame, join: Join, table: DataFrame, key: str, path: str) -> DataFrame:
    require_columns(rows.select(*map(source_column, own_columns(rows))), {f"{key}.on": list(join.on)}, path)
    require_columns(table, {f"{key}.on": list(join.on.values())}, join.path)
    added = join.columns
    if added is None:
        added = {c: c for c in table.columns if c not in join.on.values() and c != UNREADABLE}
    require_columns(table, {f"{key}.columns": list(added.values())}, join.path)
    if not added:
        raise ConfigError(f"{key}: {join.path} has no columns but its keys, so there is nothing to add; remove the join")
    clash = next((name for name in added if name.lower() in {c.lower() for c in rows.columns}), None)
    if clash is not None:
        raise ConfigError(
            f"{key}: the rows of {path} have a column {clash!r} already. Name in {key}.columns what to add, "
            f"such as [{', '.join(name for name in added if name != clash) or '…'}], or rename it: {{joined_{clash}: {clash}}}"
        )
    keys = [_KEY.format(position) for position in range(len(join.on))]
    right = _one_row_per_key(table, dict(zip(keys, join.on.values(), strict=True)), added)
    left = rows.select("*", *[_id_of(rows, name).alias(key) for key, name in zip(keys, join.on, strict=True)])
    is_none, is_several = F.col(_MATCH).isNull(), F.col(f"{_MATCH}.is_ambiguous")
    # A line that cannot be read has a reason of its own.
    is_none = is_none & ~is_unreadable(rows)
    return left.join(right, keys, "left").select(
        *[source_column(c) for c in rows.columns if c not in HIDDEN],
        *[F.col(f"{_MATCH}.row.{quote_name(name)}").alias(name) for name in added],
        _noted(rows, UNMATCHED, is_none, join.path),
        _noted(rows, AMBIGUOUS, F.coalesce(is_several, F.lit(False)), join.path),
    )


def _id_of(rows: DataFrame, name: str) -> Column:
    return identifier(given_column(rows, name), kind_of(rows, name))


def _one_row_per_key(table: DataFrame, keys: Mapping[str, str], added: Mapping[str, str]) -> DataFrame:
    """Group a table by its key. Returns: (keys, match struct<row struct<added>, is_ambiguous>), row null where it is ambiguous."""
    row = F.struct(*[given_column(table, column).alias(name) for name, column in added.items()])
    # Maps cannot be compared.
    has_maps = any("map<" in kind_of(table, column).simpleString() for column in added.values())
    compared = F.to_json(row) if has_maps else row
    ids = [_id_of(table, column).alias(key) for key, column in keys.items()]
    given = table.where(~is_unreadable(table)).select(*ids, row.alias("row"), compared.alias("compared"))
    known = given.where(reduce(Column.__and__, [F.col(key).isNotNull() for key in keys]))
    several = F.min("compared") != F.max("compared")
    one = known.groupBy(*keys).agg(F.min_by("row", "compared").alias("row"), several.alias("is_ambiguous"))
    kept = F.struct(F.when(~F.col("is_ambiguous"), F.col("row")).alias("row"), "is_ambiguous")
    return one.select(*keys, kept.alias(_MATCH))


def _noted(rows: DataFrame, column: str, is_so: Column, path: str) -> Column:
    """Add the path of a join to a hidden list of joins, where it is so."""
    before = F.col(column) if column in rows.columns else F.array().cast("array<string>")
    return F.when(is_so, F.concat(before, F.array(F.lit(path)))).otherwise(before).alias(column)


def _explode(rows: DataFrame, explode: str | Explode, key: str, path: str) -> DataFrame:
    if isinstance(explode, Explode):
        require_sql_column(rows, f"{key}.explode.sql", explode.sql, path)
        array, name, where = F.expr(explode.sql), explode.name, f"{key}.explode.sql is {explode.sql!r}"
    else:
        if explode not in rows.columns:
            raise ConfigError(f"{key}.explode is {explode!r}: {path} has no such column; it has {', '.join(own_columns(rows))}")
        array, name, where = source_column(explode), explode, f"{key}.explode is {explode!r}"
    kind = rows.select(array).schema[0].dataType
    if not isinstance(kind, ArrayType):
        advice = f"; SQL may make one, such as {{sql: \"split({name}, '[|]')\", name: {name}}}" if explode == name else ""
        raise ConfigError(f"{where}: an array is expected, and in {path} this is a {kind.simpleString()}{advice}")
    return rows.select(*[source_column(c) for c in rows.columns if c != name], F.explode_outer(array).alias(name))


def _unpivot(rows: DataFrame, unpivot: Unpivot, key: str, path: str) -> DataFrame:
    chosen = _matching(own_columns(rows), unpivot, key, path)
    others = [c for c in rows.columns if c not in chosen]
    taken = next((name for name in (unpivot.name, unpivot.value) if name.lower() in {c.lower() for c in others}), None)
    if taken is not None:
        raise ConfigError(f"{key}: {path} has a column {taken!r} that stays; give {key}.name and {key}.value other names")
    fields = [rows.schema[c] for c in chosen]
    as_texts = len({field.dataType.simpleString() for field in fields}) > 1
    cells = F.filter(F.array(*[_cell(field, unpivot, as_texts) for field in fields]), lambda cell: cell.isNotNull())
    exploded = rows.select(*map(source_column, others), F.explode_outer(cells).alias(_CELL))
    is_empty = F.col(_CELL).isNull() & ~is_unreadable(rows)
    kept = [source_column(c) for c in others if c != LEFT_OUT]
    return exploded.select(
        *kept, F.col(f"{_CELL}.name").alias(unpivot.name), F.col(f"{_CELL}.value").alias(unpivot.value), is_empty.alias(LEFT_OUT)
    )


def _matching(columns: Sequence[str], unpivot: Unpivot, key: str, path: str) -> list[str]:
    chosen: list[str] = []
    for pattern in unpivot.columns:
        found = [c for c in columns if c != UNREADABLE and re.fullmatch(wildcard_to_regex(pattern), c)]
        if not found:
            raise ConfigError(f"{key}.columns names {pattern!r}: {path} has no such column; it has {', '.join(columns)}")
        chosen += [c for c in found if c not in chosen]
    return chosen


def _cell(field: StructField, unpivot: Unpivot, as_text: bool) -> Column:
    """Make (name, value) of a cell; null where it is missing or skipped."""
    column = source_column(field.name)
    if isinstance(field.dataType, ArrayType | MapType):
        is_cell = column.isNotNull()
    else:
        text = identifier(column, field.dataType)
        skipped = F.lower(text).isin(*map(str.lower, unpivot.skip)) if unpivot.skip else F.lit(False)
        is_cell = text.isNotNull() & ~skipped
    value = format_number(column, field.dataType) if as_text else column
    return F.when(is_cell, F.struct(F.lit(field.name).alias("name"), value.alias("value")))


def _mark_left_out(rows: DataFrame, where: Sequence[str], key: str, path: str) -> DataFrame:
    for position, condition in enumerate(where):
        require_sql(rows, f"{key}.where[{position}]", condition, path)
    passes = reduce(Column.__and__, [F.coalesce(F.expr(condition), F.lit(False)) for condition in where])
    is_out = ~passes & ~is_unreadable(rows)
    before = F.col(LEFT_OUT) if LEFT_OUT in rows.columns else F.lit(False)
    return rows.select(*[source_column(c) for c in rows.columns if c != LEFT_OUT], (before | is_out).alias(LEFT_OUT))
