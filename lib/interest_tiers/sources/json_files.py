"""JSON files to raw rows: one object per line, keys that stand twice, half characters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StringType, StructField, StructType

from interest_tiers.config import UNREADABLE
from interest_tiers.errors import ConfigError
from interest_tiers.sources.columns import file_columns, merge_cases, merge_columns, merge_repeats, require_distinct_names, unite
from interest_tiers.sources.file_ends import read_ends, recognise
from interest_tiers.sources.files import first_file
from interest_tiers.sources.location import PARALLEL_READS, Location, read_in_parallel
from interest_tiers.text import quote_name

#: Options that differ from Spark's defaults. Whole numbers keep their digits.
JSON_DEFAULTS: Mapping[str, str] = {"primitivesAsString": "true"}

#: First lines of files that hold no object per line, with what to do.
_MANY_LINES = {
    r"\[|\[\s*\{": "begins an array over many lines, and one object per line is expected; set options.multiLine to true",
    r"\{": "begins an object over many lines, and one object per line is expected; set options.multiLine to true",
}
_SCRIPT = {r"(var|let|const|window|export)\b[^{\"\[]*=.*": "is JavaScript; remove what stands before the first [ or {, and a ; at the end"}

_CASE_SENSITIVE = "spark.sql.caseSensitive"

_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"

#: What is whole, then half of a character beyond 16 bits. Java would make a question mark of the half. Possessive, so that
#: Java neither goes back nor recurses.
_WHOLE = rf"[^\\]++|\\[^u]|{_HIGH}{_LOW}|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{{4}}"
_HALF_CHARACTER = rf"\G((?:{_WHOLE})*+)(?:{_HIGH}|{_LOW})"


def read_json(where: Location, explode: str | None, known: StructType | None) -> DataFrame:
    """Read JSON files. Values are texts; objects and arrays keep their shape."""
    _require_json(where)
    paths = [path for part, _ in where.parts for path in part]
    found = merge_cases(_infer_schema(where.spark, paths, where.options))
    require_distinct_names(found.names, where.path)
    if not found.fields and known is None:
        raise ConfigError(f"{where.path}: cannot be read as json: no line of it is a JSON object")
    has_halves = _has_half_characters(where, paths)
    rows = _read_as(where, found, has_halves)
    if explode in found.names and isinstance(found[explode].dataType, StringType):
        # A few lines of another shape made a text of the array. Its type comes from the lines that hold one; the others are corrupt.
        array = known[explode].dataType if known is not None and explode in known.names else _find_array_type(where, rows, explode)
        fields = [StructField(f.name, array) if f.name == explode and array is not None else f for f in found.fields]
        found, rows = StructType(fields), _read_as(where, StructType(fields), has_halves)
    merged = known and merge_columns(found, known)
    return _read_as(where, merged, has_halves) if merged and merged.simpleString() != found.simpleString() else rows


def _require_json(where: Location) -> None:
    """Refuse files whose first lines show another shape; the files of a source are alike, so some are enough."""
    encoding = where.option("encoding", "charset", default="UTF-8")
    files = where.files[:PARALLEL_READS] if where.files is not None else [file] if (file := first_file(where.spark, where.path)) else []
    shapes = _SCRIPT if where.option("multiLine").lower() == "true" else _SCRIPT | _MANY_LINES
    for file, ends in zip(files, read_in_parallel(lambda file: read_ends(where.spark, file, encoding), files), strict=True):
        line = (ends.header or "").strip()
        what = recognise(line)
        advice = next((advice for shape, advice in shapes.items() if re.fullmatch(shape, line, re.DOTALL)), None)
        if what is not None or advice is not None:
            raise ConfigError(f"{file}: cannot be read as json: {f'it is {what}' if what else f'its first line ({line[:40]}) {advice}'}")


def _read_as(where: Location, columns: StructType, has_halves: bool) -> DataFrame:
    fields = StructType([f for f in columns.fields if f.name not in (UNREADABLE, where.file_column)])
    if has_halves:
        return unite([_read_texts_as(where, paths, options, fields) for paths, options in where.parts])
    schema = StructType([*fields.fields, StructField(UNREADABLE, StringType())])
    reader = where.spark.read
    return unite([where.name_files(reader.options(**_tolerant(options)).schema(schema).json(paths)) for paths, options in where.parts])


def _read_texts_as(where: Location, paths: list[str], options: Mapping[str, str], fields: StructType) -> DataFrame:
    """Read lines, replace half characters by U+FFFD in them, and parse them as Spark's reader of files would."""
    texts = where.name_files(_read_texts(where.spark, paths, options)).where(F.trim("value") != "")
    whole = F.when(F.col("value").contains("\\u"), F.regexp_replace("value", _HALF_CHARACTER, r"$1\\ufffd")).otherwise(F.col("value"))
    own = StructType([f for f in fields.fields if f.name not in texts.columns])
    parsed = texts.withColumn("__rows", F.from_json(whole, ArrayType(own), _tolerant(options)))
    others = [F.col(quote_name(c)) for c in texts.columns if c != "value"]
    rows = parsed.where("__rows IS NULL OR size(__rows) > 0").select(
        *others, F.explode_outer("__rows").alias("__row"), F.when(F.col("__rows").isNull(), F.col("value")).alias(UNREADABLE)
    )
    return rows.select(*[F.col(f"__row.{quote_name(f.name)}").alias(f.name) for f in own.fields], *others, UNREADABLE)


def _infer_schema(spark: SparkSession, paths: list[str], options: Mapping[str, str]) -> StructType:
    before = spark.conf.get(_CASE_SENSITIVE, "false")
    spark.conf.set(_CASE_SENSITIVE, "true")  # else Spark joins keys that differ by case, and then finds the values of one of them alone
    try:
        try:
            return file_columns(spark.read.options(**_tolerant(options)).json(paths))
        except AnalysisException as error:
            if "COLUMN_ALREADY_EXISTS" not in str(error) or any(k.lower() in ("encoding", "charset") for k in options):
                raise
        # One line with the same key twice must not stop all others. Spark reads the last value, as most readers of JSON do.
        texts = _read_texts(spark, paths, options).select("value")
        return merge_repeats(file_columns(_parsed_texts(spark, texts, _tolerant(options))))
    finally:
        spark.conf.set(_CASE_SENSITIVE, str(before))


def _has_half_characters(where: Location, paths: list[str]) -> bool:
    """Check whether a text has half of an escaped character, in a pass over the lines that is cheap next to parsing them."""
    if where.option("encoding", "charset", default="UTF-8").upper() != "UTF-8":
        return False
    texts = _read_texts(where.spark, paths, where.options)
    lines = texts.where(F.col("value").contains("\\ud") | F.col("value").contains("\\uD")).where(F.col("value").rlike(_HALF_CHARACTER))
    return not lines.isEmpty()


def _read_texts(spark: SparkSession, paths: list[str], options: Mapping[str, str]) -> DataFrame:
    """Read the texts that are parsed by themselves: lines, or with multiLine whole files. Returns: (value string, folders' columns)."""
    is_whole = next((value for key, value in options.items() if key.lower() == "multiline"), "false").lower() == "true"
    return spark.read.options(**options).text(paths, wholetext=is_whole)


def _parsed_texts(spark: SparkSession, texts: DataFrame, options: Mapping[str, str]) -> DataFrame:
    """Parse the only column of a frame, texts of JSON, into rows."""
    strings = texts._jdf.__getattr__("as")(spark._jvm.org.apache.spark.sql.Encoders.STRING())  # type: ignore[union-attr]
    return DataFrame(spark.read.options(**options)._jreader.json(strings), spark)


def _tolerant(options: Mapping[str, str]) -> dict[str, str]:
    return {**options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": UNREADABLE}


def _find_array_type(where: Location, rows: DataFrame, explode: str) -> ArrayType | None:
    """Infer the type of the arrays among the texts of a column; None when there are none."""
    arrays = rows.select(F.col(quote_name(explode)).alias("array")).where(F.col("array").startswith("["))
    element = file_columns(_parsed_texts(where.spark, arrays, where.options))
    return ArrayType(element) if element.fields else None
