"""Keeps rows that cannot be used whole, with their reasons; and computes the fingerprint of a row."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from interest_tiers.cleaning.columns import is_undecodable, is_unreadable, source_column
from interest_tiers.cleaning.shaping import ambiguous_reasons, own_columns
from interest_tiers.config import Source

#: Times with microseconds: rows that differ only in them are two rows.
WHOLE_TIMES = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"}

CANNOT_BE_READ = "row: cannot be read"

#: An id with U+FFFD may be two ids: what was there is lost.
UNDECODABLE = "{key}: has bytes that are not in the encoding"

#: Names that no source would use.
_WHOLE_ROW, _UNREADABLE_ROW, _SEVERAL = "__row", "__unreadable", "__several"

#: Two hashes of 64 bits each, so that among 10^11 rows no two are expected to share both.
_SEEDS = ("left", "right")


def whole_row(columns: Sequence[str]) -> Column:
    """Pack a row into one column, its fields in alphabetical order."""
    return F.struct(*[source_column(c) for c in sorted(columns)])


def row_fingerprint(source: str, schema: StructType) -> Column:
    """Compute the fingerprint of a row: 32 hexadecimal digits, two xxHash64 of all columns that are not null.

    Names are hashed with values, so that the same value in another column gives another fingerprint.
    A new column that is null changes nothing, nor do the order of columns and the width of numbers.
    Source: Y. Collet, xxHash, https://xxhash.com.
    """
    parts: list[Column] = []
    for field in sorted(schema.fields, key=lambda field: field.name):
        column = source_column(field.name)
        parts += [F.when(column.isNotNull(), F.lit(field.name)), _hashable(column, field)]
    hashes = [F.lpad(F.hex(F.xxhash64(F.lit(seed), F.lit(source), *parts)), 16, "0") for seed in _SEEDS]
    return F.concat(*hashes)


def group_key(field: StructField) -> Column:
    """Make a column that rows can be grouped by: a map, which Spark cannot compare, becomes its sorted entries."""
    column = source_column(field.name)
    return F.array_sort(F.map_entries(column)).alias(field.name) if isinstance(field.dataType, MapType) else column


def assess_rows(raw: DataFrame, source: Source, key: str, **columns: Column) -> DataFrame:
    """Map rows of the items' or users' source and find what is wrong with them.

    raw:     the source's rows (see shaping.shape_rows)
    columns: by name; the one named ``key`` must not be null.
    Returns: (columns, reasons array<string>, raw, event_date), one row per row.
    raw is JSON, null for a good row; event_date is null.
    """
    several = [F.when(condition, F.lit(reason)) for reason, condition in ambiguous_reasons(raw, source).items()]
    mapped = raw.select(
        *[column.alias(name) for name, column in columns.items()],
        is_unreadable(raw).alias(_UNREADABLE_ROW),
        whole_row(own_columns(raw)).alias(_WHOLE_ROW),
        F.array_compact(F.array(*several)).alias(_SEVERAL) if several else F.array().cast("array<string>").alias(_SEVERAL),
    )
    reasons = [
        F.when(F.col(key).isNull(), F.lit(f"{key}: missing")),
        F.when(is_undecodable(F.col(key)), F.lit(UNDECODABLE.format(key=key))),
        F.when(F.col(_UNREADABLE_ROW), F.lit(CANNOT_BE_READ)),
    ]
    return mapped.withColumn("reasons", F.concat(collect_reasons(reasons), F.col(_SEVERAL))).select(
        *columns,
        "reasons",
        F.when(~is_good(), F.to_json(_WHOLE_ROW, WHOLE_TIMES)).alias("raw"),
        F.lit(None).cast("date").alias("event_date"),
    )


def collect_reasons(reasons: Sequence[Column]) -> Column:
    """Collect the reasons that are not null. Most rows are good, and no array is built for them."""
    return F.when(F.coalesce(*reasons).isNotNull(), F.array_compact(F.array(*reasons))).otherwise(F.array().cast("array<string>"))


def is_good() -> Column:
    """Check whether a row has no reasons. Comet cannot run size(), so this does without it."""
    return F.col("reasons")[0].isNull()


def to_quarantine(assessed: DataFrame, source: Column, run_id: str, is_noise: Column | None = None) -> DataFrame:
    """Shape the rows with reasons as the table interactions_quarantine.

    assessed: (raw, reasons, event_date, …)
    source:   the name of the source of a row
    is_noise: whether only the other rows of its day make a row noise; default: false for all
    """
    return assessed.where(~is_good()).select(
        F.sha2(F.concat_ws("\n", source, "raw"), 256).alias("row_hash"),
        "reasons",
        "raw",
        source.alias("source"),
        F.lit(run_id).alias("run_id"),
        "event_date",
        (F.lit(False) if is_noise is None else is_noise).alias("is_noise"),
    )


def _hashable(column: Column, field: StructField) -> Column:
    kind: DataType = field.dataType
    if isinstance(kind, ByteType | ShortType | IntegerType | LongType):
        return column.cast("bigint")
    if isinstance(kind, FloatType | DoubleType):
        return column.cast("double")
    if isinstance(kind, StringType | BooleanType | DateType | TimestampType | TimestampNTZType):
        return column
    if isinstance(kind, StructType | ArrayType | MapType):
        # The hash skips nulls inside, and with them the positions of the other values.
        return F.to_json(F.struct(column.alias("value")), WHOLE_TIMES)
    return column.cast("string")
