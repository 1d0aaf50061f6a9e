"""The catalogue: what its items lack or had several of, and whether interactions meet it."""

from __future__ import annotations

from pyspark.sql import SparkSession

from interest_tiers.cleaning.coverage import (
    Coverage,
    coverage_measures,
    describe_coverage,
    describe_items,
    measure_catalogue,
    measure_coverage,
)
from interest_tiers.config import Quality


def test_items_without_a_fact_or_with_several_are_counted(spark: SparkSession) -> None:
    rows = [
        ("1", "tea", "DRINKS", False, ["category", "text"]),
        ("2", None, "DRINKS", False, ["category"]),
        ("3", None, None, False, []),
        ("4", None, None, True, ["category"]),
    ]
    columns = "item_id string, text string, category string, is_dropped boolean, has_several array<string>"
    measures = measure_catalogue(spark.createDataFrame(rows, columns))
    assert {(m.measure, m.subject): m.value for m in measures} == {
        ("items", None): 3,
        ("items_without", "text"): 2,
        ("items_without", "category"): 1,
        ("items_with_several", "text"): 1,
        ("items_with_several", "category"): 2,
        ("items_with_several", "levels"): 0,
    }
    assert {m.source for m in measures} == {"items"}
    assert describe_items(measures) == [
        "1 items with several texts, one of which was kept",
        "2 items with several categories, one of which was kept",
    ]


def test_interactions_that_meet_no_item_are_counted_by_source_and_ids_that_look_alike_are_shown(spark: SparkSession) -> None:
    good = [
        ("logs", "0001"),
        ("logs", "0001"),
        ("logs", "x"),
        ("logs", "B-2"),
        ("news", "9"),
        ("news", "7"),
        ("zeros", "007"),
        ("other", "q"),
    ]
    catalogue = spark.createDataFrame([("9",), ("7",), ("1",), ("b2",)], "item_id string")
    found = measure_coverage(spark.createDataFrame(good, "source string, item_id string"), catalogue)
    assert found == [
        Coverage("logs", 4, 0, ("0001", "1")),
        Coverage("news", 2, 2),
        Coverage("other", 1, 0, ("q", "1")),
        Coverage("zeros", 1, 0, ("007", "7")),
    ]
    assert found[0].advice == (
        ". An interaction has the item '0001', the catalogue has the item '1': check that both columns item_id hold the same ids"
    )
    assert found[1].advice == ""
    assert describe_coverage(found) == ["6 interactions (75.0%) with items that the catalogue lacks"]
    passed = {m.source: (m.value, m.passed) for m in coverage_measures(found, Quality(min_catalogue_rate=0.5))}
    assert passed == {"logs": (0.0, False), "news": (1.0, True), "other": (0.0, False), "zeros": (0.0, False)}
    assert {m.passed for m in coverage_measures(found, Quality())} == {None}


def test_an_empty_catalogue_and_no_interactions(spark: SparkSession) -> None:
    empty = spark.createDataFrame([], "item_id string")
    [found] = measure_coverage(spark.createDataFrame([("logs", "1")], "source string, item_id string"), empty)
    assert found.advice.startswith(". An interaction has the item '1', the catalogue has no items")
    assert measure_coverage(spark.createDataFrame([], "source string, item_id string"), empty) == []
    assert describe_coverage([]) == []
