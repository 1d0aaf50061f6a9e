"""Measures the item catalogue: what its items lack, and whether interactions meet it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.items import FACTS
from interest_tiers.cleaning.quality import CATALOGUE_RATE, Measure
from interest_tiers.cleaning.undecodable import FREE_TEXT
from interest_tiers.config import ITEMS_SOURCE, Quality

#: Below this share, an id of each side is shown.
LOW_RATE = 0.5


@dataclass(frozen=True)
class Coverage:
    """How many good interactions of a source have an item of the catalogue.

    ids: an item of the interactions that the catalogue lacks, and an item of the catalogue; None where most are met
    """

    source: str
    interactions: int
    known: int
    ids: tuple[str, str | None] | None = None

    @property
    def rate(self) -> float:
        return self.known / max(self.interactions, 1)

    @property
    def advice(self) -> str:
        """Show both ids, and say what to check; empty where most interactions meet an item."""
        if self.ids is None:
            return ""
        lacking, held = self.ids
        in_catalogue = "the catalogue has no items" if held is None else f"the catalogue has the item {held!r}"
        return f". An interaction has the item {lacking!r}, {in_catalogue}: check that both columns item_id hold the same ids"


def measure_catalogue(catalogue: DataFrame) -> list[Measure]:
    """Count the items, those that lack a fact, and those that had several. catalogue: see items.build_catalogue."""
    lacking = [F.count_if(F.col(fact).isNull()).alias(f"no_{fact}") for fact in FACTS[:2]]
    several = [F.count_if(F.array_contains("has_several", fact)).alias(f"several_{fact}") for fact in FACTS]
    counted = catalogue.where("NOT is_dropped").agg(F.count(F.lit(1)).alias("items"), *lacking, *several).first()
    assert counted is not None  # an aggregate without keys has one row
    return [
        Measure(ITEMS_SOURCE, "items", None, counted["items"]),
        *(Measure(ITEMS_SOURCE, "items_without", fact, counted[f"no_{fact}"]) for fact in FACTS[:2]),
        *(Measure(ITEMS_SOURCE, "items_with_several", fact, counted[f"several_{fact}"]) for fact in FACTS),
    ]


def describe_items(measures: Sequence[Measure]) -> list[str]:
    """Describe the items that had several of a fact, of which one was kept, and the texts with U+FFFD."""
    names = {"text": "texts", "category": "categories", "levels": "paths of levels"}
    several = {m.subject: int(m.value) for m in measures if m.measure == "items_with_several" and m.value}
    texts = sum(int(m.value) for m in measures if (m.source, m.measure, m.subject) == (ITEMS_SOURCE, "undecodable", FREE_TEXT))
    return [
        *[f"{n:,} items with several {names[fact or '']}, one of which was kept" for fact, n in several.items()],
        *([f"{texts:,} item rows with U+FFFD in their text (is options.encoding set?)"] if texts else []),
    ]


def measure_coverage(good: DataFrame, catalogue: DataFrame) -> list[Coverage]:
    """Count per source the interactions whose item the catalogue has.

    good:      (source, item_id, …), good interactions
    catalogue: (item_id, …), one row per item
    """
    # Grouped first: what is joined is one row per item and source.
    counts = good.groupBy("source", "item_id").agg(F.count(F.lit(1)).alias("n"))
    matched = counts.join(catalogue.select("item_id", F.lit(True).alias("is_known")), "item_id", "left")
    known = F.when(F.col("is_known"), F.col("n")).otherwise(0)
    totals = matched.groupBy("source").agg(F.sum("n").alias("n"), F.sum(known).alias("known")).orderBy("source").collect()
    return [_with_ids(Coverage(row["source"], row["n"], row["known"]), good, catalogue) for row in totals]


def coverage_measures(found: Sequence[Coverage], quality: Quality) -> list[Measure]:
    """Measure the coverage of every source against the limit of the config."""
    limit = quality.min_catalogue_rate
    return [
        Measure(each.source, CATALOGUE_RATE, None, each.rate, limit, None if limit is None else each.rate >= limit, explanation=each.advice)
        for each in found
    ]


def describe_coverage(found: Sequence[Coverage]) -> list[str]:
    """Describe the interactions whose item the catalogue lacks."""
    interactions = sum(each.interactions for each in found)
    lacking = interactions - sum(each.known for each in found)
    return [f"{lacking:,} interactions ({lacking / interactions:.1%}) with items that the catalogue lacks"] if lacking else []


def _with_ids(found: Coverage, good: DataFrame, catalogue: DataFrame) -> Coverage:
    """Add an id of each side where few interactions meet an item: two that differ in form alone, where there are such."""
    if found.rate >= LOW_RATE:
        return found
    lacking = good.where(F.col("source") == found.source).select("item_id").distinct().join(catalogue, "item_id", "left_anti")
    form = _form(F.col("item_id")).alias("form")
    held = catalogue.select(F.col("item_id").alias("held"), form)
    alike = lacking.select("item_id", form).join(held, "form").agg(F.min(F.struct("item_id", "held")).alias("ids")).first()
    if alike is not None and alike["ids"] is not None:
        return replace(found, ids=tuple(alike["ids"]))
    lowest = [rows.agg(F.min("item_id").alias("id")).first() for rows in (lacking, catalogue)]
    assert lowest[0] is not None and lowest[1] is not None  # aggregates without keys have one row
    return replace(found, ids=(lowest[0]["id"], lowest[1]["id"]))


def _form(item_id: Column) -> Column:
    """Reduce an id to its letters and digits, without case and leading zeros."""
    return F.regexp_replace(F.lower(F.regexp_replace(item_id, r"[^\p{L}\p{N}]", "")), "^0+(?=.)", "")
