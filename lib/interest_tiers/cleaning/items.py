"""The item catalogue: one row per item, with a normalised text and its category."""

from __future__ import annotations

import re

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.columns import identifier, require_columns, source_column
from interest_tiers.cleaning.quarantine import UNREADABLE_COLUMN, row_as_json
from interest_tiers.config import ItemSource
from interest_tiers.text import normalise, text_hash


def assess_items(raw: DataFrame, source: ItemSource, path: str) -> DataFrame:
    """Map the rows of the catalogue.

    Returns item_id, text, category, is_dropped boolean (its category is to be dropped), reasons array<string>,
    raw (JSON), event_date (null), one row per distinct row of the source.
    Raises ConfigError for a column that the source does not have.
    """
    columns = source.columns
    wanted = {"items.columns.item_id": columns.item_id, "items.columns.category": columns.category}
    wanted |= {f"items.columns.text[{i}]": name for i, name in enumerate(columns.text)}
    require_columns(raw, wanted, path)
    kind = raw.schema[columns.item_id].dataType
    category = F.trim(source_column(columns.category).cast("string"))
    unreadable = source_column(UNREADABLE_COLUMN).isNotNull() if UNREADABLE_COLUMN in raw.columns else F.lit(False)
    mapped = raw.distinct().select(
        identifier(source_column(columns.item_id), kind).alias("item_id"),
        normalise(F.concat_ws(" ", *[normalise(source_column(c).cast("string")) for c in columns.text])).alias("text"),
        F.when(category != "", category).alias("category"),
        F.when(unreadable, F.lit("row: cannot be read")).alias("unreadable"),
        row_as_json(raw.columns).alias("raw"),
    )
    missing_id = F.when(F.col("item_id").isNull(), F.lit("item_id: missing"))
    return mapped.select(
        "item_id",
        "text",
        "category",
        matches_any(F.col("category"), source.drop_categories).alias("is_dropped"),
        F.array_compact(F.array(missing_id, F.col("unreadable"))).alias("reasons"),
        "raw",
        F.lit(None).cast("date").alias("event_date"),
    )


def catalogue(assessed: DataFrame) -> DataFrame:
    """One row per usable item: item_id, text, text_hash, category, is_dropped.

    An item that stands several times takes its most frequent text and category, ties by alphabet; it is
    dropped when any of its rows is.
    """
    usable = assessed.where(F.size("reasons") == 0)
    versions = usable.groupBy("item_id", "text", "category").agg(F.count(F.lit(1)).alias("n"), F.max("is_dropped").alias("is_dropped"))
    preference = F.struct(-F.col("n"), F.col("text").isNull(), "text", F.col("category").isNull(), "category")
    chosen = versions.groupBy("item_id").agg(F.min(preference).alias("best"), F.max("is_dropped").alias("is_dropped"))
    text = F.col("best.text")
    return chosen.select("item_id", text, text_hash(text).alias("text_hash"), "best.category", "is_dropped")


def matches_any(column: Column, patterns: list[str]) -> Column:
    """Whether a text matches one of the patterns, in which * stands for any text; false for null."""
    if not patterns:
        return F.lit(False)
    expression = "|".join(".*".join(re.escape(part) for part in pattern.split("*")) for pattern in patterns)
    return F.coalesce(column.rlike(f"^(?s:{expression})$"), F.lit(False))
