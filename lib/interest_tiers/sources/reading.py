"""Raw rows: which files hold them, and how they are read so that none is lost.

The only module beside tables that touches storage; it reads and never writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from interest_tiers.text import format_number, quote_name

#: How the readers differ from Spark's defaults: standard CSV doubles its quotes and may break a line inside them;
#: numbers in JSON keep their digits; columns that only some Parquet files have are columns.
READER_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "csv": {"header": "true", "multiLine": "true", "escape": '"', "columnPruning": "false"},
    "json": {"primitivesAsString": "true"},
    "parquet": {"mergeSchema": "true"},
    "delta": {},
}

#: How the state of a Delta table reads, and which of its operations change no rows.
DELTA_STATE = "version %d of %s"
NEUTRAL_OPERATIONS = (
    "OPTIMIZE",
    "VACUUM START",
    "VACUUM END",
    "SET TBLPROPERTIES",
    "UNSET TBLPROPERTIES",
    "ADD CONSTRAINT",
    "CHANGE COLUMN",
)

#: What Spark tells of a file; its content is read only by those who ask for it.
BINARY_FILE = "path string, modificationTime timestamp, length bigint, content binary"

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
        table = _delta_table(spark, path)
        version = table.history(1).select("version").crossJoin(table.detail().select("id"))
        return version.select(F.lit(path).alias("path"), F.format_string(DELTA_STATE, "version", "id").alias("state"))
    choosing = {k: v for k, v in options.items() if k.lower() in CHOOSING_OPTIONS}
    files = _or_config_error(path, "binaryFile", lambda: spark.read.options(**choosing).format("binaryFile").load(path))
    return files.select("path", file_state().alias("state"))


def file_state() -> Column:
    """The state of a file, from Spark's columns length and modificationTime."""
    changed = F.date_format("modificationTime", "yyyy-MM-dd'T'HH:mm:ss.SSS")
    return F.concat("length", F.lit(" bytes, "), changed)


def has_only_grown(spark: SparkSession, path: str, state: str) -> bool:
    """Whether a Delta table that was in this state (see list_files) has only had rows added since, as far as its history tells."""
    table, found = _delta_table(spark, path), re.fullmatch(r"version (\d+) of (\S+)", state)
    detail = table.detail().select("id").first()
    if found is None or detail is None or detail["id"] != found.group(2):
        return False
    version = int(found.group(1))
    since = table.history().where(F.col("version") > version)
    is_addition = F.coalesce("isBlindAppend", F.lit(False)) | F.col("operation").isin(*NEUTRAL_OPERATIONS)
    counted = since.agg(F.min("version").alias("first"), F.coalesce(F.every(is_addition), F.lit(True)).alias("only_added")).first()
    assert counted is not None  # an aggregate without keys has one row
    # History that was cleaned up says nothing.
    return counted["first"] in (None, version + 1) and counted["only_added"]


def watch_files(spark: SparkSession, path: str, options: Mapping[str, str], files_per_batch: int) -> DataFrame:
    """A stream of the files behind a path, without what is in them: path, state (see list_files)."""
    choosing = {k: v for k, v in options.items() if k.lower() in CHOOSING_OPTIONS}
    reader = spark.readStream.options(**choosing, maxFilesPerTrigger=str(files_per_batch)).schema(BINARY_FILE)
    files = _or_config_error(path, "binaryFile", lambda: reader.format("binaryFile").load(path))
    return files.select("path", file_state().alias("state"))


def read_source(
    spark: SparkSession,
    path: str,
    reader_format: str,
    options: Mapping[str, str],
    explode: str | None = None,
    files: Sequence[str] | None = None,
    known: StructType | None = None,
) -> DataFrame:
    """Read raw rows.

    Columns of CSV and JSON are texts; a line that cannot be parsed fills the column ``_corrupt_record``. Files may
    differ in their columns and in the types of them. explode: an array column whose elements become rows (a row
    without elements stays one, with null). files: read these alone of those behind the path; of a Delta table, which
    is one, all rows are read. known: the columns that the source had before; those that are missing now are null.
    Raises ConfigError when nothing stands at the path, or what stands there cannot be read as that format.
    """
    where = _Location(
        spark, path, {**READER_DEFAULTS[reader_format], **options}, None if files is None or reader_format == "delta" else list(files)
    )
    known = known and _before_explode(known, explode)
    rows = _or_config_error(path, reader_format, lambda: _read(where, reader_format, explode, known))
    _require_distinct_names(rows, path)
    rows = rows if known is None else _completed(rows, known)
    return rows if explode is None else _exploded(rows, path, explode)


def merged_columns(left: StructType, right: StructType) -> StructType | None:
    """The columns of both, fields of structs included; None where one has another type here than there."""
    fields = {f.name: f for f in left.fields}
    for field in right.fields:
        kind = _merged_type(fields[field.name].dataType, field.dataType) if field.name in fields else field.dataType
        if kind is None:
            return None
        fields[field.name] = StructField(field.name, kind)
    return StructType(list(fields.values()))


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


@dataclass(frozen=True)
class _Location:
    """Where rows stand: everything behind a path, or some files of it."""

    spark: SparkSession
    path: str
    options: Mapping[str, str]
    files: list[str] | None

    @property
    def every_file(self) -> list[str]:
        return _paths(self) if self.files is None else self.files

    @property
    def parts(self) -> list[tuple[list[str], dict[str, str]]]:
        """What to give Spark's reader: paths, and the options that go with them."""
        return [([self.path], dict(self.options))] if self.files is None else self.parts_of(self.files)

    def parts_of(self, files: Sequence[str]) -> list[tuple[list[str], dict[str, str]]]:
        """Some files alone; folders between them and the path, such as day=2024-01-01, stay columns."""
        folders = _folders(self.spark, self.path)
        above = [next((folder for folder in folders if file.startswith(f"{folder}/")), None) for file in files]
        has_own = any(key.lower() == "basepath" for key in self.options)
        bases = [{} if folder is None or has_own else {"basePath": folder} for folder in dict.fromkeys(above)]
        groups = _groups(files, [str(folder) for folder in above])
        return [(_literal(group), {**self.options, **base}) for group, base in zip(groups, bases, strict=True)]


def _read(where: _Location, reader_format: str, explode: str | None, known: StructType | None) -> DataFrame:
    if reader_format == "csv":
        return _read_csv(where, known)
    if reader_format == "json":
        return _read_json(where, explode, known)
    return _read_parquet(where, known) if reader_format == "parquet" else _read_delta(where.spark, where.path, where.options)


def _read_parquet(where: _Location, known: StructType | None) -> DataFrame:
    reader = where.spark.read
    try:
        rows = _united([reader.options(**options).parquet(*paths) for paths, options in where.parts])
    except SPARK_FAULTS as error:
        if not re.search(r"CANNOT_MERGE_SCHEMAS|Failed merging schema|Failed to merge", str(error)):
            raise
    else:
        merged = known and merged_columns(rows.schema, known)
        if not merged or merged.simpleString() == rows.schema.simpleString():
            return rows
        return _united([reader.schema(merged).options(**options).parquet(*paths) for paths, options in where.parts])
    # The same column has several types, such as an id that went through float in some files.
    alone = {k: v for k, v in where.options.items() if k.lower() not in ("mergeschema", "basepath")}
    every = where.every_file
    kinds = _side_by_side(lambda file: reader.options(**alone).parquet(*_literal([file])).schema.json(), every)
    parts = [part for group in _groups(every, kinds) for part in where.parts_of(group)]
    unmerged = [(paths, {k: v for k, v in options.items() if k.lower() != "mergeschema"}) for paths, options in parts]
    return _united([reader.options(**options).parquet(*paths) for paths, options in unmerged])


def _read_csv(where: _Location, known: StructType | None) -> DataFrame:
    every, parts = where.every_file, where.parts
    if where.options["header"].lower() == "true":
        # Spark takes the columns of all files from one of them, by position; files with other headers are read apart.
        encoding = where.options.get("encoding", where.options.get("charset", "UTF-8"))
        headers = _side_by_side(lambda file: _first_line(where.spark, file, encoding), every)
        filled = [(file, header) for file, header in zip(every, headers, strict=True) if header is not None]
        if not filled and known is not None:
            return where.spark.createDataFrame([], known)
        if not filled:
            raise ConfigError(f"{where.path}: the file has no header and no rows")
        groups = _groups([file for file, _ in filled], [header for _, header in filled])
        if len(groups) > 1 or where.files is not None:
            parts = [part for group in groups for part in where.parts_of(group)]
    # With line breaks in quotes, Spark takes the name of a file for a glob when it looks for the header.
    for_header = {} if _literal(every) == every else {"multiLine": "false"}
    return _united([_read_csv_files(where, paths, options, {**options, **for_header}) for paths, options in parts])


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
        # A few lines of another shape made a text of the array. Those that hold one say what is in it; the others are corrupt.
        array = known[explode].dataType if known is not None and explode in known.names else _array_in(where, rows, explode)
        fields = [StructField(f.name, array) if f.name == explode and array is not None else f for f in found.fields]
        found, rows = StructType(fields), _read_json_as(where, StructType(fields))
    merged = known and merged_columns(found, known)
    return _read_json_as(where, merged) if merged and merged.simpleString() != found.simpleString() else rows


def _read_json_as(where: _Location, columns: StructType) -> DataFrame:
    schema = StructType([*(f for f in columns.fields if f.name != UNREADABLE), StructField(UNREADABLE, StringType())])
    return _united([where.spark.read.options(**_tolerant_json(options)).schema(schema).json(paths) for paths, options in where.parts])


def _json_schema(spark: SparkSession, paths: list[str], options: Mapping[str, str]) -> StructType:
    try:
        return _schema_of(spark.read.options(**_tolerant_json(options)).json(paths))
    except AnalysisException as error:
        if "COLUMN_ALREADY_EXISTS" not in str(error) or any(k.lower() in ("encoding", "charset") for k in options):
            raise
    # One line with the same key twice must not stop all others. Spark reads the last value, as others do who read JSON.
    is_whole = next((v for k, v in options.items() if k.lower() == "multiline"), "false")
    texts = spark.read.options(**{**options, "wholetext": is_whole}).text(paths).select("value")
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


def _array_in(where: _Location, rows: DataFrame, explode: str) -> ArrayType | None:
    """What the arrays among the texts of a column hold; None when there are none."""
    arrays = rows.select(F.col(quote_name(explode)).alias("array")).where(F.col("array").startswith("["))
    element = _schema_of(_parsed_texts(where.spark, arrays, where.options))
    return ArrayType(element) if element.fields else None


def _schema_of(rows: DataFrame) -> StructType:
    """The columns of raw rows without what the reader adds."""
    return StructType([f for f in rows.schema.fields if f.name != UNREADABLE])


def _read_delta(spark: SparkSession, path: str, options: Mapping[str, str]) -> DataFrame:
    reader = spark.read.options(**options).format("delta")
    return reader.table(path) if _is_table_name(path) else reader.load(path)


def _exploded(rows: DataFrame, path: str, explode: str) -> DataFrame:
    if explode not in rows.columns:
        raise ConfigError(f"explode is {explode!r}: {path} has no such column; it has {', '.join(rows.columns)}")
    if not isinstance(rows.schema[explode].dataType, ArrayType):
        kind = rows.schema[explode].dataType.simpleString()
        raise ConfigError(f"explode is {explode!r}: in {path} that column is no array but {kind}")
    others = [F.col(quote_name(c)) for c in rows.columns if c != explode]
    return rows.select(*others, F.explode_outer(F.col(quote_name(explode))).alias(explode))


def _before_explode(known: StructType, explode: str | None) -> StructType:
    return StructType([StructField(f.name, ArrayType(f.dataType)) if f.name == explode else f for f in known.fields])


def _completed(rows: DataFrame, known: StructType) -> DataFrame:
    missing = [f for f in known.fields if f.name not in rows.columns]
    return rows.select("*", *[F.lit(None).cast(f.dataType).alias(f.name) for f in missing])


def _merged_type(left: DataType, right: DataType) -> DataType | None:
    if isinstance(left, StructType) and isinstance(right, StructType):
        return merged_columns(left, right)
    if isinstance(left, ArrayType) and isinstance(right, ArrayType):
        element = _merged_type(left.elementType, right.elementType)
        return None if element is None else ArrayType(element)
    return left if left == right else None


def _united(parts: Sequence[DataFrame]) -> DataFrame:
    """Parts with other columns or types as one frame; a column whose types differ becomes text."""
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


def _paths(where: _Location) -> list[str]:
    files = list_files(where.spark, where.path, "binaryFile", where.options).select("path").orderBy("path").collect()
    if not files:
        raise ConfigError(f"{where.path}: the file has no header and no rows")
    return [row["path"] for row in files]


def _literal(files: Sequence[str]) -> list[str]:
    """The paths of files, in which no character is a wildcard."""
    return [re.sub(r"([\[\]{}*?\\])", r"\\\1", file) for file in files]


def _folders(spark: SparkSession, path: str) -> list[str]:
    """The folders that a path means, wildcards resolved."""
    jvm: Any = spark._jvm
    target = jvm.org.apache.hadoop.fs.Path(path)
    found = target.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf()).globStatus(target)
    return [str(status.getPath().toString()) for status in found or () if status.isDirectory()]


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
