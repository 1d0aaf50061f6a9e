"""Evidence: days and not rows, the day's largest weight, and sums that no partitioning changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.config import BehaviourWeight, ValueScale
from interest_tiers.interests.evidence import (
    behaviour_weight,
    category_interest,
    count_bands,
    decayed_evidence,
    exact_sum,
    exact_sum_of_values,
    find_oldest_age,
    interest_days,
    interests_by_category,
    item_days,
    summed_evidence,
)

WEIGHTS = {
    "purchase": BehaviourWeight(weight=1.0),
    "view": BehaviourWeight(weight=0.1),
    "rate": BehaviourWeight(weight=3),
    "return": BehaviourWeight(weight=-1.0),
    "dislike": BehaviourWeight(weight=-2.0),
}
MONDAY, TUESDAY = date(2017, 10, 9), date(2017, 10, 10)
ITEMS = [("milk", "DAIRY"), ("cheese", "DAIRY"), ("hammer", "TOOLS"), ("riddle", None)]
ITEM_DAYS = (
    "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions long, value double, level long"
)
INTEREST_DAYS = "user_id string, level long, interest_id string, event_date date, weight double, n_interactions long, value double"


SCALED = {
    # 1 star says -1, 3 stars nothing, 5 stars 1.
    "stars": BehaviourWeight(weight=1.0, value=ValueScale(low=1, high=5, weight_at_low=-1)),
    # 10 says 0.5, 1000 says 2.5: the logarithm's middle is 100.
    "spend": BehaviourWeight(weight=2.5, value=ValueScale(low=10, high=1000, weight_at_low=0.5, scale="log")),
    # Half of the amount back takes half away.
    "refund": BehaviourWeight(weight=-2.0, value=ValueScale(low=0, high=50)),
    "view": BehaviourWeight(weight=0.1),
}


def item_days_of(spark: SparkSession, events: Sequence[tuple[Any, ...]]) -> DataFrame:
    """events: user, item, behaviour, day, value."""
    interactions = spark.createDataFrame(list(events), "user_id string, item_id string, behaviour string, event_date date, value double")
    return item_days(interactions, interests_by_category(spark.createDataFrame(ITEMS, "item_id string, category string")), WEIGHTS)


def test_a_day_counts_once_with_its_largest_weight(spark: SparkSession) -> None:
    burst = [("bot", "milk", "view", MONDAY, None)] * 500
    events = [
        *burst,
        ("u1", "milk", "view", MONDAY, None),
        ("u1", "milk", "purchase", MONDAY, 1.25),
        ("u1", "milk", "purchase", MONDAY, -0.25),
        ("u1", "cheese", "rate", MONDAY, 4.0),
        ("u1", "milk", "view", TUESDAY, None),
        ("u1", "hammer", "view", MONDAY, None),
    ]
    got = item_days_of(spark, events)
    expected = [
        ("bot", "category:DAIRY", "milk", MONDAY, 0.1, 500, 0.0, 1),
        ("u1", "category:DAIRY", "milk", MONDAY, 1.0, 3, 1.0, 1),
        ("u1", "category:DAIRY", "cheese", MONDAY, 3.0, 1, 4.0, 1),
        ("u1", "category:DAIRY", "milk", TUESDAY, 0.1, 1, 0.0, 1),
        ("u1", "category:TOOLS", "hammer", MONDAY, 0.1, 1, 0.0, 1),
    ]
    assertDataFrameEqual(got, spark.createDataFrame(expected, ITEM_DAYS))
    by_interest = [
        ("bot", 1, "category:DAIRY", MONDAY, 0.1, 500, 0.0),
        ("u1", 1, "category:DAIRY", MONDAY, 3.0, 4, 5.0),
        ("u1", 1, "category:DAIRY", TUESDAY, 0.1, 1, 0.0),
        ("u1", 1, "category:TOOLS", MONDAY, 0.1, 1, 0.0),
    ]
    assertDataFrameEqual(interest_days(got), spark.createDataFrame(by_interest, INTEREST_DAYS))


def test_items_without_category_unknown_items_and_behaviours_without_weight_speak_for_nothing(spark: SparkSession) -> None:
    events = [
        ("u1", "riddle", "purchase", MONDAY, 1.0),
        ("u1", "never heard of", "purchase", MONDAY, 1.0),
        ("u1", "milk", "steal", MONDAY, 1.0),
        ("u1", "milk", "purchase", TUESDAY, 2.0),
    ]
    expected = [("u1", "category:DAIRY", "milk", TUESDAY, 1.0, 1, 2.0, 1)]
    assertDataFrameEqual(item_days_of(spark, events), spark.createDataFrame(expected, ITEM_DAYS))


def test_no_interaction_is_no_day(spark: SparkSession) -> None:
    assert interest_days(item_days_of(spark, [])).count() == 0


def test_weights_and_ids_of_interests(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("purchase", "FLUID MILK"), ("rate", ""), ("steal", None), (None, "category:X")], "behaviour string, c string"
    )
    got = rows.coalesce(1).select(behaviour_weight(WEIGHTS), category_interest(F.col("c"))).collect()
    assert [tuple(row) for row in got] == [(1.0, "category:FLUID MILK"), (3.0, "category:"), (None, None), (None, "category:category:X")]


def test_a_value_scales_the_weight(spark: SparkSession) -> None:
    expected = {
        ("stars", 1.0): -1.0, ("stars", 2.0): -0.5, ("stars", 3.0): 0.0, ("stars", 5.0): 1.0, ("stars", 0.0): -1.0, ("stars", 9.0): 1.0,
        ("spend", 10.0): 0.5, ("spend", 100.0): 1.5, ("spend", 1000.0): 2.5, ("spend", 5000.0): 2.5, ("spend", 0.0): 0.5,
        ("spend", -3.0): 0.5, ("refund", 25.0): -1.0, ("refund", 80.0): -2.0, ("refund", 0.0): 0.0,
        # Without a value the full weight counts; a weight without a scale ignores the value.
        ("stars", None): 1.0, ("spend", None): 2.5, ("refund", None): -2.0, ("view", 7.0): 0.1, ("steal", 1.0): None,
    }  # fmt: skip
    rows = spark.createDataFrame(list(expected), "behaviour string, value double").coalesce(1)
    got = [row["weight"] for row in rows.select(behaviour_weight(SCALED).alias("weight")).collect()]
    assert got == [value if value is None else pytest.approx(value, abs=1e-12) for value in expected.values()]


def test_a_negative_weight_takes_away_what_the_day_gave(spark: SparkSession) -> None:
    events = [
        ("same day", "milk", "purchase", MONDAY, 5.0),
        ("same day", "milk", "return", MONDAY, -5.0),
        ("later", "milk", "purchase", MONDAY, 5.0),
        ("later", "milk", "return", TUESDAY, -5.0),
        # Two items of one interest: 3 for the cheese, 1 - 2 for the milk.
        ("mixed", "cheese", "rate", MONDAY, 4.0),
        ("mixed", "milk", "purchase", MONDAY, None),
        ("mixed", "milk", "return", MONDAY, None),
        ("mixed", "milk", "dislike", MONDAY, None),
    ]
    days = item_days_of(spark, events).cache()
    assert {(row["user_id"], row["item_id"], row["event_date"]): (row["weight"], row["n_interactions"]) for row in days.collect()} == {
        ("same day", "milk", MONDAY): (0.0, 2),
        ("later", "milk", MONDAY): (1.0, 1),
        ("later", "milk", TUESDAY): (-1.0, 1),
        ("mixed", "cheese", MONDAY): (3.0, 1),
        ("mixed", "milk", MONDAY): (-1.0, 3),
    }
    assert {(row["user_id"], row["event_date"]): row["weight"] for row in interest_days(days).collect()} == {
        ("same day", MONDAY): 0.0,
        ("later", MONDAY): 1.0,
        ("later", TUESDAY): -1.0,
        ("mixed", MONDAY): 2.0,
    }


def test_a_sum_of_evidence_is_never_below_nothing(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("a", 1.0), ("a", -0.25), ("b", 1.0), ("b", -1.5)], "k string, weight double")
    got = {row["k"]: row["sum"] for row in rows.groupBy("k").agg(summed_evidence(F.col("weight")).alias("sum")).collect()}
    assert got == {"a": 0.75, "b": 0.0}


@pytest.mark.parametrize(("age", "half_life", "expected"), [(0, 90, 1.0), (90, 90, 0.5), (180, 90, 0.25), (7, 3.5, 0.25), (1, 0.5, 0.25)])
def test_evidence_halves_every_half_life(spark: SparkSession, age: int, half_life: float, expected: float) -> None:
    rows = spark.createDataFrame([(TUESDAY - timedelta(days=age), 1.0)], "event_date date, weight double")
    in_one_band, in_many = (decayed_evidence(TUESDAY, half_life, oldest) for oldest in (age, 2000))
    assert tuple(rows.agg(in_one_band, in_many).first()) == (expected, expected)


def test_bands_sum_returns_over_all_days(spark: SparkSession) -> None:
    """Half-lives of a day: 2^-15 is in the second band, and what was given back yesterday is more than all of it."""
    rows = [("a", 15, 4.0), ("a", 3, 1.0), ("b", 15, 4.0), ("b", 1, -1.0), ("c", 15, -4.0), ("c", 3, 1.0)]
    frame = spark.createDataFrame([(k, TUESDAY - timedelta(days=age), w) for k, age, w in rows], "k string, event_date date, weight double")
    got = {row["k"]: row["sum"] for row in frame.groupBy("k").agg(decayed_evidence(TUESDAY, 1, 15).alias("sum")).collect()}
    assert got == {"a": 2**-3 + 4 * 2**-15, "b": 0.0, "c": pytest.approx(2**-3 - 4 * 2**-15)}
    assert (find_oldest_age(frame, TUESDAY), find_oldest_age(frame.limit(0), TUESDAY)) == (15, 0)
    assert [count_bands(age, 10) for age in (0, 100, 101, 10**6)] == [1, 1, 2, 90]


def test_sums_of_tenths_are_exact(spark: SparkSession) -> None:
    rows = spark.range(10).select(F.lit(0.1).alias("x"))
    assert rows.agg(exact_sum(F.col("x"))).first()[0] == 1.0 != sum([0.1] * 10)


def test_a_sum_rounds_each_value_to_its_parts(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(0.0000004,), (0.0000006,), (-1.25,), (None,)], "x double")
    assert rows.agg(exact_sum(F.col("x"), parts=10**6)).first()[0] == -1.249999
    assert rows.where("x > 9").agg(exact_sum(F.col("x"))).first()[0] is None


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=300), st.randoms(use_true_random=False))
def test_a_sum_is_the_same_for_any_order_and_partitioning(spark: SparkSession, values: list[float], random: Any) -> None:
    shuffled = random.sample(values, len(values))
    sums = [
        spark.createDataFrame([(x,) for x in some], "x double").repartition(parts).agg(exact_sum(F.col("x"))).first()[0]
        for some, parts in ((values, 1), (shuffled, 4))
    ]
    assert sums[0] == sums[1]
    assert sums[0] == pytest.approx(sum(values), abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.one_of(st.floats(-1e15, 1e15), st.floats(-1e4, 1e4), st.sampled_from([1e12, 2147.483648, 0.1])), min_size=1, max_size=40),
    st.sampled_from([10**6, 10**9]),
)
def test_sums_of_values_are_those_of_whole_numbers_of_any_size(spark: SparkSession, values: list[float], parts: int) -> None:
    rows = spark.createDataFrame([(x,) for x in values], "x double").repartition(3)
    [(got,)] = rows.agg(exact_sum_of_values(F.col("x"), parts)).collect()
    assert got == float(sum(math.floor(x * float(parts) + 0.5) for x in values)) / parts


def test_sums_of_large_currencies_do_not_overflow_and_small_sums_are_as_before(spark: SparkSession) -> None:
    rows = spark.range(1000).select(F.lit(1e12).alias("rials"), (F.col("id") * 1.37 - 300).alias("euros"), F.lit(1e290).alias("wrong"))
    [got] = rows.agg(
        exact_sum_of_values(F.col("rials")).alias("rials"),
        exact_sum(F.col("rials"), parts=10**6).alias("overflown"),
        exact_sum_of_values(F.col("euros")).alias("euros"),
        exact_sum(F.col("euros"), parts=10**6).alias("as_before"),
        exact_sum_of_values(F.col("wrong")).alias("wrong"),
    ).collect()
    assert got["rials"] == 1e15 != got["overflown"]
    assert got["euros"] == got["as_before"]
    assert got["wrong"] == pytest.approx(1e293)
