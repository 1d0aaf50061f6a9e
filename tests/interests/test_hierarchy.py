"""Hierarchies of interests: ids that hold their way from the coarsest level, and days at every level."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.interests.catalogue import build_hierarchy_catalogue
from interest_tiers.interests.evidence import interest_days, interests_by_levels
from interest_tiers.interests.features import user_interests
from interest_tiers.interests.hierarchy import all_names, ancestors, at_every_level, own_name, parent, path_interest
from interest_tiers.storage.schemas import INTERESTS

AS_OF = date(2024, 6, 1)
DAYS = "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions long, value double, level long"
MILK, CHEESE, TOOLS = "category:FOOD > MILK", "category:FOOD > CHEESE", "category:TOOLS > TOOLS"

NAMES = st.lists(st.text(alphabet="ab >\\\\:$", min_size=1, max_size=6).map(str.strip).filter(bool), min_size=1, max_size=4)


def test_ids_by_hand(spark: SparkSession) -> None:
    rows = [(["FOOD"],), (["FOOD", "MILK"],), (["A > B", "C\\"],), (["A", "B", "C\\"],)]
    ids = spark.createDataFrame(rows, "names array<string>").select(path_interest(F.col("names")).alias("id"))
    found = ids.select("id", parent(F.col("id")).alias("parent"), ancestors(F.col("id")).alias("ancestors"), own_name(F.col("id")))
    assert [tuple(row) for row in found.collect()] == [
        ("category:FOOD", None, ["category:FOOD"], "FOOD"),
        (MILK, "category:FOOD", ["category:FOOD", MILK], "MILK"),
        ("category:A \\> B > C\\\\", "category:A \\> B", ["category:A \\> B", "category:A \\> B > C\\\\"], "C\\"),
        (
            "category:A > B > C\\\\",
            "category:A > B",
            ["category:A", "category:A > B", "category:A > B > C\\\\"],
            "C\\",
        ),
    ]


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(NAMES, min_size=30, max_size=60, unique_by=tuple))
def test_an_id_says_its_names_and_no_other_way_has_it(spark: SparkSession, ways: list[list[str]]) -> None:
    ids = spark.createDataFrame([(way,) for way in ways], "names array<string>").coalesce(1)
    ids = ids.select("names", path_interest(F.col("names")).alias("id"))
    above = path_interest(F.slice("names", F.lit(1), F.size("names") - 1))
    found = ids.select("*", all_names(F.col("id")).alias("said"), parent(F.col("id")).alias("parent"), above.alias("above")).collect()
    assert [row["said"] for row in found] == ways
    assert len({row["id"] for row in found}) == len(ways)
    assert [row["parent"] for row in found] == [row["above"] if len(row["names"]) > 1 else None for row in found]


@pytest.fixture(scope="module")
def days(spark: SparkSession) -> DataFrame:
    """Yesterday milk and cheese; two days ago milk, of two kinds, and a tool."""
    yesterday, before = AS_OF - timedelta(days=1), AS_OF - timedelta(days=2)
    rows = [
        ("u", MILK, "m1", yesterday, 1.0, 1, 2.0, 2), ("u", CHEESE, "c1", yesterday, 0.5, 1, 3.0, 2),
        ("u", MILK, "m1", before, 1.0, 1, 2.0, 2), ("u", MILK, "m2", before, 1.0, 2, 2.0, 2), ("u", TOOLS, "t1", before, 1.0, 1, 9.0, 2),
    ]  # fmt: skip
    return spark.createDataFrame(rows, DAYS)


def test_a_day_in_two_interests_is_one_day_of_what_holds_them(days: DataFrame) -> None:
    pairs = user_interests(at_every_level(days, 2), AS_OF, 1.0, 7)
    found = {row["interest_id"]: row for row in pairs.collect()}
    facts = ("level", "n_days", "n_items", "n_interactions", "evidence", "total_value", "rank")
    assert {interest: tuple(row[name] for name in facts) for interest, row in found.items()} == {
        "category:FOOD": (1, 2, 3, 5, 0.75, 9.0, 1),
        "category:TOOLS": (1, 1, 1, 1, 0.25, 9.0, 2),
        MILK: (2, 2, 2, 4, 0.75, 6.0, 1),
        TOOLS: (2, 1, 1, 1, 0.25, 9.0, 3),
        CHEESE: (2, 1, 1, 1, 0.25, 3.0, 2),
    }
    assert found["category:FOOD"]["share"] == 0.75
    assert found[MILK]["share"] == 0.6


def test_every_level_holds_the_same_days(days: DataFrame) -> None:
    by_interest = interest_days(at_every_level(days, 2))
    found = {(row["level"], row["interest_id"], row["event_date"].day): row["weight"] for row in by_interest.collect()}
    assert found == {
        (1, "category:FOOD", 31): 1.0, (1, "category:FOOD", 30): 1.0, (1, "category:TOOLS", 30): 1.0,
        (2, MILK, 31): 1.0, (2, CHEESE, 31): 0.5, (2, MILK, 30): 1.0, (2, TOOLS, 30): 1.0,
    }  # fmt: skip


def test_the_catalogue_says_level_and_parent(spark: SparkSession, days: DataFrame) -> None:
    rows = [("m1", "whole milk"), ("m2", "skim milk"), ("c1", "soft cheese"), ("t1", "hammer")]
    items = spark.createDataFrame(
        [(item, text, text, None) for item, text in rows], "item_id string, text string, text_hash string, x string"
    )
    vectors = spark.createDataFrame([], "interest_id string, embedding array<float>")
    catalogue = build_hierarchy_catalogue(at_every_level(days, 2), items, vectors, [])
    assert catalogue.columns == [name for name in INTERESTS.schema.names if name != "as_of"]
    found = {row["interest_id"]: row for row in catalogue.collect()}
    assert {key: (row["name"], row["kind"], row["level"], row["parent_id"], row["n_items"]) for key, row in found.items()} == {
        "category:FOOD": ("FOOD", "category", 1, None, 3),
        "category:TOOLS": ("TOOLS", "category", 1, None, 1),
        MILK: ("MILK", "category", 2, "category:FOOD", 2),
        CHEESE: ("CHEESE", "category", 2, "category:FOOD", 1),
        TOOLS: ("TOOLS", "category", 2, "category:TOOLS", 1),
    }
    # Words are told apart within a level: at each, milk is of one interest.
    assert found["category:FOOD"]["top_terms"] == ["milk", "cheese", "skim", "soft", "whole"]
    assert found[MILK]["top_terms"] == ["milk", "skim", "whole"]


def test_items_without_levels_speak_for_no_interest(spark: SparkSession) -> None:
    items = spark.createDataFrame([("a", ["FOOD", "MILK"]), ("b", None)], "item_id string, levels array<string>")
    assert [tuple(row) for row in interests_by_levels(items).collect()] == [("a", MILK)]
