"""Noise of a day: repeats, robots, values far off; and that no day looks at another."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.cleaning.noise import (
    EVERY_SECOND,
    TOO_MANY_EVENTS,
    VALUE_FAR_OFF,
    has_day_rules,
    measure_spread,
    repeat_reason,
    settle_days,
)
from interest_tiers.config import Bots, Noise, ValueRange

EVENTS = "user_id string, item_id string, behaviour string, at string, value double"


def events(spark: SparkSession, rows: Sequence[tuple[str, str, str, str, float | None]]) -> DataFrame:
    frame = spark.createDataFrame(list(rows), EVENTS)
    return frame.select(
        F.concat_ws("|", *frame.columns).alias("interaction_id"),
        "user_id",
        "item_id",
        "behaviour",
        F.col("at").cast("timestamp").alias("occurred_at"),
        F.to_date("at").alias("event_date"),
        "value",
        F.lit(None).cast("double").alias("given_value"),
    )


def reasons_by_time(settled: DataFrame) -> dict[str, list[str]]:
    rows = settled.select(F.date_format("occurred_at", "dd HH:mm:ss").alias("at"), "reasons").collect()
    return {row["at"]: row["reasons"] for row in rows}


def test_median_and_deviation_are_those_of_the_values(spark: SparkSession) -> None:
    points = spark.createDataFrame([("a", 1), ("a", 1), ("a", 2), ("a", 9), ("a", 30), ("b", 7)], "key string, step bigint")
    expected = spark.createDataFrame([("a", 5, 2, 1), ("b", 1, 7, 0)], "key string, n bigint, median bigint, deviation bigint")
    assertDataFrameEqual(measure_spread(points.repartition(3), ["key"]), expected)


def test_repeats_of_the_same_event_within_the_window_of_one_day(spark: SparkSession) -> None:
    times = ["01 10:00:00", "01 10:00:59", "01 10:01:59", "01 10:03:00", "01 23:59:59", "02 00:00:01"]
    rows = [("u", "i", "view", f"2024-03-{at}", None) for at in times]
    others = [("u", "j", "view", "2024-03-01 10:00:01", None), ("v", "i", "view", "2024-03-01 10:00:02", None)]
    settled = settle_days(events(spark, [*rows, *others, ("u", "i", "like", "2024-03-01 10:00:03", None)]), Noise(repeat_seconds=60), {})
    repeated = {at for at, reasons in reasons_by_time(settled).items() if reasons == [repeat_reason(60)]}
    assert repeated == {"01 10:00:59", "01 10:01:59"}
    assert settled.count() == 9


def bot_day(spark: SparkSession) -> DataFrame:
    people = [(f"u{n}", "i", "view", f"2024-03-01 0{k}:00:00", None) for n in range(9) for k in range(1 + n % 3)]
    crawler = [("crawler", f"i{k}", "view", f"2024-03-01 {k // 60:02d}:{k % 60:02d}:00", None) for k in range(60)]
    metronome = [("metronome", "i", "view", f"2024-03-01 12:00:{k:02d}", None) for k in range(8)]
    basket = [("basket", f"i{k}", "view", "2024-03-01 09:00:00", None) for k in range(8)]
    quiet_day = [("crawler", "i", "view", "2024-03-02 00:00:00", None)]
    return events(spark, people + crawler + metronome + basket + quiet_day)


def by_user(settled: DataFrame) -> dict[tuple[str, str], int]:
    counted = settled.select("user_id", F.explode("reasons").alias("reason")).groupBy("user_id", "reason").count()
    return {(row["user_id"], row["reason"]): row["count"] for row in counted.collect()}


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("flag", {}),
        ("cap", {("crawler", TOO_MANY_EVENTS): 30}),
        ("quarantine", {("crawler", TOO_MANY_EVENTS): 60, ("metronome", EVERY_SECOND): 8}),
    ],
)
def test_a_crawler_and_a_metronome_stand_out_and_a_basket_does_not(spark: SparkSession, action: str, expected: dict) -> None:
    bots = Bots(deviations=4, min_events=30, max_one_second_steps=6, action=action)
    settled = settle_days(bot_day(spark), Noise(bots=bots), {}).cache()
    assert by_user(settled) == expected
    flagged = settled.where("is_flagged").groupBy("user_id", "event_date").count().collect()
    assert {(row["user_id"], row["event_date"].day, row["count"]) for row in flagged} == {("crawler", 1, 60), ("metronome", 1, 8)}
    assert settled.count() == bot_day(spark).count()
    if action == "cap":
        kept = settled.where("user_id = 'crawler' AND event_date = '2024-03-01' AND size(reasons) = 0")
        assert kept.agg(F.max(F.minute("occurred_at")), F.count("*")).first() == (29, 30)
    settled.unpersist()


@pytest.mark.parametrize("action", ["quarantine", "clip"])
def test_a_value_far_from_the_others_of_its_behaviour_and_day(spark: SparkSession, action: str) -> None:
    usual = [(f"u{n}", "i", "buy", "2024-03-01 10:00:00", 10.0 + n % 3) for n in range(40)]
    odd = [("odd", "i", "buy", "2024-03-01 11:00:00", 9000.0), ("zero", "i", "buy", "2024-03-01 12:00:00", 0.0)]
    unruled = [("free", "i", "view", "2024-03-01 13:00:00", 9000.0), ("few", "i", "buy", "2024-03-02 13:00:00", 9000.0)]
    settled = settle_days(events(spark, usual + odd + unruled), Noise(), {"buy": ValueRange(deviations=5, action=action)})
    touched = settled.where((F.size("reasons") > 0) | F.col("given_value").isNotNull()).collect()
    assert [row["user_id"] for row in touched] == ["odd"]
    [row] = touched
    if action == "quarantine":
        assert (row["reasons"], row["value"], row["given_value"]) == ([VALUE_FAR_OFF], 9000.0, None)
    else:
        assert (row["reasons"], row["given_value"]) == ([], 9000.0)
        assert 11.0 < row["value"] < 100.0


def test_what_other_days_hold_changes_nothing(spark: SparkSession) -> None:
    noise = Noise(repeat_seconds=60, bots=Bots(deviations=4, min_events=20, max_one_second_steps=6, action="cap"))
    later = events(spark, [(f"u{n}", "i", "view", "2024-03-03 10:00:00", None) for n in range(50) for _ in range(n)])
    alone = settle_days(bot_day(spark), noise, {})
    beside = settle_days(bot_day(spark).unionAll(later).repartition(3), noise, {}).where("event_date < '2024-03-03'")
    assertDataFrameEqual(beside, alone)


def test_day_rules_are_only_those_that_look_at_other_rows() -> None:
    assert not has_day_rules(Noise(), {"buy": ValueRange(min=0, action="clip")})
    assert has_day_rules(Noise(repeat_seconds=1), {})
    assert has_day_rules(Noise(bots=Bots()), {})
    assert has_day_rules(Noise(), {"buy": ValueRange(deviations=3)})
