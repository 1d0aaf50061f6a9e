"""Counts of items before a cutoff, by hand, and what is derived from them."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from pyspark.sql import SparkSession

from interest_tiers.recommend.item_table import ITEM_FEATURES, collect_items
from interest_tiers.recommend.item_use import count_active_days, find_widely_used, summarise_use
from tests.recommend.conftest import make_table

CUTOFF = date(2020, 6, 1)
DAYS = "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions bigint"


def ago(days: int) -> date:
    return CUTOFF - timedelta(days=days)


def use(spark: SparkSession, rows: list[tuple[str, str, int, float]]):
    return spark.createDataFrame([(user, item[0], item, ago(age), weight, 2) for user, item, age, weight in rows], DAYS)


def test_use_is_summed_over_days_that_gave_evidence(spark: SparkSession) -> None:
    days = use(spark, [("u1", "a1", 1, 1.0), ("u1", "a1", 30, 1.0), ("u1", "a1", 100, 0.5), ("u1", "b1", 3, -1.0), ("u1", "c1", 9, 0.0)])
    rows = {row["item_id"]: row.asDict() for row in summarise_use(days, CUTOFF).collect()}
    a1 = rows["a1"]
    counts = {name: a1[name] for name in ("is_had", "n_days", "n_interactions", "first_age", "last_age", "days_28d", "days_91d")}
    assert counts == {"is_had": True, "n_days": 3, "n_interactions": 6, "first_age": 100, "last_age": 1, "days_28d": 1, "days_91d": 2}
    for half_life in (15, 60, 120):
        expected = 2 ** (-1 / half_life) + 2 ** (-30 / half_life) + 0.5 * 2 ** (-100 / half_life)
        assert a1[f"evidence_{half_life}d"] == pytest.approx(expected, abs=1e-8)
    assert not rows["b1"]["is_had"] and not rows["c1"]["is_had"] and rows["b1"]["first_age"] is None
    assert [tuple(row) for row in count_active_days(days, CUTOFF).collect()] == [("u1", 5, 3, 4)]


def test_a_user_who_left_decades_ago_still_has_evidence(spark: SparkSession) -> None:
    row = summarise_use(use(spark, [("u1", "a1", 20_000, 1.0)]), CUTOFF).first()
    assert row is not None and row["is_had"] and row["evidence_120d"] == pytest.approx(2 ** (-20_000 / 120))


def test_only_items_with_enough_users_are_widely_used(spark: SparkSession) -> None:
    used = summarise_use(use(spark, [("u1", "a1", 1, 1.0), ("u2", "a1", 1, 1.0), ("u1", "b1", 1, 1.0), ("u2", "b1", 1, -1.0)]), CUTOFF)
    assert [row["item_id"] for row in find_widely_used(used.where("is_had"), 2).collect()] == ["a1"]


def test_items_are_counted(spark: SparkSession) -> None:
    days = use(
        spark,
        [
            ("u1", "a1", 2, 1.0), ("u1", "a1", 12, 1.0), ("u1", "a1", 42, 1.0),  # came back after 28 days
            ("u2", "a1", 50, 1.0),  # did not
            ("u3", "a1", 10, 1.0),
            ("u4", "b1", 20, 1.0), ("u4", "b1", 90, 1.0),
            ("u5", "b1", 1, -1.0),  # a dislike is no use
        ],
    )  # fmt: skip
    table = collect_items(summarise_use(days, CUTOFF), n_active=5, max_items=10)
    assert table.ids.tolist() == ["a1", "b1"] and table.interests[table.interest].tolist() == ["a", "b"]
    counts = {name: values.tolist() for name, values in vars(table.counts).items()}
    assert counts == {
        "users": [3, 1], "pair_days": [5, 2], "repeaters": [1, 1], "span": [40, 70], "gaps": [2, 1],
        "known_28d": [2, 1], "back_28d": [1, 1],
        "age": [50, 90], "recency": [2, 20],
        "users_in": [[1, 0], [2, 0], [2, 1], [3, 1]], "adopters_in": [[0, 0], [1, 0], [1, 0], [3, 1]],
    }  # fmt: skip
    features = dict(zip(ITEM_FEATURES, table.features[0].tolist(), strict=True))
    expected = {
        "item_users": 3 / 5, "item_users_14d": 2 / 5, "item_adopters_28d": 1 / 5, "item_trend": 3 / (3 / 3.25 + 1), "item_fresh": 1 / 3,
        "item_repeat": 1 / 3, "item_comeback": 2 / 12, "item_gap": 20, "item_days_per_user": 5 / 3, "item_share_of_interest": 3 / 4,
        "item_place_in_interest": 1, "interest_users": 3 / 5,
    }  # fmt: skip
    assert {name: features[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert np.isnan(table.features[-1]).all() and table.share_28d.tolist() == pytest.approx([2 / 5, 1 / 5, 0])


def test_the_most_used_items_of_late_are_kept(spark: SparkSession) -> None:
    days = use(spark, [("u1", "old", 900, 1.0), ("u2", "old", 900, 1.0), ("u1", "mid", 60, 1.0), ("u1", "new", 1, 1.0)])
    assert collect_items(summarise_use(days, CUTOFF), 2, max_items=2).ids.tolist() == ["mid", "new"]


def test_adopted_items_are_in_order_and_by_interest() -> None:
    table = make_table(["a1", "a2", "b1"], adopters={"a1": 1, "a2": 3, "b1": 2})
    assert table.ids[table.adopted].tolist() == ["a2", "b1", "a1"]
    assert [table.ids[items].tolist() for items in table.adopted_in_interest] == [["a2", "a1"], ["b1"]]
