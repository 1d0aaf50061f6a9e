"""Labels: the tiers of what users did after the cut."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.config import LabelRule, Tiers
from interest_tiers.errors import ConfigError
from interest_tiers.interests.evidence import interest_days
from interest_tiers.tiers.labels import labelled, require_rules

CUT = date(2017, 10, 1)
DAYS = "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions bigint, value double, level int"


def day(user: str, interest: str, item: str, offset: int, weight: float = 1.0, n_interactions: int = 1) -> tuple[object, ...]:
    return user, interest, item, CUT + timedelta(days=offset), weight, n_interactions, 0.0, 1


def test_labels_are_tiers_of_the_undecayed_days_of_the_horizon(spark: SparkSession) -> None:
    future = [
        # The first day of the horizon counts like the last: a and b tie, and a comes first.
        day("undecayed", "a", "i1", 0), day("undecayed", "a", "i1", 1), day("undecayed", "b", "i2", 89), day("undecayed", "b", "i2", 90),
        # Three items and 99 interactions in a day are one day; two days outweigh them.
        day("days", "a", "i1", 5, n_interactions=97), day("days", "a", "i2", 5), day("days", "a", "i3", 5),
        day("days", "b", "i4", 5), day("days", "b", "i4", 6),
        # A day counts as much as its largest weight: 3 for a, 1 + 1 for b.
        day("weights", "a", "i1", 5, weight=0.5), day("weights", "a", "i2", 5, weight=3.0),
        day("weights", "b", "i4", 5), day("weights", "b", "i4", 6),
        # The interest z is new to the user: it takes no part in the mass, however much of it there is.
        day("mixed", "a", "i1", 1), day("mixed", "z", "i9", 1), day("mixed", "z", "i9", 2), day("mixed", "z", "i9", 3),
        # Nothing but a new interest: no label.
        day("only_new", "z", "i9", 1),
        # Three days less one that was taken back are two of b's; c never gets below nothing.
        day("returns", "a", "i1", 1), day("returns", "a", "i1", 2), day("returns", "a", "i2", 3), day("returns", "a", "i2", 9, weight=-1.5),
        day("returns", "b", "i4", 1), day("returns", "b", "i4", 2), day("returns", "c", "i5", 3, weight=-5.0),
        # All that this user did was to give back: no label.
        day("gives_back", "a", "i1", 3, weight=-1.0),
        # Nobody knows this user before the cut.
        day("newcomer", "a", "i1", 1),
    ]  # fmt: skip
    pairs = [
        ("undecayed", "a", 0.1), ("undecayed", "b", 0.9),
        ("days", "a", 0.9), ("days", "b", 0.1),
        ("weights", "a", 0.1), ("weights", "b", 0.9),
        ("mixed", "a", 0.1), ("mixed", "b", 0.9),
        ("only_new", "a", 1.0),
        ("returns", "a", 0.4), ("returns", "b", 0.3), ("returns", "c", 0.3),
        ("gives_back", "a", 1.0),
        ("silent", "a", 1.0),
    ]  # fmt: skip
    expected = [
        ("undecayed", "a", 0.1, "core"), ("undecayed", "b", 0.9, "secondary"),
        ("days", "b", 0.1, "core"), ("days", "a", 0.9, "secondary"),
        ("weights", "a", 0.1, "core"), ("weights", "b", 0.9, "secondary"),
        ("mixed", "a", 0.1, "core"), ("mixed", "b", 0.9, "marginal"),
        ("returns", "b", 0.3, "core"), ("returns", "a", 0.4, "secondary"), ("returns", "c", 0.3, "marginal"),
    ]  # fmt: skip
    known = spark.createDataFrame(pairs, "user_id string, interest_id string, share double").withColumn("level", F.lit(1))
    got = labelled(known, interest_days(spark.createDataFrame(future, DAYS)), Tiers())
    assertDataFrameEqual(
        got.select("user_id", "interest_id", "share", "label"),
        spark.createDataFrame(expected, "user_id string, interest_id string, share double, label string"),
    )
    assert sorted(got.columns) == ["interest_id", "label", "level", "share", "user_id"]


def test_what_an_expert_knows_overrides_a_label_and_may_add_one(spark: SparkSession) -> None:
    pairs = spark.createDataFrame(
        [("a", "x", 5), ("a", "y", 1), ("silent", "x", 9), ("silent", "y", 2)], "user_id string, interest_id string, n_days int"
    ).withColumn("level", F.lit(1))
    future = spark.createDataFrame([day("a", "x", "i", 3)], DAYS)
    rule = {"sql": "n_days = 1", "tier": "secondary"}
    found = labelled(pairs, future, Tiers(label_rules=[rule, {"sql": "n_days > 0", "tier": "core", "add": True}]))
    expected = [("a", "x", "core"), ("a", "y", "secondary"), ("silent", "x", "core"), ("silent", "y", "core")]
    assertDataFrameEqual(
        found.select("user_id", "interest_id", "label"), spark.createDataFrame(expected, "user_id string, interest_id string, label string")
    )
    assert labelled(pairs, future, Tiers(label_rules=[rule])).where("user_id = 'silent'").isEmpty()


def test_a_rule_that_is_not_sql_is_refused_with_the_reason(spark: SparkSession) -> None:
    pairs = spark.createDataFrame([], "user_id string, n_days int")
    with pytest.raises(ConfigError, match=r"label_rules\.0\.sql is 'n_days >': \[PARSE_SYNTAX_ERROR\].+ Known columns: user_id, n_days"):
        require_rules(pairs, [LabelRule(sql="n_days >", tier="core")])
