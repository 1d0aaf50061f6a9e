"""The item catalogue: one row per item, whatever the source says twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.cleaning.items import assess_items, build_catalogue, count_item_versions, matches_any
from interest_tiers.cleaning.quarantine import to_quarantine
from interest_tiers.config import ItemSource
from interest_tiers.errors import ConfigError
from interest_tiers.sources.readers import read_source

SCHEMA = "sku string, brand string, label string, shelf string, stamp int"
CATALOGUE = "item_id string, text string, text_hash string, category string, levels array<string>, is_dropped boolean"


def source(drop: Sequence[str] = (), **columns: Any) -> ItemSource:
    mapped = {"item_id": "sku", "text": ["brand", "label"], "category": "shelf"} | columns
    return ItemSource.model_validate({"path": "items.csv", "columns": mapped, "drop_categories": list(drop)})


def item(item_id: str, text: str | None, category: str | None, is_dropped: bool = False) -> tuple:
    return (item_id, text, None if text is None else hashlib.sha256(text.encode()).hexdigest(), category, None, is_dropped)


def items_of(raw: DataFrame, drop: Sequence[str] = ()) -> DataFrame:
    return catalogue_of(assess_items(raw, source(drop), "items.csv"))


def catalogue_of(assessed: DataFrame) -> DataFrame:
    return build_catalogue(count_item_versions(assessed)).drop("has_several")


def test_texts_are_joined_and_normalised_and_blank_ones_are_null(spark: SparkSession) -> None:
    rows = [
        ("1.0", " Fat\tcow ", "whole\u00a0 milk", " DAIRY ", 1),
        ("02", None, "Cr\u00e8me br\u00fbl\u00e9e", "", 1),
        ("3", "\u3000", "", None, 1),
        ("4", "", "bread", "  ", 1),
    ]
    expected = [
        item("1", "Fat cow whole milk", "DAIRY"),
        item("02", "Cr\u00e8me br\u00fbl\u00e9e", None),
        item("3", None, None),
        item("4", "bread", None),
    ]
    assertDataFrameEqual(items_of(spark.createDataFrame(rows, SCHEMA)), spark.createDataFrame(expected, CATALOGUE))


def test_the_most_frequent_text_is_found_among_normal_forms_and_placeholders_are_none(spark: SparkSession) -> None:
    rows = [
        ("1", "Ben &amp; Jerry&#039;s", "None", "ICE", 1),
        ("1", "Ben &amp;amp; Jerry's", "n/a", "ICE", 2),
        ("1", "A tub", None, "ICE", 3),
        ("2", "[deleted]", "<p></p>", "ICE", 4),
        ("2", "nan", "", "ICE", 5),
        ("2", "Tub", None, "ICE", 6),
        ("3", "[removed]", "&nbsp;", "ICE", 7),
    ]
    expected = [item("1", "Ben & Jerry's", "ICE"), item("2", "Tub", "ICE"), item("3", None, "ICE")]
    assertDataFrameEqual(items_of(spark.createDataFrame(rows, SCHEMA)), spark.createDataFrame(expected, CATALOGUE))


def test_the_most_frequent_version_wins_and_ties_go_by_alphabet(spark: SparkSession) -> None:
    rows = [
        ("often", "b", None, "X", 1),
        ("often", "b", None, "X", 2),
        ("often", "a", None, "X", 3),
        ("tie", "b", None, "X", 1),
        ("tie", "a", None, "Z", 2),
        ("tie", "a", None, "Y", 3),
        ("text before none", None, None, "A", 1),
        ("text before none", "z", None, "B", 2),
        ("category before none", "z", None, None, 1),
        ("category before none", "z", None, "B", 2),
        ("repeated row", "a", None, "X", 1),
        ("repeated row", "b", None, "X", 1),
        ("repeated row", "b", None, "X", 1),
    ]
    expected = [
        item("often", "b", "X"),
        item("tie", "a", "X"),
        item("text before none", "z", "A"),
        item("category before none", "z", "B"),
        item("repeated row", "b", "X"),
    ]
    raw = spark.createDataFrame(rows, SCHEMA)
    for partitioned in (raw.coalesce(1), raw.repartition(3, "stamp")):
        assertDataFrameEqual(items_of(partitioned), spark.createDataFrame(expected, CATALOGUE))


def test_each_fact_is_chosen_for_itself_and_what_an_item_has_several_of_is_noted(spark: SparkSession) -> None:
    rows = [
        ("apart", None, "text without category", None, 1),
        ("apart", None, None, "MILK", 2),
        ("genres", None, "film", "Drama", 1),
        ("genres", None, "film", "Action", 2),
        ("spellings", None, "film", "Home &amp; Kitchen", 1),
        ("spellings", None, "film", "Home  &\u00a0Kitchen", 2),
        ("texts", None, "b", "X", 1),
        ("texts", None, "a", "X", 2),
        ("texts", None, "b", "Y", 3),
        ("texts", None, None, "Y", 4),
    ]
    got = build_catalogue(count_item_versions(assess_items(spark.createDataFrame(rows, SCHEMA), source(), "items.csv")))
    assert sorted(tuple(row) for row in got.select("item_id", "text", "category", "has_several").collect()) == [
        ("apart", "text without category", "MILK", []),
        ("genres", "film", "Action", ["category"]),
        ("spellings", "film", "Home & Kitchen", []),
        ("texts", "b", "X", ["text", "category"]),
    ]


def test_names_have_one_normal_form_and_words_for_missing_are_none(spark: SparkSession) -> None:
    given = {
        "Home & Kitchen": ["Home &amp; Kitchen", "Home & Kitchen", " Home  &  Kitchen", "Home &amp;amp; Kitchen"],
        "Shoes": ["Shoes", "Shoes\u00a0", "\u200bShoes", "Sho\u00ades"],
        "Caf\u00e9": ["Caf\u00e9", "Cafe\u0301"],
        'Sale "50%"': ['<b>Sale</b> "50%"'],
        "@home": ["@home"],
        "see example.org/a": ["see example.org/a"],
        None: ["nan", "None", "N/A", "NULL", "<NA>", "", " \u00a0", "(not set)", "(Not Set)", "-1", None],
    }
    rows = [(str(position), None, "t", name, 1) for position, name in enumerate(name for names in given.values() for name in names)]
    config = source().model_copy(update={"missing": ["(not set)", "-1"]})
    got = catalogue_of(assess_items(spark.createDataFrame(rows, SCHEMA), config, "items.csv"))
    found = {row["item_id"]: row["category"] for row in got.collect()}
    assert [found[str(position)] for position in range(len(rows))] == [name for name, names in given.items() for _ in names]


def test_an_item_is_dropped_when_any_of_its_rows_is(spark: SparkSession) -> None:
    rows = [
        ("1", "a", None, "MILK", 1),
        ("1", "a", None, "MILK", 2),
        ("1", "a", None, "COUPON/MEAT", 3),
        ("2", "a", None, "FUEL", 1),
        ("3", "a", None, "FUELS", 1),
        ("4", "a", None, None, 1),
    ]
    got = items_of(spark.createDataFrame(rows, SCHEMA), drop=["COUPON*", "FUEL"])
    expected = [item("1", "a", "MILK", True), item("2", "a", "FUEL", True), item("3", "a", "FUELS"), item("4", "a", None)]
    assertDataFrameEqual(got, spark.createDataFrame(expected, CATALOGUE))


@pytest.mark.parametrize(
    ("patterns", "matched"),
    [
        ([], []),
        (["FUEL"], ["FUEL"]),
        (["FUEL*"], ["FUEL", "FUEL (GAS)", "FUEL\nGAS"]),
        (["*GAS*"], ["FUEL (GAS)", "FUEL\nGAS"]),
        (["FUEL (GAS)"], ["FUEL (GAS)"]),
        (["A.B"], ["A.B"]),
        (["A+B", "$5 [x]|y", "\\d"], ["A+B", "$5 [x]|y", "\\d"]),
        (["*|*"], ["$5 [x]|y"]),
        (["\u00fc*"], ["\u00fcber"]),
        (["fuel"], []),
        (["*"], ["FUEL", "FUEL (GAS)", "FUEL\nGAS", "A.B", "AxB", "A+B", "$5 [x]|y", "\\d", "7", "\u00fcber", ""]),
        (["**L"], ["FUEL"]),
        ([""], [""]),
    ],
)
def test_patterns_are_literal_but_for_the_star(spark: SparkSession, patterns: list[str], matched: list[str]) -> None:
    names = ["FUEL", "FUEL (GAS)", "FUEL\nGAS", "A.B", "AxB", "A+B", "$5 [x]|y", "\\d", "7", "\u00fcber", "", None]
    rows = spark.createDataFrame([(name,) for name in names], "name string").coalesce(1)
    got = rows.select("name", matches_any(F.col("name"), patterns).alias("matches")).collect()
    assert [row["name"] for row in got if row["matches"]] == matched
    assert {row["matches"] for row in got} <= {True, False}


def test_rows_without_an_id_and_lines_that_cannot_be_read_end_in_the_quarantine(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("sku,brand,label,shelf\n1,a,b,MILK\n ,a,b,MILK\n3,a\nnull,a,b,MILK,5\n", encoding="utf-8")
    assessed = assess_items(read_source(spark, str(tmp_path / "items.csv"), "csv", {}), source(), "items.csv")
    assertDataFrameEqual(catalogue_of(assessed), spark.createDataFrame([item("1", "a b", "MILK")], CATALOGUE))
    rows = to_quarantine(assessed, F.lit("items"), "run-1").collect()
    assert sorted(row["reasons"] for row in rows) == [
        ["item_id: missing"],
        ["item_id: missing", "row: cannot be read"],
        ["row: cannot be read"],
    ]
    assert {(row["source"], row["run_id"], row["event_date"]) for row in rows} == {("items", "run-1", None)}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (source(item_id="product"), r"^items\.columns\.item_id is 'product': items\.csv has no such column"),
        (source(category="shelves"), r"^items\.columns\.category is 'shelves': .*did you mean shelf\?"),
        (source(text=["brand", "name"]), r"^items\.columns\.text\[1\] is 'name': "),
    ],
)
def test_columns_that_are_not_there_are_told(spark: SparkSession, config: ItemSource, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        assess_items(spark.createDataFrame([], SCHEMA), config, "items.csv")


def test_ids_and_texts_that_are_numbers(spark: SparkSession) -> None:
    raw = spark.createDataFrame([(17850000.0, 3, 2)], "sku double, label int, shelf int")
    got = catalogue_of(assess_items(raw, source(text="label"), "items.parquet"))
    assertDataFrameEqual(got, spark.createDataFrame([item("17850000", "3", "2")], CATALOGUE))


def test_levels_are_names_as_given_and_a_missing_one_is_that_of_the_level_above(spark: SparkSession) -> None:
    rows = [
        ("1", " DAIRY ", "CHEESE", "SHREDDED", 1),
        ("2", "DAIRY", "", "SHREDDED", 1),
        ("3", "DAIRY", "CHEESE", None, 1),
        ("4", "DAIRY", None, " ", 1),
        ("5", None, "CHEESE", "SHREDDED", 1),
        ("often", "DAIRY", "MILK", "WHOLE", 1),
        ("often", "DAIRY", "CHEESE", "SOFT", 1),
        ("often", "DAIRY", "MILK", "WHOLE", 2),
    ]
    raw = spark.createDataFrame(rows, SCHEMA)
    assessed = assess_items(raw, source(category=None, text="label"), "items.csv", ["brand", "label", "shelf"])
    found = {row["item_id"]: row["levels"] for row in build_catalogue(count_item_versions(assessed)).collect()}
    assert found == {
        "1": ["DAIRY", "CHEESE", "SHREDDED"],
        "2": ["DAIRY", "DAIRY", "SHREDDED"],
        "3": ["DAIRY", "CHEESE", "CHEESE"],
        "4": ["DAIRY", "DAIRY", "DAIRY"],
        "5": None,
        "often": ["DAIRY", "MILK", "WHOLE"],
    }


def test_a_level_that_is_no_column_is_told(spark: SparkSession) -> None:
    with pytest.raises(ConfigError, match=r"^interests\.source\.1 is 'shelves': items\.csv has no such column; did you mean shelf\?"):
        assess_items(spark.createDataFrame([], SCHEMA), source(), "items.csv", ["brand", "shelves"])
