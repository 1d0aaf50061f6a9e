"""Raw rows: which files hold them, and how they are read so that none is lost.

The only module beside tables that touches storage; it reads and never writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any, TypeVar

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, NullType, StringType, StructField, StructType

from interest_tiers.config import UNREADABLE
from interest_tiers.errors import ConfigError
from interest_tiers.text import number_as_text, quoted_name

#: How the readers differ from Spark's defaults: standard CSV doubles its quotes and may break a line inside them;
#: numbers in JSON keep their digits; columns that only some Parquet files have are columns.
READER_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "csv": {"header": "true", "multiLine": "true", "escape": '"', "columnPruning": "false"},
    "json": {"primitivesAsString": "true"},
    "parquet": {"mergeSchema": "true"},
    "delta": {},
}

#: Options that say which files of a folder are meant.
CHOOSING_OPTIONS = ("recursivefilelookup", "pathglobfilter", "modifiedafter", "modifiedbefore")

#: What PySpark raises for a fault in the JVM: a class of its own for some, this for the others, such as a failed task.
SPARK_FAULTS = (PySparkException, Py4JJavaError)

#: Headers and footers are read side by side.
SIDE_BY_SIDE = 16

_Found = TypeVar("_Found")


def list_files(spark: SparkSession, path: str, reader_format: str, options: Mapping[str, str]) -> DataFrame:
    """The files behind a path: path, state (a text that differs when the file does).

    A Delta table is one entry, whose state is its version. Raises ConfigError when nothing stands there.
    """
    if reader_format == "delta":
        version = _delta_table(spark, path).history(1).select(F.concat(F.lit("version "), "version").alias("state"))
        return version.select(F.lit(path).alias("path"), "state")
    choosing = {k: v for k, v in options.items() if k.lower() in CHOOSING_OPTIONS}
    files = _or_config_error(path, "binaryFile", lambda: spark.read.options(**choosing).format("binaryFile").load(path))
    changed = F.date_format("modificationTime", "yyyy-MM-dd'T'HH:mm:ss.SSS")
    return files.select("path", F.concat("length", F.lit(" bytes, "), changed).alias("state"))


def read_source(spark: SparkSession, path: str, reader_format: str, options: Mapping[str, str], explode: str | None = None) -> DataFrame:
    """Read raw rows.

    Columns of CSV and JSON are texts; a line that cannot be parsed fills the column ``_corrupt_record``. Files may
    differ in their columns and in the types of them. explode: an array column whose elements become rows (a row
    without elements stays one, with null).
    Raises ConfigError when nothing stands at the path, or what stands there cannot be read as that format.
    """
    options = {**READER_DEFAULTS[reader_format], **options}
    load = {"csv": _read_csv, "json": _read_json, "parquet": _read_parquet, "delta": _read_delta}[reader_format]
    rows = _or_config_error(path, reader_format, lambda: load(spark, path, options))
    _require_distinct_names(rows, path)
    return rows if explode is None else _exploded(spark, rows, path, reader_format, options, explode)


def read_lines(spark: SparkSession, path: str, called: str) -> DataFrame:
    """The lines of text files: value. called: the path as messages call it. Raises ConfigError as read_source does."""
    return _or_config_error(called, "text", lambda: spark.read.text(path), advice="")


def damaged_file(error: Exception) -> str | None:
    """The file that a failed job could not read, for example one cut short; None when that is not the reason.

    Of packed files that end too early, Spark does not tell which one it is.
    """
    found = re.search(r"(?:Encountered error while reading file|Could not read footer for file:?|FAILED_READ_FILE\S*)\s+(\S+)", str(error))
    if found is not None:
        return found.group(1).rstrip(".")
    return "a packed file" if "EOFException: Unexpected end of input stream" in str(error) else None


def _read_parquet(spark: SparkSession, path: str, options: Mapping[str, str]) -> DataFrame:
    try:
        return spark.read.options(**options).parquet(path)
    except SPARK_FAULTS as error:
        if not re.search(r"CANNOT_MERGE_SCHEMAS|Failed merging schema|Failed to merge", str(error)):
            raise
    # The same column has several types, such as an id that went through float in some files.
    every = _paths(spark, path, "parquet", options)
    alone = _with_base(spark, path, {k: v for k, v in options.items() if k.lower() != "mergeschema"})
    kinds = _side_by_side(lambda file: spark.read.options(**alone).parquet(*_literal([file])).schema.json(), every)
    return _united([spark.read.options(**alone).parquet(*_literal(group)) for group in _groups(every, kinds)])


def _read_csv(spark: SparkSession, path: str, options: Mapping[str, str]) -> DataFrame:
    every = _paths(spark, path, "csv", options)
    # With line breaks in quotes, Spark takes the name of a file for a glob when it looks for the header.
    for_header = options if _literal(every) == every else {**options, "multiLine": "false"}
    if options["header"].lower() != "true":
        return _read_csv_files(spark, path, [path], options, for_header)
    # Spark takes the columns of all files from one of them, by position; files with other headers are read apart.
    headers = _side_by_side(lambda file: _first_line(spark, file, options.get("encoding", options.get("charset", "UTF-8"))), every)
    filled = [(file, header) for file, header in zip(every, headers, strict=True) if header is not None]
    if not filled:
        raise ConfigError(f"{path}: the file has no header and no rows")
    groups = _groups([file for file, _ in filled], [header for _, header in filled])
    if len(groups) == 1:
        return _read_csv_files(spark, path, [path], options, for_header)
    based, based_header = (_with_base(spark, path, chosen) for chosen in (options, for_header))
    return _united([_read_csv_files(spark, path, _literal(group), based, based_header) for group in groups])


def _read_csv_files(
    spark: SparkSession, path: str, files: list[str], options: Mapping[str, str], for_header: Mapping[str, str]
) -> DataFrame:
    columns = spark.read.options(**{**for_header, "mode": "PERMISSIVE"}).csv(files).columns
    if not columns:
        raise ConfigError(f"{path}: the file has no header and no rows")
    schema = StructType([StructField(c, StringType()) for c in columns] + [StructField(UNREADABLE, StringType())])
    tolerant = {**options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": UNREADABLE}
    return spark.read.options(**tolerant).schema(schema).csv(files)


def _read_json(spark: SparkSession, path: str, options: Mapping[str, str]) -> DataFrame:
    schema = StructType([*_json_schema(spark, path, options).fields, StructField(UNREADABLE, StringType())])
    return spark.read.options(**_tolerant_json(options)).schema(schema).json(path)


def _json_schema(spark: SparkSession, path: str, options: Mapping[str, str]) -> StructType:
    try:
        return _schema_of(spark.read.options(**_tolerant_json(options)).json(path))
    except AnalysisException as error:
        if "COLUMN_ALREADY_EXISTS" not in str(error) or any(k.lower() in ("encoding", "charset") for k in options):
            raise
    # One line with the same key twice must not stop all others. Spark reads the last value, as others do who read JSON.
    is_whole = next((v for k, v in options.items() if k.lower() == "multiline"), "false")
    texts = spark.read.options(**{**options, "wholetext": is_whole}).text(path).select("value")
    return _without_repeats(_schema_of(_parsed_texts(spark, texts, _tolerant_json(options))))


def _without_repeats(schema: StructType) -> StructType:
    """A schema in which fields of the same name, at any depth, are one."""
    kinds: dict[str, list[DataType]] = {}
    for field in schema.fields:
        kinds.setdefault(field.name, []).append(field.dataType)
    return StructType([StructField(name, _one_kind(found)) for name, found in kinds.items()])


def _one_kind(kinds: Sequence[DataType]) -> DataType:
    """The type that holds the values of all: structs and arrays put together, text where they differ."""
    if all(isinstance(kind, StructType) for kind in kinds):
        return _without_repeats(StructType([field for kind in kinds for field in kind.fields]))  # type: ignore[attr-defined]
    if all(isinstance(kind, ArrayType) for kind in kinds):
        return ArrayType(_one_kind([kind.elementType for kind in kinds]))  # type: ignore[attr-defined]
    return kinds[0] if all(kind == kinds[0] for kind in kinds) else StringType()


def _parsed_texts(spark: SparkSession, texts: DataFrame, options: Mapping[str, str]) -> DataFrame:
    """Texts of JSON, the only column of a frame, as rows."""
    strings = texts._jdf.__getattr__("as")(spark._jvm.org.apache.spark.sql.Encoders.STRING())  # type: ignore[union-attr]
    return DataFrame(spark.read.options(**options)._jreader.json(strings), spark)


def _tolerant_json(options: Mapping[str, str]) -> dict[str, str]:
    return {**options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": UNREADABLE}


def _schema_of(rows: DataFrame) -> StructType:
    """The columns of raw rows without what the reader adds."""
    return StructType([f for f in rows.schema.fields if f.name != UNREADABLE])


def _read_delta(spark: SparkSession, path: str, options: Mapping[str, str]) -> DataFrame:
    reader = spark.read.options(**options).format("delta")
    return reader.table(path) if _is_table_name(path) else reader.load(path)


def _exploded(spark: SparkSession, rows: DataFrame, path: str, reader_format: str, options: Mapping[str, str], explode: str) -> DataFrame:
    if explode not in rows.columns:
        raise ConfigError(f"explode is {explode!r}: {path} has no such column; it has {', '.join(rows.columns)}")
    if reader_format == "json" and isinstance(rows.schema[explode].dataType, StringType):
        rows = _with_array(spark, rows, path, options, explode)
    if not isinstance(rows.schema[explode].dataType, ArrayType):
        kind = rows.schema[explode].dataType.simpleString()
        raise ConfigError(f"explode is {explode!r}: in {path} that column is no array but {kind}")
    others = [F.col(quoted_name(c)) for c in rows.columns if c != explode]
    return rows.select(*others, F.explode_outer(F.col(quoted_name(explode))).alias(explode))


def _with_array(spark: SparkSession, rows: DataFrame, path: str, options: Mapping[str, str], explode: str) -> DataFrame:
    """Read JSON again with an array where a few lines of another shape had made a text of the column.

    The lines that hold an array say what is in it; the others then fill ``_corrupt_record``.
    """
    arrays = rows.select(F.col(quoted_name(explode)).alias("array")).where(F.col("array").startswith("["))
    element = _schema_of(_parsed_texts(spark, arrays, options))
    if not element.fields:
        return rows
    fields = [StructField(f.name, ArrayType(element)) if f.name == explode else f for f in rows.schema.fields]
    return spark.read.options(**_tolerant_json(options)).schema(StructType(fields)).json(path)


def _united(parts: Sequence[DataFrame]) -> DataFrame:
    """Parts with other columns or types as one frame; a column whose types differ becomes text."""
    kinds: dict[str, set[str]] = {}
    for part in parts:
        for field in part.schema.fields:
            if not isinstance(field.dataType, NullType):
                kinds.setdefault(field.name, set()).add(field.dataType.simpleString())
    differing = {name for name, found in kinds.items() if len(found) > 1}

    def alike(field: StructField) -> Column:
        column = F.col(quoted_name(field.name))
        return number_as_text(column, field.dataType).alias(field.name) if field.name in differing else column

    as_texts = [part.select(*map(alike, part.schema.fields)) for part in parts]
    return reduce(lambda left, right: left.unionByName(right, allowMissingColumns=True), as_texts)


def _groups(files: Sequence[str], kinds: Sequence[str]) -> list[list[str]]:
    """The files of the same kind together, in the order in which the kinds come up."""
    groups: dict[str, list[str]] = {}
    for file, kind in zip(files, kinds, strict=True):
        groups.setdefault(kind, []).append(file)
    return list(groups.values())


def _side_by_side(read: Callable[[str], _Found], files: Sequence[str]) -> list[_Found]:
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        return list(threads.map(read, files))


def _first_line(spark: SparkSession, file: str, encoding: str) -> str | None:
    """The first line of a text file, unpacked where its name says that it is packed; None for an empty file."""
    jvm: Any = spark._jvm
    hadoop = spark._jsparkSession.sessionState().newHadoopConf()
    target = jvm.org.apache.hadoop.fs.Path(file)
    stream = target.getFileSystem(hadoop).open(target)
    try:
        codec = jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(hadoop).getCodec(target)
        unpacked = stream if codec is None else codec.createInputStream(stream)
        line = jvm.java.io.BufferedReader(jvm.java.io.InputStreamReader(unpacked, encoding)).readLine()
    finally:
        stream.close()
    return None if line is None else str(line).removeprefix("\ufeff")


def _paths(spark: SparkSession, path: str, reader_format: str, options: Mapping[str, str]) -> list[str]:
    files = list_files(spark, path, reader_format, options).select("path").orderBy("path").collect()
    if not files:
        raise ConfigError(f"{path}: the file has no header and no rows")
    return [row["path"] for row in files]


def _literal(files: Sequence[str]) -> list[str]:
    """The paths of files, in which no character is a wildcard."""
    return [re.sub(r"([\[\]{}*?\\])", r"\\\1", file) for file in files]


def _with_base(spark: SparkSession, path: str, options: Mapping[str, str]) -> dict[str, str]:
    """Options for reading the files of a folder one by one: folders in it such as day=2024-01-01 stay columns."""
    if "basepath" in {k.lower() for k in options} or re.search(r"[*?\[{]", path) is not None:
        return dict(options)
    target = spark._jvm.org.apache.hadoop.fs.Path(path)  # type: ignore[union-attr]
    system = target.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
    return {**options, "basePath": path} if system.getFileStatus(target).isDirectory() else dict(options)


def _delta_table(spark: SparkSession, path: str) -> DeltaTable:
    def open_table() -> DeltaTable:
        return DeltaTable.forName(spark, path) if _is_table_name(path) else DeltaTable.forPath(spark, path)

    return _or_config_error(path, "delta", open_table)


def _is_table_name(path: str) -> bool:
    return re.fullmatch(r"\w+(\.\w+){1,2}", path) is not None


def _or_config_error(path: str, reader_format: str, read: Callable[[], _Found], advice: str = "; correct the path in the config") -> _Found:
    try:
        return read()
    except SPARK_FAULTS as error:
        reason, damaged = str(error).strip().splitlines()[0], damaged_file(error)
        if "PATH_NOT_FOUND" in reason:
            raise ConfigError(f"{path}: no such file, folder or glob{advice}") from error
        if damaged is not None:
            raise ConfigError(f"{path}: cannot be read as {reader_format}: {damaged} is cut short or damaged") from error
        if isinstance(error, AnalysisException):
            raise ConfigError(f"{path}: cannot be read as {reader_format}: {reason}") from error
        raise


def _require_distinct_names(rows: DataFrame, path: str) -> None:
    """Spark takes two names that differ by case for one."""
    seen: dict[str, str] = {}
    for name in rows.columns:
        if name.lower() in seen:
            raise ConfigError(f"{path} has the columns {seen[name.lower()]!r} and {name!r}, which differ by case alone; rename one of them")
        seen[name.lower()] = name
