"""Reads raw rows of any format, so that no row is lost. Nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from interest_tiers.sources.columns import add_missing, require_distinct_names
from interest_tiers.sources.csv_files import CSV_DEFAULTS, read_csv
from interest_tiers.sources.delta import read_delta
from interest_tiers.sources.faults import read_or_config_error
from interest_tiers.sources.json_files import JSON_DEFAULTS, read_json
from interest_tiers.sources.location import Location
from interest_tiers.sources.parquet_files import PARQUET_DEFAULTS, read_parquet

#: Reader options that differ from Spark's defaults.
READER_DEFAULTS: Mapping[str, Mapping[str, str]] = {"csv": CSV_DEFAULTS, "json": JSON_DEFAULTS, "parquet": PARQUET_DEFAULTS, "delta": {}}


def read_source(
    spark: SparkSession,
    path: str,
    reader_format: str,
    options: Mapping[str, str],
    explode: str | None = None,
    files: Sequence[str] | None = None,
    known: StructType | None = None,
    skip_lines: int = 0,
    file_column: str | None = None,
) -> DataFrame:
    """Read raw rows, as the files have them.

    Columns of CSV and JSON are texts. A line that cannot be parsed fills the column ``_corrupt_record``, and so do the
    lines after a quote that nothing closes. Files may differ in their columns and in the types of them.

    explode: a column that holds arrays; a line of JSON with another shape there cannot be parsed.
    files: read only these files behind the path; a Delta table is read whole.
    known: the columns that the source had before; those that are missing now are null.
    skip_lines: lines above the header of every CSV file.
    file_column: a column to add, with the name of the file that a row comes from.
    Raises ConfigError when the path does not exist or cannot be read as that format.
    """
    some = None if files is None or reader_format == "delta" else list(files)
    where = Location(spark, path, {**READER_DEFAULTS[reader_format], **options}, some, skip_lines, file_column)
    rows = read_or_config_error(path, reader_format, lambda: _read(where, reader_format, explode, known))
    return complete_columns(rows, path, known)


def complete_columns(rows: DataFrame, path: str, known: StructType | None) -> DataFrame:
    """Add the columns that the source had before. Raises ConfigError for names that differ by case alone."""
    require_distinct_names(rows.columns, path)
    return rows if known is None else add_missing(rows, known)


def _read(where: Location, reader_format: str, explode: str | None, known: StructType | None) -> DataFrame:
    if reader_format == "csv":
        return read_csv(where, known)
    if reader_format == "json":
        return read_json(where, explode, known)
    return read_parquet(where, known) if reader_format == "parquet" else read_delta(where.spark, where.path, where.options)
