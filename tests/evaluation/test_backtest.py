"""Whom the back-test judges."""

from __future__ import annotations

from pyspark.sql import SparkSession

from interest_tiers.evaluation.backtest import sample_known_users


def test_users_who_came_after_the_cutoff_are_not_judged(spark: SparkSession) -> None:
    after = spark.createDataFrame([("old", "a"), ("old", "b"), ("new", "a"), ("older", "c")], "user_id string, item_id string")
    active = spark.createDataFrame([("old", 3), ("older", 1), ("gone", 9)], "user_id string, active_days bigint")
    assert sorted(row["user_id"] for row in sample_known_users(after, active, 10).collect()) == ["old", "older"]
    (one,) = sample_known_users(after, active, 1).collect()
    assert one["user_id"] in ("old", "older")
