"""Reads columns of a source as Column expressions: ids, times, numbers; and checks that the source has them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import date

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DateType, IntegralType, NumericType, StructType, TimestampNTZType, TimestampType

from interest_tiers.config import UNREADABLE, ColumnRef, OccurredAt, SqlColumn
from interest_tiers.errors import ConfigError, short_message
from interest_tiers.text import MISSING_TEXTS, format_number, quote_name

#: What is missing where a value may be missing: infinity is a number, and a wrong one.
MISSING_VALUES = ("", *(text for text in MISSING_TEXTS if "infinity" not in text))

#: Stands for bytes that are not in the encoding of a file, and for half characters of JSON.
REPLACEMENT = "\ufffd"

#: Characters trimmed from both ends of ids and times.
BLANKS = " \t\r\n\u00a0\u200b\u3000\ufeff"

#: The name of ISO 8601 among the formats of a time.
ISO_FORMAT = "iso"

_NAMES_THE_FILE = re.compile(r"\b_metadata\b|\binput_file_(?:name|block_start|block_length)\s*\(", re.IGNORECASE)

_UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}

#: With unit auto, counts below this are seconds (up to the year 5138); below a thousand times this, milliseconds.
_LARGEST_SECONDS = 100_000_000_000

#: A text with a day. Spark would read a time of day alone as today, and longer years up to the limits of 64 bits.
_BEGINS_WITH_YEAR = r"^\d{4}(-|$)"
#: Spark formats by the letter E and does not parse it, so that names of days are left out of pattern and text.
_DAY_LETTERS = r"E+[.,]?\s*"
_DAY_NAMES = r"(?i)\b(mon|tue|tues|wed|thu|thur|thurs|fri|sat|sun|(mon|tues|wednes|thurs|fri|satur|sun)day)\b[.,]?\s*"

_NAMES_A_ZONE = r"^\d{4}-\d{1,2}-\d{1,2}[T ][\d:.]+\s*[A-Za-z+\-]"


def source_column(name: str) -> Column:
    """Refer to a column by its literal name, dots and blanks included."""
    return F.col(quote_name(name))


def given_column(raw: DataFrame, ref: ColumnRef) -> Column:
    """Resolve a column of the config: by its name, as a field a.b of a struct, or as SQL."""
    if isinstance(ref, SqlColumn):
        return F.expr(ref.sql)
    return source_column(ref) if ref in raw.columns else F.col(".".join(map(quote_name, ref.split("."))))


def is_unreadable(raw: DataFrame) -> Column:
    """Check whether the reader failed to parse a row."""
    return source_column(UNREADABLE).isNotNull() if UNREADABLE in raw.columns else F.lit(False)


def kind_of(raw: DataFrame, ref: ColumnRef) -> DataType:
    """Return the type of a column of the config."""
    return raw.select(given_column(raw, ref)).schema[0].dataType


def require_columns(raw: DataFrame, wanted: Mapping[str, ColumnRef | Sequence[ColumnRef]], path: str) -> None:
    """Check that a source has the columns that the config maps. wanted: config key to one column or several.

    Raises ConfigError for the first missing column.
    """
    each = [(key, ref) for key, refs in wanted.items() for ref in ([refs] if isinstance(refs, str | SqlColumn) else refs)]
    for key, ref in each:
        if isinstance(ref, SqlColumn):
            require_sql_column(raw, key, ref.sql, path)
        elif not _has_column(raw.schema, ref):
            known = [name for name in _column_names(raw.schema) if name != UNREADABLE]
            close = difflib.get_close_matches(ref, known, n=1)
            first = ref.partition(".")[0]
            hint = f"; did you mean {close[0]}?" if close else ""
            if first != ref and first in raw.columns:
                hint = f'; {first} is a {raw.schema[first].dataType.typeName()}. Where it holds JSON, use {{sql: "get_json_object(…)"}}'
            raise ConfigError(f"{key} is {ref!r}: {path} has no such column{hint}; it has {', '.join(known)}")


def require_sql_column(raw: DataFrame, key: str, sql: str, path: str) -> None:
    """Check that SQL can be evaluated on a source. Raises ConfigError with the reason."""
    _require_no_file(raw, key, sql)
    try:
        _without_files(raw).where(F.expr(sql).isNotNull())  # refuses what is not a value of one row, such as an aggregate
    except (AnalysisException, PySparkException) as error:
        raise ConfigError(f"{key} is {sql!r}, which does not fit {path}: {short_message(error)}") from error


def require_sql(raw: DataFrame, key: str, rule: str, path: str) -> None:
    """Check that an SQL condition can be evaluated on a source. Raises ConfigError with the reason."""
    _require_no_file(raw, key, rule)
    rows = _without_files(raw)
    try:
        kind = rows.select(F.expr(rule)).schema[0].dataType.simpleString()
        if kind == "boolean":
            rows.where(rule)  # refuses what is not a condition on one row, such as an aggregate
    except AnalysisException as error:
        raise ConfigError(f"{key} is {rule!r}, which does not fit {path}: {short_message(error)}") from error
    if kind != "boolean":
        raise ConfigError(f"{key} is {rule!r}: a condition is expected, and this is a {kind}")


def require_time_format(raw: DataFrame, key: str, patterns: Sequence[str] | None) -> None:
    """Check datetime patterns before rows are read with them. Raises ConfigError for a pattern that Spark refuses."""
    for pattern in patterns or ():
        if pattern == ISO_FORMAT:
            continue
        try:
            raw.sparkSession.range(1).select(F.to_timestamp(F.lit("2017-01-01"), _without_day_names(pattern))).collect()
        except PySparkException as error:
            raise ConfigError(
                f"{key} is {pattern!r}: not a datetime pattern of Spark, such as yyyy-MM-dd HH:mm:ss, nor iso; "
                "see https://spark.apache.org/docs/3.5.9/sql-ref-datetime-pattern.html"
            ) from error


def identifier(column: Column, kind: DataType, missing: Sequence[str] = ()) -> Column:
    """Write an id as text: 17850.0 becomes 17850, leading zeros stay; blanks and words for missing become null.

    missing: words besides MISSING_TEXTS, compared without case.
    """
    if isinstance(kind, IntegralType):
        text = column.cast("string")
        return F.when(~text.isin(*missing), text) if missing else text
    text = F.btrim(format_number(column, kind), F.lit(BLANKS))
    # Few ids have a point; for the others the regular expression is skipped.
    text = F.when(text.contains("."), F.regexp_replace(text, r"^([+-]?\d+)\.0+$", "$1")).otherwise(text)
    return F.when(~is_missing_word(text, missing), text)


def is_missing_word(text: Column, missing: Sequence[str] = ()) -> Column:
    """Check whether a trimmed text is empty or a word for missing. missing: words besides MISSING_TEXTS."""
    return F.lower(text).isin("", *MISSING_TEXTS, *map(str.lower, missing))


def is_blank(column: Column) -> Column:
    """Check whether a text means a missing value."""
    return F.lower(F.btrim(column.cast("string"), F.lit(BLANKS))).isin(*MISSING_VALUES)


def is_undecodable(column: Column) -> Column:
    """Check whether a text holds REPLACEMENT, or bytes that are not UTF-8, which a regular expression sees as such."""
    return column.rlike(REPLACEMENT)


def instant(column: Column, kind: DataType, how: OccurredAt) -> Column:
    """Parse a time to a timestamp in UTC; null where it cannot be parsed, or is outside the years 1 to 9999.

    Numbers are counts of how.unit since 1970-01-01 UTC, unless how.format gives a pattern for their digits.
    Texts are parsed by the first pattern of how.format that fits, by default ISO 8601.
    A time without a zone is in how.timezone.
    """
    if isinstance(kind, TimestampType):
        return _representable(column)
    if isinstance(kind, DateType | TimestampNTZType):
        return _to_utc(column.cast("timestamp"), how.timezone)
    if is_epoch(kind, how):
        return _from_epoch(column, how.unit or "s")
    text = F.btrim(column.cast("string"), F.lit(BLANKS))
    return F.coalesce(*[_parsed(text, pattern, how.timezone) for pattern in how.format or [ISO_FORMAT]])


def is_epoch(kind: DataType, how: OccurredAt) -> bool:
    """Check whether a time is a count since 1970-01-01 UTC."""
    if isinstance(kind, TimestampType | DateType | TimestampNTZType):
        return False
    return how.unit is not None or (isinstance(kind, NumericType) and how.format is None)


def plausible_in_another_unit(column: Column, how: OccurredAt, latest: date) -> Column:
    """Check whether a count gives a plausible time in another unit, such as seconds that were read as milliseconds."""
    others = [unit for unit in _UNITS_PER_SECOND if unit != (how.unit or "s")]
    times = [_from_epoch(column, unit) for unit in others]
    plausible = [(time >= F.lit(how.earliest)) & (time < F.lit(latest)) for time in times]
    return F.coalesce(plausible[0], F.lit(False)) | F.coalesce(plausible[1], F.lit(False))


def number(column: Column, kind: DataType) -> Column:
    """Parse a number to a double; null where it is not a finite number."""
    value = column.cast("double")
    if isinstance(kind, IntegralType):
        return value
    finite = ~F.isnan(value) & (F.abs(value) < F.lit(float("inf")))
    # Java accepts 12d and 12f as numbers.
    return F.when(finite if isinstance(kind, NumericType) else finite & ~column.cast("string").rlike("[dDfF]\\s*$"), value)


def _parsed(text: Column, pattern: str, timezone: str) -> Column:
    if pattern != ISO_FORMAT:
        dayless = _without_day_names(pattern)
        if dayless != pattern:
            # `date` pads the day with a second blank.
            text = F.btrim(F.regexp_replace(F.regexp_replace(text, _DAY_NAMES, ""), r"\s+", " "))
        parsed = F.to_timestamp(text, dayless)
        return _representable(parsed) if _names_a_zone(pattern) else _to_utc(parsed, timezone)
    parsed = F.when(text.rlike(_BEGINS_WITH_YEAR), text.cast("timestamp"))
    return F.when(text.rlike(_NAMES_A_ZONE), _representable(parsed)).otherwise(_to_utc(parsed, timezone))


def _from_epoch(column: Column, unit: str) -> Column:
    # Decimal keeps microseconds that a double would round away.
    count = column.cast("decimal(38,6)")
    # A count beyond the year 9999 would wrap around silently in 64 bits.
    seconds = _auto_seconds(count) if unit == "auto" else count / F.lit(_UNITS_PER_SECOND[unit])
    return F.when(F.abs(seconds) < F.lit(253_402_300_800), F.timestamp_micros((seconds * 1_000_000).cast("bigint")))


def _auto_seconds(count: Column) -> Column:
    size = F.abs(count)
    return (
        F.when(size < F.lit(_LARGEST_SECONDS), count)
        .when(size < F.lit(_LARGEST_SECONDS * 1_000), count / F.lit(1_000))
        .otherwise(count / F.lit(1_000_000))
    )


def _require_no_file(raw: DataFrame, key: str, sql: str) -> None:
    """Refuse what names the file of a row: rows are shuffled before, and Spark would fail late, or give an empty name."""
    if "_metadata" not in raw.columns and _NAMES_THE_FILE.search(sql):
        raise ConfigError(f"{key} is {sql!r}: a row has lost its file there. Set file_column: NAME for the source, and use the column NAME")


def _without_files(raw: DataFrame) -> DataFrame:
    """Return a frame of the same columns, without the hidden ones that Spark gives to rows of files."""
    return raw.sparkSession.createDataFrame([], raw.schema)


def _has_column(kind: DataType, name: str) -> bool:
    if not isinstance(kind, StructType):
        return False
    first, _, rest = name.partition(".")
    return name in kind.names or (bool(rest) and first in kind.names and _has_column(kind[first].dataType, rest))


def _column_names(schema: StructType) -> list[str]:
    """List the names of columns, and of the fields of structs as a.b."""
    names = []
    for field in schema.fields:
        names.append(field.name)
        if isinstance(field.dataType, StructType):
            names += [f"{field.name}.{name}" for name in _column_names(field.dataType)]
    return names


def _to_utc(clock: Column, timezone: str) -> Column:
    return _representable(clock) if timezone == "UTC" else F.to_utc_timestamp(_representable(clock), timezone)


def _representable(time: Column) -> Column:
    # Python has no dates beyond, and converting zones fails the job in the last years of 64 bits.
    is_within = (time >= F.lit("0001-01-02").cast("timestamp")) & (time < F.lit("9999-12-31").cast("timestamp"))
    # The same as F.when(is_within, time), but Comet cannot run a CASE over times; nvl2 becomes an IF.
    return F.nvl2(F.when(is_within, F.lit(True)), time, F.lit(None).cast("timestamp"))


def _without_day_names(pattern: str) -> str:
    """Leave the names of days out of a datetime pattern; quoted parts stay."""
    quoted = pattern.split("'")
    parts = [part if position % 2 else re.sub(_DAY_LETTERS, "", part) for position, part in enumerate(quoted)]
    without = "'".join(parts)
    return pattern if without == pattern else without.strip()


def _names_a_zone(pattern: str) -> bool:
    outside_quotes = "".join(pattern.split("'")[::2])
    return any(letter in outside_quotes for letter in "VzOXxZ")
