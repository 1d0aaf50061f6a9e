"""The item catalogue: one row per item, with a normalised text and its category."""

from __future__ import annotations

import re

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.columns import given_column, identifier, kind_of, require_columns, source_column
from interest_tiers.cleaning.quarantine import row_as_json
from interest_tiers.config import UNREADABLE, ItemSource
from interest_tiers.text import normalise, text_hash


def assess_items(raw: DataFrame, source: ItemSource, path: str) -> DataFrame:
    """Map the rows that describe items: a catalogue, or the events themselves.

    Returns item_id, text, category, is_dropped boolean (its category is to be dropped), reasons array<string>,
    raw (JSON; null for a good row), event_date (null), one row per row of the source.
    Raises ConfigError for a column that the source does not have.
    """
    columns = source.columns
    wanted = {"items.columns.item_id": columns.item_id} | {f"items.columns.text[{i}]": ref for i, ref in enumerate(columns.text)}
    if columns.category is not None:
        wanted["items.columns.category"] = columns.category
    require_columns(raw, wanted, path)
    category = F.lit(None).cast("string") if columns.category is None else F.trim(given_column(raw, columns.category).cast("string"))
    unreadable = source_column(UNREADABLE).isNotNull() if UNREADABLE in raw.columns else F.lit(False)
    mapped = raw.select(
        identifier(given_column(raw, columns.item_id), kind_of(raw, columns.item_id)).alias("item_id"),
        # Each part alone, so that a placeholder for a missing part goes missing.
        F.concat_ws(" ", *[normalise(given_column(raw, ref).cast("string")) for ref in columns.text]).alias("text"),
        F.when(category != "", category).alias("category"),
        F.when(unreadable, F.lit("row: cannot be read")).alias("unreadable"),
        row_as_json(raw.columns).alias("raw"),
    )
    missing_id = F.when(F.col("item_id").isNull(), F.lit("item_id: missing"))
    return mapped.withColumn("reasons", F.array_compact(F.array(missing_id, F.col("unreadable")))).select(
        "item_id",
        F.when(F.col("text") != "", F.col("text")).alias("text"),
        "category",
        matches_any(F.col("category"), source.drop_categories).alias("is_dropped"),
        "reasons",
        F.when(F.size("reasons") > 0, F.col("raw")).alias("raw"),
        F.lit(None).cast("date").alias("event_date"),
    )


def catalogue(assessed: DataFrame) -> DataFrame:
    """One row per usable item: item_id, text, text_hash, category, is_dropped.

    An item that stands several times takes its most frequent text and category, ties by alphabet; it is
    dropped when any of its rows is.
    """
    usable = assessed.where(F.size("reasons") == 0)
    versions = usable.groupBy("item_id", "text", "category").agg(F.count(F.lit(1)).alias("n"), F.max("is_dropped").alias("is_dropped"))
    # A row without a text says nothing of the text, however often it stands there.
    preference = F.struct(F.col("text").isNull(), F.col("category").isNull(), -F.col("n"), "text", "category")
    chosen = versions.groupBy("item_id").agg(F.min(preference).alias("best"), F.max("is_dropped").alias("is_dropped"))
    text = F.col("best.text")
    return chosen.select("item_id", text, text_hash(text).alias("text_hash"), "best.category", "is_dropped")


def matches_any(column: Column, patterns: list[str]) -> Column:
    """Whether a text matches one of the patterns, in which * stands for any text; false for null."""
    if not patterns:
        return F.lit(False)
    expression = "|".join(".*".join(re.escape(part) for part in pattern.split("*")) for pattern in patterns)
    return F.coalesce(column.rlike(f"^(?s:{expression})$"), F.lit(False))
