"""Parquet files to raw rows: files whose columns differ, and times in nanoseconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructType

from interest_tiers.errors import ConfigError
from interest_tiers.sources.columns import merge_columns, unite
from interest_tiers.sources.faults import SPARK_FAULTS
from interest_tiers.sources.file_ends import recognise
from interest_tiers.sources.files import first_bytes, first_file
from interest_tiers.sources.location import Location, group_files, read_in_parallel
from interest_tiers.text import quote_name

#: Options that differ from Spark's defaults. Columns that only some files have are columns. Times before 1900 are read as they
#: stand; by itself Spark stops at them, because Spark 2 wrote them by another calendar.
PARQUET_DEFAULTS: Mapping[str, str] = {"mergeSchema": "true", "datetimeRebaseMode": "CORRECTED", "int96RebaseMode": "CORRECTED"}

#: Spark's setting without which it refuses times in nanoseconds, and with which it reads them as numbers.
_NANOS_AS_LONG = "spark.sql.legacy.parquet.nanosAsLong"

#: What Spark says where files differ in the types of their columns, or only some have nanoseconds.
_READ_APART = r"CANNOT_MERGE_SCHEMAS|Failed merging schema|Failed to merge|TIMESTAMP\(NANOS"

#: The time unit of leaves by their path, such as ("history", "element", "at"): whether they are in UTC.
Nanos = Mapping[tuple[str, ...], bool]


def read_parquet(where: Location, known: StructType | None) -> DataFrame:
    """Read Parquet files. A column whose types differ becomes text; times are cut to microseconds."""
    file = first_file(where.spark, where.path) if where.files is None else next(iter(where.files), None)
    if file is not None:
        _require_parquet(where.spark, file)
        # Most files of a source are alike, and a refusal by Spark comes late and loud. A damaged file is left to Spark.
        with suppress(*SPARK_FAULTS):
            if _read_footer(where.spark, file)[1]:
                return _read_apart(where)
    spark = where.spark
    before = spark.conf.get(_NANOS_AS_LONG, "false")
    spark.conf.set(_NANOS_AS_LONG, "false")
    try:
        rows = unite([_read(where, paths, options) for paths, options in where.parts])
        merged = known and merge_columns(rows.schema, known)
        if not merged or merged.simpleString() == rows.schema.simpleString():
            return rows
        return unite([_read(where, paths, options, merged) for paths, options in where.parts])
    except SPARK_FAULTS as error:
        if not re.search(_READ_APART, str(error)):
            raise
    finally:
        spark.conf.set(_NANOS_AS_LONG, str(before))
    return _read_apart(where)


def _require_parquet(spark: SparkSession, file: str) -> None:
    beginning = first_bytes(spark, file, 40)
    if beginning and not beginning.startswith(b"PAR"):  # PARE where the footer is encrypted
        text = beginning.decode("utf-8", errors="replace")
        what = recognise(text)
        advice = f"it is {what}" if what else f"it begins with {text!r}; set the format of its source to csv or json"
        raise ConfigError(f"{file}: cannot be read as parquet: {advice}")


def _read(where: Location, paths: list[str], options: Mapping[str, str], schema: StructType | None = None) -> DataFrame:
    reader = where.spark.read
    if schema is not None:
        reader = reader.schema(StructType([f for f in schema.fields if f.name != where.file_column]))
    return where.name_files(reader.options(**options).parquet(*paths))


def _read_apart(where: Location) -> DataFrame:
    """Read files whose types differ apart, such as an id that went through float in some; and make times of nanoseconds."""
    every = where.every_file
    footers = read_in_parallel(lambda file: _read_footer(where.spark, file), every)
    if any(nanos for _, nanos in footers):
        where.spark.conf.set(_NANOS_AS_LONG, "true")  # for good: a frame is planned when its rows are wanted
    nanos_of = dict(zip(every, (nanos for _, nanos in footers), strict=True))
    parts = []
    for group in group_files(every, [text for text, _ in footers]):
        nanos = nanos_of[group[0]]
        for paths, options in where.parts_of(group):
            one = {key: value for key, value in options.items() if key.lower() != "mergeschema"}
            rows = _read(where, paths, one)
            columns = [_cut_nanos(F.col(quote_name(f.name)), f.dataType, (f.name,), nanos).alias(f.name) for f in rows.schema.fields]
            parts.append(rows.select(*columns) if nanos else rows)
    return unite(parts)


def _read_footer(spark: SparkSession, file: str) -> tuple[str, Nanos]:
    """Read the schema of a file, as a text, and its times in nanoseconds."""
    jvm: Any = spark._jvm
    hadoop = spark._jsparkSession.sessionState().newHadoopConf()
    source = jvm.org.apache.parquet.hadoop.util.HadoopInputFile.fromPath(jvm.org.apache.hadoop.fs.Path(file), hadoop)
    reader = jvm.org.apache.parquet.hadoop.ParquetFileReader.open(source)
    try:
        footer = reader.getFooter().getFileMetaData()
        schema, own = footer.getSchema(), footer.getKeyValueMetaData().get("org.apache.spark.sql.parquet.row.metadata")
        text = f"{schema.toString()}{own or ''}"
        leaves = [(tuple(leaf.getPath()), str(leaf.getPrimitiveType())) for leaf in schema.getColumns()] if "(NANOS," in text else []
    finally:
        reader.close()
    return text, {path: "(NANOS,true)" in kind for path, kind in leaves if "TIMESTAMP(NANOS," in kind}


def _cut_nanos(column: Column, kind: DataType, path: tuple[str, ...], nanos: Nanos) -> Column:
    """Make times of counts of nanoseconds, at any depth: a lower microsecond each, as other Parquet files have them."""
    below = [leaf for leaf in nanos if leaf[: len(path)] == path]
    if not below:
        return column
    if path in nanos:
        microseconds = F.call_function("div", column - F.pmod(column, F.lit(1000)), F.lit(1000))
        time = F.timestamp_micros(microseconds)
        return time if nanos[path] else time.cast("timestamp_ntz")
    if isinstance(kind, StructType):
        fields = [_cut_nanos(column.getField(f.name), f.dataType, (*path, f.name), nanos).alias(f.name) for f in kind.fields]
        return F.when(column.isNotNull(), F.struct(*fields))
    # The element of a list lies two levels below it in Parquet, and so does the value of a map.
    inner = below[0][: len(path) + 2]
    if isinstance(kind, ArrayType):
        return F.transform(column, lambda element: _cut_nanos(element, kind.elementType, inner, nanos))
    if isinstance(kind, MapType):
        return F.transform_values(column, lambda _, value: _cut_nanos(value, kind.valueType, (*path, "key_value", "value"), nanos))
    return column
