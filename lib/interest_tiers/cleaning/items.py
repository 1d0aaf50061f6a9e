"""Builds the item catalogue: one row per item, with a normalised text, its category and its levels in a hierarchy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.cleaning.columns import given_column, identifier, kind_of, require_columns
from interest_tiers.cleaning.quarantine import assess_rows, is_good
from interest_tiers.config import ColumnRef, ItemSource
from interest_tiers.text import format_number, hash_text, join_texts, normalise, normalise_name, normalise_pattern, wildcard_to_regex

#: What an item has one of.
FACTS = ("text", "category", "levels")


def assess_items(raw: DataFrame, source: ItemSource, path: str, levels: Sequence[str] = ()) -> DataFrame:
    """Map the rows that describe items: a catalogue, or the events themselves.

    levels: columns of a hierarchy, coarse to fine.
    Returns: (item_id, text, category, levels array<string>, is_dropped boolean, reasons array<string>, raw, event_date),
             one row per row of the source. raw is JSON, null for a good row; event_date is null.
    Raises ConfigError for a column that the source does not have.
    """
    columns = source.columns
    wanted: dict[str, ColumnRef] = {"items.columns.item_id": columns.item_id}
    wanted |= {f"items.columns.text[{i}]": ref for i, ref in enumerate(columns.text)}
    if columns.category is not None:
        wanted["items.columns.category"] = columns.category
    wanted |= {f"interests.source.{i}": column for i, column in enumerate(levels)}
    require_columns(raw, wanted, path)

    def name(ref: ColumnRef) -> Column:
        return normalise_name(format_number(given_column(raw, ref), kind_of(raw, ref)), source.missing)

    category = F.lit(None).cast("string") if columns.category is None else name(columns.category)
    # Each part is normalised on its own, so that an empty one leaves no separator.
    text = join_texts([normalise(given_column(raw, ref).cast("string"), source.missing) for ref in columns.text])
    assessed = assess_rows(
        raw,
        source,
        "item_id",
        item_id=identifier(given_column(raw, columns.item_id), kind_of(raw, columns.item_id), source.missing),
        text=text,
        category=category,
        levels=_names_of_levels([name(column) for column in levels]),
    )
    # After the name is computed, which may need Python.
    return assessed.withColumn("is_dropped", matches_any(F.col("category"), [normalise_pattern(p) for p in source.drop_categories]))


def _names_of_levels(names: Sequence[Column]) -> Column:
    """List an item's names, coarse to fine; null without a coarsest one.

    A level without a name takes that of the level above, so that every level holds the same items.
    """
    if not names:
        return F.lit(None).cast("array<string>")
    filled = reduce(lambda above, name: [*above, F.coalesce(name, above[-1])], names[1:], [names[0]])
    return F.when(names[0].isNotNull(), F.array(*filled))


def count_item_versions(assessed: DataFrame, before: DataFrame | None = None) -> DataFrame:
    """Count the usable rows that describe an item in the same way.

    assessed: see assess_items. before: the result for rows that were counted earlier.
    Returns: (item_id, text, category, levels, is_dropped, n_rows bigint), one row per description.
    A missing text or category is empty, and so are missing levels.
    """
    texts = [F.coalesce(name, F.lit("")).alias(name) for name in ("text", "category")]
    counted = assessed.where(is_good()).select("item_id", *texts, "levels", "is_dropped", F.lit(1).alias("n_rows"))
    together = counted if before is None else counted.unionByName(before)
    # Rows counted by an earlier version have no levels.
    together = together.withColumn("levels", F.coalesce("levels", F.array().cast("array<string>")))
    return together.groupBy("item_id", "text", "category", "levels", "is_dropped").agg(F.sum("n_rows").alias("n_rows"))


def dropped_items(versions: DataFrame) -> DataFrame:
    """Select the items of dropped categories. Returns: (item_id), one row per item."""
    return versions.where("is_dropped").select("item_id").distinct()


def moves_interactions(before: DataFrame, now: DataFrame, touched: DataFrame) -> bool:
    """Check whether stored interactions must move to the other table, because items were dropped or are dropped no longer.

    before, now: (item_id), the dropped items (see dropped_items)
    touched:     (item_id), the items of stored interactions
    """
    returned, dropped = before.join(now, "item_id", "left_anti"), now.join(before, "item_id", "left_anti")
    if not returned.isEmpty():
        return True
    return not dropped.isEmpty() and not touched.join(dropped, "item_id", "left_semi").isEmpty()


def build_catalogue(versions: DataFrame) -> DataFrame:
    """Choose the text, category and levels of every item, each for itself: the most frequent, ties by alphabet.

    versions: see count_item_versions. An item is dropped when any of its rows is.
    Returns: (item_id, text, text_hash, category, levels, is_dropped, has_several array<string>), one row per item;
             has_several names the facts of FACTS that the item has several of.
    """
    known = {name: F.when(F.col(name) != "", F.col(name)) for name in ("text", "category")}
    versions = versions.withColumns(known | {"levels": F.when(F.size("levels") > 0, F.col("levels"))})
    # One shuffle, by item, serves all windows and the groups.
    by_item = versions.repartition("item_id")
    counted = by_item.withColumns({f"n_{fact}": F.sum("n_rows").over(Window.partitionBy("item_id", fact)) for fact in FACTS})
    # A missing fact never wins over one that is there, however frequent it is.
    best = [F.min(F.struct(F.col(fact).isNull(), -F.col(f"n_{fact}"), fact)).alias(f"best_{fact}") for fact in FACTS]
    several = [F.when(F.min(fact) != F.max(fact), F.lit(fact)) for fact in FACTS]
    chosen = counted.groupBy("item_id").agg(
        *best, F.max("is_dropped").alias("is_dropped"), F.array_compact(F.array(*several)).alias("has_several")
    )
    facts = {fact: F.col(f"best_{fact}.{fact}") for fact in FACTS}
    return chosen.select(
        "item_id",
        facts["text"].alias("text"),
        hash_text(facts["text"]).alias("text_hash"),
        facts["category"].alias("category"),
        facts["levels"].alias("levels"),
        "is_dropped",
        "has_several",
    )


def matches_any(column: Column, patterns: list[str]) -> Column:
    """Check whether a text matches one of the patterns, in which * matches any text; false for null."""
    if not patterns:
        return F.lit(False)
    expression = "|".join(map(wildcard_to_regex, patterns))
    return F.coalesce(column.rlike(f"^(?s:{expression})$"), F.lit(False))
