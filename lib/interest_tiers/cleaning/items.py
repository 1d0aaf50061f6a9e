"""The item catalogue: one row per item, with a normalised text and its category."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.columns import given_column, identifier, kind_of, require_columns
from interest_tiers.cleaning.quarantine import assessed_rows, is_good
from interest_tiers.config import ItemSource
from interest_tiers.text import joined, normalise, text_hash, wildcard_expression


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
    category = F.when(category != "", category)
    # Each part alone, so that one that says nothing leaves no trace.
    text = joined([normalise(given_column(raw, ref).cast("string")) for ref in columns.text])
    return assessed_rows(
        raw,
        "item_id",
        item_id=identifier(given_column(raw, columns.item_id), kind_of(raw, columns.item_id)),
        text=text,
        category=category,
        is_dropped=matches_any(category, source.drop_categories),
    )


def item_versions(assessed: DataFrame, before: DataFrame | None = None) -> DataFrame:
    """How often usable rows say what of an item: item_id, text, category (both empty where there is none), is_dropped, n_rows.

    before: the same of rows that were counted earlier.
    """
    texts = [F.coalesce(name, F.lit("")).alias(name) for name in ("text", "category")]
    counted = assessed.where(is_good()).select("item_id", *texts, "is_dropped", F.lit(1).alias("n_rows"))
    together = counted if before is None else counted.unionByName(before)
    return together.groupBy("item_id", "text", "category", "is_dropped").agg(F.sum("n_rows").alias("n_rows"))


def catalogue(versions: DataFrame) -> DataFrame:
    """One row per item: item_id, text, text_hash, category, is_dropped. versions: see item_versions.

    An item that stands several times takes its most frequent text and category, ties by alphabet; it is
    dropped when any of its rows is.
    """
    versions = versions.withColumns({name: F.when(F.col(name) != "", F.col(name)) for name in ("text", "category")})
    # A row without a text says nothing of the text, however often it stands there.
    preference = F.struct(F.col("text").isNull(), F.col("category").isNull(), -F.col("n_rows"), "text", "category")
    chosen = versions.groupBy("item_id").agg(F.min(preference).alias("best"), F.max("is_dropped").alias("is_dropped"))
    text = F.col("best.text")
    return chosen.select("item_id", text, text_hash(text).alias("text_hash"), "best.category", "is_dropped")


def matches_any(column: Column, patterns: list[str]) -> Column:
    """Whether a text matches one of the patterns, in which * stands for any text; false for null."""
    if not patterns:
        return F.lit(False)
    expression = "|".join(map(wildcard_expression, patterns))
    return F.coalesce(column.rlike(f"^(?s:{expression})$"), F.lit(False))
