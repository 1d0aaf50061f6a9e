"""CSV files to raw rows: headers, lines above them, and the quote that nothing closes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from interest_tiers.config import UNREADABLE
from interest_tiers.errors import ConfigError
from interest_tiers.sources.columns import unite
from interest_tiers.sources.faults import LONGEST_VALUE
from interest_tiers.sources.file_ends import BLANKS, FileEnds, read_ends, recognise
from interest_tiers.sources.files import escape_wildcards
from interest_tiers.sources.location import Location, group_files, read_in_parallel
from interest_tiers.text import quote_name

#: Options that differ from Spark's defaults. Standard CSV doubles its quotes, and may break a line inside them.
CSV_DEFAULTS: Mapping[str, str] = {
    "header": "true",
    "multiLine": "true",
    "escape": '"',
    "columnPruning": "false",
    # Where a quoted field holds a quote that is not doubled, the field keeps its first quote: see _swallows_lines.
    "unescapedQuoteHandling": "STOP_AT_DELIMITER",
    "maxCharsPerColumn": str(LONGEST_VALUE),
}

#: Stands for the quote that opens the last value.
_OPEN = "\0"

#: Characters of a last line that are compared.
COMPARED = 1000


def read_csv(where: Location, known: StructType | None) -> DataFrame:
    """Read CSV files as texts. Files with other headers are read apart: Spark takes the columns of all from one, by position."""
    every, parts = where.every_file, where.parts
    encoding, comment = where.option("encoding", "charset", default="UTF-8"), where.option("comment")
    ends = read_in_parallel(lambda file: read_ends(where.spark, file, encoding, where.skip_lines, comment), every)
    for file, end in zip(every, ends, strict=True):
        _require_text(file, end)
    filled = [(file, end) for file, end in zip(every, ends, strict=True) if end.header is not None]
    if not filled and known is not None:
        return where.spark.createDataFrame([], known)
    if not filled:
        raise ConfigError(f"{where.path}: the file has no header and no rows")
    has_header, open_rows = where.option("header").lower() == "true", _find_open_rows(where, filled)
    kinds = [f"{end.separator}\n{bool(end.above)}\n{end.header if has_header else ''}" for _, end in filled]
    if len(set(kinds)) > 1 or where.files is not None:
        parts = [part for group in group_files([file for file, _ in filled], kinds) for part in where.parts_of(group)]
    by_name = {escape_wildcards([file])[0]: end for file, end in filled}
    read = []
    for paths, options in parts:
        own = [by_name[path] for path in paths if path in by_name] or [end for _, end in filled]
        separator = own[0].separator
        if separator is not None and not where.option("sep", "delimiter"):
            options = {**options, "sep": separator}
        read.append(_read_part(where, _Part(paths, options, own, has_header), open_rows, every))
    return unite(read)


@dataclass(frozen=True)
class _Part:
    """Files with the same columns: arguments of Spark's reader, and the ends of the files."""

    paths: list[str]
    options: dict[str, str]
    ends: Sequence[FileEnds]
    has_header: bool


@dataclass(frozen=True)
class OpenRows:
    """The last lines of files that may end inside a quote, without quotes and escapes.

    whole: lines that open it, with _OPEN for the quote
    last:  lines that lie inside a quote if an earlier line opened one
    """

    whole: Collection[str]
    last: Collection[str]


def _require_text(file: str, end: FileEnds) -> None:
    what = recognise([*end.above, end.header or ""][0])
    if what is not None:
        raise ConfigError(f"{file}: cannot be read as csv: it is {what}")


def _read_part(where: Location, part: _Part, open_rows: OpenRows, every: Sequence[str]) -> DataFrame:
    if part.has_header and not any(end.above for end in part.ends):
        # With multiLine, Spark takes the name of a file for a glob when it looks for the header.
        for_header = {} if escape_wildcards(every) == every else {"multiLine": "false"}
        columns = where.spark.read.options(**{**part.options, **for_header, "mode": "PERMISSIVE"}).csv(part.paths).columns
        rows = _read_texts(where, part, columns)
    else:
        columns, rows = _read_below(where, part)
    if not columns:
        raise ConfigError(f"{where.path}: the file has no header and no rows")
    folders = {name for file in every for name in re.findall(r"/([^/=]+)=[^/]*(?=/)", file)}
    own = [column for column in columns if column not in folders] or columns
    return _mark_open_rows(where.name_files(rows), own, where, part.options, open_rows)


def _read_texts(where: Location, part: _Part, columns: Sequence[str]) -> DataFrame:
    schema = StructType([StructField(column, StringType()) for column in [*columns, UNREADABLE]])
    return where.spark.read.options(**_tolerant(part.options)).schema(schema).csv(part.paths)


def _read_below(where: Location, part: _Part) -> tuple[list[str], DataFrame]:
    """Read files with lines above the header or the rows. Rows that equal one of those lines are left out."""
    spark = where.spark
    options = {key: value for key, value in part.options.items() if key.lower() not in ("header", "basepath")}
    header = next(end.header for end in part.ends if end.header is not None)
    line = spark.sparkContext.parallelize([header], 1)
    named = spark.read.options(**options, header=str(part.has_header).lower()).csv(line).columns  # type: ignore[arg-type]
    below = replace(part, options={**part.options, "header": "false"})
    found = spark.read.options(**{**below.options, "multiLine": "false"}).csv(part.paths).columns
    columns = [*named, *(name for name in found if not re.fullmatch(r"_c\d+", name))]
    rows, own = _read_texts(where, below, columns), [*named, UNREADABLE]
    lines = {above for end in part.ends for above in end.above}
    if part.has_header:
        lines |= {end.header for end in part.ends if end.header is not None}
    schema = StructType([StructField(column, StringType()) for column in own])
    left_out = spark.read.options(**_tolerant(options)).schema(schema).csv(spark.sparkContext.parallelize(sorted(lines), 1))  # type: ignore[arg-type]
    fingerprint = F.xxhash64(*[F.col(quote_name(column)) for column in own])
    return columns, rows.where(~fingerprint.isin([row[0] for row in left_out.select(fingerprint).distinct().collect()]))


def _tolerant(options: Mapping[str, str]) -> dict[str, str]:
    return {**options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": UNREADABLE}


def _find_open_rows(where: Location, filled: Sequence[tuple[str, FileEnds]]) -> OpenRows:
    """Find what the last lines of the files say of a quote that nothing closes."""
    quote, escape = where.option("quote", default='"'), where.option("escape")
    if not quote or where.option("multiLine").lower() != "true":
        return OpenRows((), ())
    lasts = [end.last for _, end in filled if end.last is not None] + _read_last_lines(where, [f for f, end in filled if end.is_packed])
    separators = {end.separator for _, end in filled if end.separator} | {where.option("sep", "delimiter", default=",")}
    return judge_last_lines(lasts, separators, quote, escape)


def judge_last_lines(lines: Sequence[str], separators: Collection[str], quote: str, escape: str) -> OpenRows:
    """Judge by the last line of a file whether a quote may be open there. A quote that is not doubled proves that none is."""
    q, e = re.escape(quote), re.escape(escape)
    inside = f"(?:[^{q}]++|{q}{q})*+" if escape in ("", quote) else f"(?:[^{q}{e}]++|{e}.|{q}{q})*+"
    s = f"(?:{'|'.join(map(re.escape, sorted(separators)))})"
    # Fields before the quote are whole; the first may be the end of a value that began in an earlier line.
    field = f"(?:{q}{inside}{q}(?:(?!{s}).)*+|(?:(?!{s}|{q}).(?:(?!{s}).)*+)?)"
    opens = re.compile(f"(?:{inside}{q}{s})?(?:{field}{s})*({q}){inside}", re.DOTALL)
    plain = str.maketrans("", "", quote + escape + "\r")

    def end_of(text: str) -> str:
        return text.translate(plain).rstrip(BLANKS)[-COMPARED:]

    # A line without a value may end any text, and proves nothing.
    nothing = re.compile("|".join([q, *(r"\s", e)[: 2 if escape else 1], *map(re.escape, separators)]))
    found = {line: opens.fullmatch(line) for line in lines if nothing.sub("", line)}
    whole = {end_of(f"{line[: at.start(1)]}{_OPEN}{line[at.end(1) :]}") for line, at in found.items() if at is not None}
    last = {end_of(line) for line, at in found.items() if at is None and re.fullmatch(inside, line, re.DOTALL)}
    return OpenRows(frozenset(whole), frozenset(last))


def _read_last_lines(where: Location, packed: Sequence[str]) -> list[str]:
    """Read the last line of packed files, which only a pass over them can find."""
    encoding = where.option("encoding", "charset", default="UTF-8")
    if not packed or encoding.upper().startswith(("UTF-16", "UTF16", "UTF-32", "UTF32")):  # text is split at bytes
        return []
    parts = [where.spark.read.text(paths) for paths, _ in where.parts_of(packed)]
    named = [F.input_file_name().alias("file"), F.col("_metadata.file_block_start").alias("block")]
    lines = reduce(DataFrame.union, [part.select("value", *named) for part in parts])
    # The lines of a block are in one partition, in their order; blocks of a file may be in any.
    position = F.struct("block", F.monotonically_increasing_id()).alias("position")
    lines = lines.select("*", position).where(F.btrim("value", F.lit(BLANKS)) != "")
    last = lines.groupBy("file").agg(F.max_by("value", "position").alias("value"))
    return [row[0] for row in last.select(F.decode(F.col("value").cast("binary"), encoding)).collect()]


def _mark_open_rows(rows: DataFrame, own: Sequence[str], where: Location, options: Mapping[str, str], found: OpenRows) -> DataFrame:
    """Fill _corrupt_record of a row in which a quote that nothing closes made a value of further lines.

    own: the columns of the file, in its order.
    """
    quote, escape = where.option("quote", default='"'), where.option("escape")
    if not quote or where.option("multiLine").lower() != "true":
        return rows
    separator = next((value for key, value in reversed(list(options.items())) if key.lower() in ("sep", "delimiter")), ",")
    columns = [F.col(quote_name(column)) for column in own]
    together = F.concat_ws(separator, *[F.coalesce(column, F.lit("")) for column in columns])

    def last_line(text: Column) -> Column:
        ended = F.regexp_replace(F.translate(text, f"{quote}{escape}\r", ""), rf"[{BLANKS}]++\z", "")
        return F.right(F.substring_index(ended, "\n", -1), F.lit(COMPARED))

    signs = [_swallows_lines(column, position, len(columns), separator, quote) for position, column in enumerate(columns)]
    if found.last:
        signs.append(columns[-1].contains("\n") & last_line(columns[-1]).isin(*found.last))
    if found.whole:
        before = [F.concat_ws(separator, *[F.coalesce(column, F.lit("")) for column in columns[:-1]], F.lit(""))] if columns[1:] else []
        signs.append(last_line(F.concat(*before, F.lit(_OPEN), F.coalesce(columns[-1], F.lit("")))).isin(*found.whole))
    is_open = reduce(lambda one, other: one | other, [F.coalesce(sign, F.lit(False)) for sign in signs])
    return rows.withColumn(UNREADABLE, F.coalesce(F.col(UNREADABLE), F.when(is_open, together)))


def _swallows_lines(value: Column, position: int, n_columns: int, separator: str, quote: str) -> Column:
    """Check whether a value is the end of one record and the beginning of a later one.

    A quote that nothing closes makes a value of what follows, up to the first quote that is not doubled, and from there to the
    next separator. The value then begins with its quote. Its last line holds the columns before it, then that second quote, at
    the start of a field or after a number (5" nail), and no separator after it. A proper value looks like that only by chance.
    """
    q, s = re.escape(quote), re.escape(separator)
    no_separator = rf"[^{s}\n]" if len(separator) == 1 else r"[^\n]"
    # Values without text, which the parser took for doubled quotes, may stand before.
    is_joined = value.rlike(rf"\n(?:[^{q}\n]|(?<={s}|\n){q}++(?={s}))*+(?<={s}|\n|\d){q}{no_separator}++\z")

    def separators(line: Column) -> Column:
        return (F.length(line) - F.length(F.replace(line, F.lit(separator), F.lit("")))) / len(separator)

    fits = separators(F.substring_index(value, "\n", -1)).between(position, n_columns - 1)
    if position == 0:  # lines of a dialogue begin with quotes, too
        fits &= separators(F.substring_index(value, "\n", 1)) >= n_columns - 1
    return value.startswith(quote) & value.contains("\n") & is_joined & fits
