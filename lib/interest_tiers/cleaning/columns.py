"""Columns of a source as Column expressions: which are there, ids, times, numbers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DateType, DecimalType, DoubleType, FloatType, NumericType, TimestampNTZType, TimestampType

from interest_tiers.config import OccurredAt
from interest_tiers.errors import ConfigError

#: Texts that stand for a missing id, in lower case.
MISSING_IDS = ("", "null", "nan", "none")

#: What may surround an id or a time without being part of it.
BLANKS = " \t\r\n\u00a0\u3000\ufeff"

_UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}

#: A text with a day; Spark would read a time of day alone as one of today, and longer years up to the limits of 64 bits.
_BEGINS_WITH_YEAR = r"^\d{4}(-|$)"
_NAMES_A_ZONE = r"^\d{4}-\d{1,2}-\d{1,2}[T ][\d:.]+\s*[A-Za-z+\-]"
_LARGEST_EXACT_DOUBLE = 2**53


def source_column(name: str) -> Column:
    """A column by its literal name, dots and blanks included."""
    return F.col(f"`{name.replace('`', '``')}`")


def require_columns(raw: DataFrame, wanted: Mapping[str, str], path: str) -> None:
    """Check that a source has the columns that the config maps.

    wanted: config key to column name. Raises ConfigError for the first one missing.
    """
    for key, name in wanted.items():
        if name not in raw.columns:
            close = difflib.get_close_matches(name, raw.columns, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"{key} is {name!r}: {path} has no such column{hint}; it has {', '.join(raw.columns)}")


def require_sql(raw: DataFrame, key: str, rule: str, path: str) -> None:
    """Check that an SQL condition fits a source. Raises ConfigError with the reason."""
    try:
        kind = raw.select(F.expr(rule)).schema[0].dataType.simpleString()
        if kind == "boolean":
            raw.where(rule)  # refuses what is no condition on one row, such as an aggregate
    except AnalysisException as error:
        raise ConfigError(f"{key} is {rule!r}, which does not fit {path}: {str(error).strip().splitlines()[0]}") from error
    if kind != "boolean":
        raise ConfigError(f"{key} is {rule!r}: a condition is expected, and this is a {kind}")


def require_time_format(raw: DataFrame, key: str, pattern: str | None) -> None:
    """Check a datetime pattern before rows are read with it. Raises ConfigError when Spark does not know it."""
    if pattern is None:
        return
    try:
        raw.sparkSession.range(1).select(F.to_timestamp(F.lit("2017-01-01"), pattern)).collect()
    except PySparkException as error:
        raise ConfigError(
            f"{key} is {pattern!r}: not a datetime pattern of Spark, such as yyyy-MM-dd HH:mm:ss; "
            "see https://spark.apache.org/docs/3.5.9/sql-ref-datetime-pattern.html"
        ) from error


def identifier(column: Column, kind: DataType) -> Column:
    """An id as text: 17850.0 is 17850, leading zeros stay, blank, null and nan are missing (null)."""
    text = F.btrim(column.cast("string"), F.lit(BLANKS))
    if isinstance(kind, DecimalType):
        # Zero with many decimals prints as 0E-18.
        text = F.when(column == F.floor(column), F.floor(column).cast("string")).otherwise(text)
    if isinstance(kind, DoubleType | FloatType):
        # Large doubles print as 1.785E7; those beyond 2^53 are no longer exact and stay as they print.
        is_whole = (column == F.floor(column)) & (F.abs(column) <= _LARGEST_EXACT_DOUBLE)
        text = F.when(is_whole, column.cast("bigint").cast("string")).otherwise(text)
    text = F.regexp_replace(text, r"^([+-]?\d+)\.0+$", "$1")
    return F.when(~F.lower(text).isin(*MISSING_IDS), text)


def instant(column: Column, kind: DataType, how: OccurredAt) -> Column:
    """A time as a timestamp in UTC; null where it cannot be read, or lies outside the years 1 to 9999.

    Numbers are counts of how.unit since 1970-01-01 UTC, unless how.format says how to read their digits; texts
    follow how.format, or ISO 8601; a time that names no zone is taken in how.timezone.
    """
    if isinstance(kind, TimestampType):
        return _representable(column)
    if isinstance(kind, DateType | TimestampNTZType):
        return _to_utc(column.cast("timestamp"), how.timezone)
    if how.unit is not None or (isinstance(kind, NumericType) and how.format is None):
        return _from_epoch(column, how.unit or "s")
    text = F.btrim(column.cast("string"), F.lit(BLANKS))
    if how.format is not None:
        parsed = F.to_timestamp(text, how.format)
        return _representable(parsed) if _names_a_zone(how.format) else _to_utc(parsed, how.timezone)
    parsed = F.when(text.rlike(_BEGINS_WITH_YEAR), text.cast("timestamp"))
    return F.when(text.rlike(_NAMES_A_ZONE), _representable(parsed)).otherwise(_to_utc(parsed, how.timezone))


def number(column: Column) -> Column:
    """A number as a double; null where it is not a finite one."""
    value = column.cast("double")
    return F.when(~F.isnan(value) & (F.abs(value) < F.lit(float("inf"))), value)


def _from_epoch(column: Column, unit: str) -> Column:
    # Decimal keeps microseconds that a double would round away.
    seconds = column.cast("decimal(38,6)") / F.lit(_UNITS_PER_SECOND[unit])
    # A count beyond the year 9999 would wrap around silently in 64 bits.
    plausible = F.abs(seconds) < F.lit(253_402_300_800)
    return F.when(plausible, F.timestamp_micros((seconds * 1_000_000).cast("bigint")))


def _to_utc(clock: Column, timezone: str) -> Column:
    return F.to_utc_timestamp(_representable(clock), timezone)


def _representable(time: Column) -> Column:
    # Beyond, Python has no dates, and the conversion between zones stops the job in the last years of 64 bits.
    return F.when((time >= F.lit("0001-01-02").cast("timestamp")) & (time < F.lit("9999-12-31").cast("timestamp")), time)


def _names_a_zone(pattern: str) -> bool:
    outside_quotes = "".join(pattern.split("'")[::2])
    return any(letter in outside_quotes for letter in "VzOXxZ")
