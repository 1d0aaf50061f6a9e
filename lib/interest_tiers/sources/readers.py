"""Readers of raw rows: Parquet, CSV, JSON and Delta, read so that no row is lost. Nothing is written here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StringType, StructField, StructType

from interest_tiers.config import UNREADABLE
from interest_tiers.errors import ConfigError
from interest_tiers.sources.columns import (
    add_missing,
    file_columns,
    merge_columns,
    merge_repeats,
    require_distinct_names,
    unite,
)
from interest_tiers.sources.delta import read_delta
from interest_tiers.sources.faults import SPARK_FAULTS, read_or_config_error
from interest_tiers.sources.files import escape_wildcards, first_line, folders_of, list_files
from interest_tiers.text import quote_name

#: Reader options that differ from Spark's defaults. Standard CSV doubles its quotes and may break a line inside them.
#: Numbers in JSON keep their digits. Columns that only some Parquet files have are columns.
READER_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "csv": {"header": "true", "multiLine": "true", "escape": '"', "columnPruning": "false"},
    "json": {"primitivesAsString": "true"},
    "parquet": {"mergeSchema": "true"},
    "delta": {},
}

#: Headers and footers that are read at the same time.
PARALLEL_READS = 16

_Read = TypeVar("_Read")


def read_source(
    spark: SparkSession,
    path: str,
    reader_format: str,
    options: Mapping[str, str],
    explode: str | None = None,
    files: Sequence[str] | None = None,
    known: StructType | None = None,
) -> DataFrame:
    """Read raw rows, as the files have them.

    Columns of CSV and JSON are texts. A line that cannot be parsed fills the column ``_corrupt_record``.
    Files may differ in their columns and in the types of them.

    explode: a column that holds arrays; a line of JSON with another shape there cannot be parsed.
    files: read only these files behind the path; a Delta table is read whole.
    known: the columns that the source had before; those that are missing now are null.
    Raises ConfigError when the path does not exist or cannot be read as that format.
    """
    some = None if files is None or reader_format == "delta" else list(files)
    where = _Location(spark, path, {**READER_DEFAULTS[reader_format], **options}, some)
    rows = read_or_config_error(path, reader_format, lambda: _read(where, reader_format, explode, known))
    return complete_columns(rows, path, known)


def complete_columns(rows: DataFrame, path: str, known: StructType | None) -> DataFrame:
    """Add the columns that the source had before. Raises ConfigError for names that differ by case alone."""
    require_distinct_names(rows, path)
    return rows if known is None else add_missing(rows, known)


@dataclass(frozen=True)
class _Location:
    """What is to be read: everything behind a path, or some files of it."""

    spark: SparkSession
    path: str
    options: Mapping[str, str]
    files: list[str] | None

    @property
    def every_file(self) -> list[str]:
        return _paths(self) if self.files is None else self.files

    @property
    def parts(self) -> list[tuple[list[str], dict[str, str]]]:
        """Return the arguments of Spark's reader: paths, and the options that go with them."""
        return [([self.path], dict(self.options))] if self.files is None else self.parts_of(self.files)

    def parts_of(self, files: Sequence[str]) -> list[tuple[list[str], dict[str, str]]]:
        """Return the arguments for some files; folders below the path, such as day=2024-01-01, stay columns."""
        folders = folders_of(self.spark, self.path)
        above = [next((folder for folder in folders if file.startswith(f"{folder}/")), None) for file in files]
        has_own = any(key.lower() == "basepath" for key in self.options)
        bases = [{} if folder is None or has_own else {"basePath": folder} for folder in dict.fromkeys(above)]
        groups = _group_files(files, [str(folder) for folder in above])
        return [(escape_wildcards(group), {**self.options, **base}) for group, base in zip(groups, bases, strict=True)]


def _read(where: _Location, reader_format: str, explode: str | None, known: StructType | None) -> DataFrame:
    if reader_format == "csv":
        return _read_csv(where, known)
    if reader_format == "json":
        return _read_json(where, explode, known)
    return _read_parquet(where, known) if reader_format == "parquet" else read_delta(where.spark, where.path, where.options)


def _read_parquet(where: _Location, known: StructType | None) -> DataFrame:
    reader = where.spark.read
    try:
        rows = unite([reader.options(**options).parquet(*paths) for paths, options in where.parts])
    except SPARK_FAULTS as error:
        if not re.search(r"CANNOT_MERGE_SCHEMAS|Failed merging schema|Failed to merge", str(error)):
            raise
    else:
        merged = known and merge_columns(rows.schema, known)
        if not merged or merged.simpleString() == rows.schema.simpleString():
            return rows
        return unite([reader.schema(merged).options(**options).parquet(*paths) for paths, options in where.parts])
    # A column has several types, such as an id that went through float in some files.
    alone = {k: v for k, v in where.options.items() if k.lower() not in ("mergeschema", "basepath")}
    every = where.every_file
    kinds = _read_in_parallel(lambda file: reader.options(**alone).parquet(*escape_wildcards([file])).schema.json(), every)
    parts = [part for group in _group_files(every, kinds) for part in where.parts_of(group)]
    unmerged = [(paths, {k: v for k, v in options.items() if k.lower() != "mergeschema"}) for paths, options in parts]
    return unite([reader.options(**options).parquet(*paths) for paths, options in unmerged])


def _read_csv(where: _Location, known: StructType | None) -> DataFrame:
    every, parts = where.every_file, where.parts
    if where.options["header"].lower() == "true":
        # Spark takes the columns of all files from one of them, by position. Files with other headers are read apart.
        encoding = where.options.get("encoding", where.options.get("charset", "UTF-8"))
        headers = _read_in_parallel(lambda file: first_line(where.spark, file, encoding), every)
        filled = [(file, header) for file, header in zip(every, headers, strict=True) if header is not None]
        if not filled and known is not None:
            return where.spark.createDataFrame([], known)
        if not filled:
            raise ConfigError(f"{where.path}: the file has no header and no rows")
        groups = _group_files([file for file, _ in filled], [header for _, header in filled])
        if len(groups) > 1 or where.files is not None:
            parts = [part for group in groups for part in where.parts_of(group)]
    # With multiLine, Spark takes the name of a file for a glob when it looks for the header.
    for_header = {} if escape_wildcards(every) == every else {"multiLine": "false"}
    return unite([_read_csv_files(where, paths, options, {**options, **for_header}) for paths, options in parts])


def _read_csv_files(where: _Location, paths: list[str], options: Mapping[str, str], for_header: Mapping[str, str]) -> DataFrame:
    columns = where.spark.read.options(**{**for_header, "mode": "PERMISSIVE"}).csv(paths).columns
    if not columns:
        raise ConfigError(f"{where.path}: the file has no header and no rows")
    schema = StructType([StructField(c, StringType()) for c in columns] + [StructField(UNREADABLE, StringType())])
    tolerant = {**options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": UNREADABLE}
    return where.spark.read.options(**tolerant).schema(schema).csv(paths)


def _read_json(where: _Location, explode: str | None, known: StructType | None) -> DataFrame:
    paths = [path for part, _ in where.parts for path in part]
    found = _json_schema(where.spark, paths, where.options)
    rows = _read_json_as(where, found)
    if explode in found.names and isinstance(found[explode].dataType, StringType):
        # A few lines of another shape made a text of the array. Its type comes from the lines that hold one; the others are corrupt.
        array = known[explode].dataType if known is not None and explode in known.names else _find_array_type(where, rows, explode)
        fields = [StructField(f.name, array) if f.name == explode and array is not None else f for f in found.fields]
        found, rows = StructType(fields), _read_json_as(where, StructType(fields))
    merged = known and merge_columns(found, known)
    return _read_json_as(where, merged) if merged and merged.simpleString() != found.simpleString() else rows


def _read_json_as(where: _Location, columns: StructType) -> DataFrame:
    schema = StructType([*(f for f in columns.fields if f.name != UNREADABLE), StructField(UNREADABLE, StringType())])
    return unite([where.spark.read.options(**_tolerant_json(options)).schema(schema).json(paths) for paths, options in where.parts])


def _json_schema(spark: SparkSession, paths: list[str], options: Mapping[str, str]) -> StructType:
    try:
        return file_columns(spark.read.options(**_tolerant_json(options)).json(paths))
    except AnalysisException as error:
        if "COLUMN_ALREADY_EXISTS" not in str(error) or any(k.lower() in ("encoding", "charset") for k in options):
            raise
    # One line with the same key twice must not stop all others. Spark reads the last value, as most readers of JSON do.
    is_whole = next((v for k, v in options.items() if k.lower() == "multiline"), "false")
    texts = spark.read.options(**{**options, "wholetext": is_whole}).text(paths).select("value")
    return merge_repeats(file_columns(_parsed_texts(spark, texts, _tolerant_json(options))))


def _parsed_texts(spark: SparkSession, texts: DataFrame, options: Mapping[str, str]) -> DataFrame:
    """Parse the only column of a frame, texts of JSON, into rows."""
    strings = texts._jdf.__getattr__("as")(spark._jvm.org.apache.spark.sql.Encoders.STRING())  # type: ignore[union-attr]
    return DataFrame(spark.read.options(**options)._jreader.json(strings), spark)


def _tolerant_json(options: Mapping[str, str]) -> dict[str, str]:
    return {**options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": UNREADABLE}


def _find_array_type(where: _Location, rows: DataFrame, explode: str) -> ArrayType | None:
    """Infer the type of the arrays among the texts of a column; None when there are none."""
    arrays = rows.select(F.col(quote_name(explode)).alias("array")).where(F.col("array").startswith("["))
    element = file_columns(_parsed_texts(where.spark, arrays, where.options))
    return ArrayType(element) if element.fields else None


def _group_files(files: Sequence[str], kinds: Sequence[str]) -> list[list[str]]:
    """Group files of the same kind, in the order in which the kinds come up."""
    groups: dict[str, list[str]] = {}
    for file, kind in zip(files, kinds, strict=True):
        groups.setdefault(kind, []).append(file)
    return list(groups.values())


def _read_in_parallel(read: Callable[[str], _Read], files: Sequence[str]) -> list[_Read]:
    with ThreadPoolExecutor(PARALLEL_READS) as threads:
        return list(threads.map(read, files))


def _paths(where: _Location) -> list[str]:
    files = list_files(where.spark, where.path, "binaryFile", where.options).select("path").orderBy("path").collect()
    if not files:
        raise ConfigError(f"{where.path}: the file has no header and no rows")
    return [row["path"] for row in files]
