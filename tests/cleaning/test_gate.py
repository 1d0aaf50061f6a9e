"""The quality gate: what it counts, what it lets pass, and what it tells when it does not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.cleaning.gate import CleaningCounts, count_rows, require_quality
from interest_tiers.config import Quality
from interest_tiers.errors import DataQualityError

LENIENT = Quality(max_quarantine_rate=1, min_rows=1, min_users=1)
UNKNOWN = "behaviour: not configured"


def assessed(spark: SparkSession, rows: Sequence[tuple[str | None, str | None, list[str], int]]) -> DataFrame:
    return spark.createDataFrame(list(rows), "user_id string, behaviour string, reasons array<string>, copies long")


def refusal(counts: CleaningCounts, quality: Quality, rows: DataFrame) -> str:
    with pytest.raises(DataQualityError) as refused:
        require_quality(counts, quality, rows)
    assert refused.value.exit_code == 3
    return str(refused.value)


@pytest.fixture
def mixed(spark: SparkSession) -> DataFrame:
    """Ten rows in: seven distinct, three of them good."""
    return assessed(
        spark,
        [
            ("u1", "view", [], 3),
            ("u1", "view", [], 1),
            ("u2", "view", [], 1),
            ("u3", "steal", [UNKNOWN], 2),
            ("u4", "lend", [UNKNOWN, "value: not a number"], 1),
            ("u5", None, [UNKNOWN], 1),
            (None, "view", ["user_id: missing"], 1),
        ],
    )


def test_counts(mixed: DataFrame) -> None:
    counts = count_rows(mixed)
    reasons = {UNKNOWN: 3, "user_id: missing": 1, "value: not a number": 1}
    assert counts == CleaningCounts(rows_in=10, interactions=3, quarantined=4, duplicates=3, users=2, reasons=reasons)
    assert list(counts.reasons) == list(reasons)
    assert str(counts) == (
        "3 interactions of 2 users, 3 exact duplicates, 4 quarantined "
        "(behaviour: not configured 3, user_id: missing 1, value: not a number 1)"
    )


def test_counts_of_good_rows_name_no_reasons(spark: SparkSession) -> None:
    counts = count_rows(assessed(spark, [("u1", "view", [], 1200)]))
    assert str(counts) == "1 interactions of 1 users, 1,199 exact duplicates, 0 quarantined"
    require_quality(counts, LENIENT, assessed(spark, []))


def test_an_empty_source_is_refused(spark: SparkSession) -> None:
    nothing = assessed(spark, [])
    counts = count_rows(nothing)
    assert counts == CleaningCounts(0, 0, 0, 0, 0, {})
    assert refusal(counts, LENIENT, nothing) == (
        "the quality gate refuses the data: the source has no rows; 0 interactions are left; quality.min_rows is 1; "
        "0 users are left; quality.min_users is 1. See interactions_quarantine"
    )


def test_too_many_quarantined_rows_are_told_with_reasons_and_unknown_behaviours(mixed: DataFrame) -> None:
    told = refusal(count_rows(mixed), Quality(max_quarantine_rate=0.39, min_rows=1, min_users=1), mixed)
    assert told == (
        "the quality gate refuses the data: 4 of 10 rows cannot be used (40.0%; quality.max_quarantine_rate is 39.0%): "
        "behaviour: not configured (3), user_id: missing (1), value: not a number (1); "
        "behaviours that the config does not name: None (1), 'lend' (1), 'steal' (1). See interactions_quarantine"
    )


def test_every_threshold_may_be_met_exactly(mixed: DataFrame) -> None:
    require_quality(count_rows(mixed), Quality(max_quarantine_rate=0.4, min_rows=3, min_users=2), mixed)


@pytest.mark.parametrize(
    ("quality", "told"),
    [
        (Quality(max_quarantine_rate=1, min_rows=4, min_users=2), "3 interactions are left; quality.min_rows is 4"),
        (Quality(max_quarantine_rate=1, min_rows=3, min_users=1000), "2 users are left; quality.min_users is 1,000"),
    ],
)
def test_one_threshold_alone(mixed: DataFrame, quality: Quality, told: str) -> None:
    expected = f"the quality gate refuses the data: {told}. See interactions_quarantine"
    assert refusal(count_rows(mixed), quality, mixed) == expected


def test_every_threshold_that_is_not_met_is_told_at_once(mixed: DataFrame) -> None:
    told = refusal(count_rows(mixed), Quality(max_quarantine_rate=0, min_rows=4, min_users=3), mixed)
    for piece in ("4 of 10 rows cannot be used", "'steal'", "quality.min_rows is 4", "quality.min_users is 3"):
        assert piece in told


def test_the_five_most_frequent_unknown_behaviours_are_named(spark: SparkSession) -> None:
    rows = [(f"u{n}", f"b{n}", [UNKNOWN], 1) for n in range(1, 8) for _ in range(n)]
    frame = assessed(spark, rows)
    told = refusal(count_rows(frame), Quality(max_quarantine_rate=0.5, min_rows=1, min_users=1), frame)
    assert "does not name: 'b7' (7), 'b6' (6), 'b5' (5), 'b4' (4), 'b3' (3); " in told


def test_other_reasons_name_no_behaviours(spark: SparkSession) -> None:
    frame = assessed(spark, [(None, "view", ["user_id: missing"], 1)])
    assert "behaviours that" not in refusal(count_rows(frame), Quality(max_quarantine_rate=0.5), frame)
