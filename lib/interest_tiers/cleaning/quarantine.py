"""Rows that cannot be used, kept whole with their reasons."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.columns import source_column

#: Where the CSV reader puts a line that it could not parse (tables.UNREADABLE).
UNREADABLE_COLUMN = "_corrupt_record"


def row_as_json(columns: Sequence[str]) -> Column:
    """A row as JSON, keys in alphabetical order and nulls left out, so that its hash survives a new column."""
    # Microseconds in full, since rows that differ in them alone are two.
    whole = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"}
    return F.to_json(F.struct(*[source_column(c) for c in sorted(columns)]), whole)


def quarantined(assessed: DataFrame, source: str, run_id: str) -> DataFrame:
    """The rows with reasons, in the shape of interactions_quarantine.

    assessed: raw, reasons, event_date. source: the part of the config that they come from.
    """
    return assessed.where(F.size("reasons") > 0).select(
        F.sha2("raw", 256).alias("row_hash"), "reasons", "raw", F.lit(source).alias("source"), F.lit(run_id).alias("run_id"), "event_date"
    )
