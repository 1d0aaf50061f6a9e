"""The quality of the data on the page: the newest run, what is wrong first, each number by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pyspark.sql import SparkSession

from interest_tiers.report.quality import Check, ReasonQuality, SourceQuality, describe_quality
from interest_tiers.storage.schemas import DATA_QUALITY

Row = tuple[str, str, str, float, float | None, bool | None, str | None]

BEFORE: list[Row] = [("a", "rows_in", "", 50.0, None, None, None), ("gone", "rows_in", "", 7.0, None, None, None)]
NEWEST: list[Row] = [
    ("a", "rows_in", "", 100.0, None, None, None),
    ("a", "interactions", "", 90.0, None, None, None),
    ("a", "quarantined", "", 8.0, None, None, None),
    ("a", "duplicates", "", 2.0, None, None, None),
    ("a", "clipped", "", 1.0, None, None, None),
    ("a", "flagged", "", 3.0, None, None, None),
    ("a", "volume_change", "", 2.0, 1.5, False, None),
    ("a", "quarantine_rate", "", 0.08, 0.3, True, None),
    ("a", "rows_with_reason", "item_id: missing", 3.0, None, None, '{"user":"x0"}'),
    ("a", "rows_with_reason", "user_id: missing", 5.0, None, None, '{"item":"x0"}'),
    ("a", "rate_of_reason", "item_id: missing", 0.03, 0.01, False, None),
    ("a", "missing_rate", "user_id", 0.05, None, None, None),
    ("a", "lowest_value", "", -2.5, None, None, None),
    ("a", "highest_value", "", 9.0, None, None, None),
    ("a", "newest_event_age_days", "", 1.0, 7.0, True, None),
    ("a", "oldest_event_age_days", "", 30.0, None, None, None),
    ("A first", "rows_in", "", 0.0, None, None, None),
    ("A first", "something_new", "", 4.5, 5.0, True, None),
    ("all", "interactions", "", 90.0, 10.0, True, None),
    ("all", "users", "", 9.0, 10.0, False, None),
]


def described(spark: SparkSession, *runs: tuple[str, int, list[Row]]):  # type: ignore[no-untyped-def]
    rows = [(run, datetime(2026, 1, 5, hour, 30, tzinfo=UTC), *row) for run, hour, measured in runs for row in measured]
    return describe_quality(spark.createDataFrame(rows, DATA_QUALITY.schema))


def test_the_newest_run_is_told_and_what_is_wrong_comes_first(spark: SparkSession) -> None:
    quality = described(spark, ("r9", 8, BEFORE), ("r1", 9, NEWEST))
    assert (quality.run_id, quality.measured_at, quality.failed) == ("r1", "2026-01-05 09:30", 3)
    assert quality.checks == (
        Check("a", "rows read, against the run before, larger over smaller", "", 2.0, 1.5, "factor", "at most", False),
        Check("a", "rows with one reason", "item_id: missing", 0.03, 0.01, "share", "at most", False),
        Check("all", "users left", "", 9.0, 10.0, "count", "at least", False),
        Check("A first", "something new", "", 4.5, 5.0, "number", "limit", True),
        Check("a", "age of the newest event", "", 1.0, 7.0, "days", "at most", True),
        Check("a", "rows that cannot be used", "", 0.08, 0.3, "share", "at most", True),
        Check("all", "interactions left", "", 90.0, 10.0, "count", "at least", True),
    )
    assert quality.sources == (
        SourceQuality("a", False, 100, 50, 90, 8, 2, 1, 3, -2.5, 9.0, 1, 30, (("user_id", 0.05),)),
        SourceQuality("A first", True, 0, None, 0, 0, 0, 0, 0, None, None, None, None, ()),
    )
    assert quality.reasons == (
        ReasonQuality("a", "item_id: missing", 3, 0.03, False, '{"user":"x0"}'),
        ReasonQuality("a", "user_id: missing", 5, 0.05, None, '{"item":"x0"}'),
    )
    with_rows, without = quality.sources
    assert (with_rows.change, with_rows.share(8), without.change, without.share(0)) == (pytest.approx(1.0), 0.08, None, None)
    assert quality.counted_columns == ("user_id",)


def test_nothing_measured_is_no_quality(spark: SparkSession) -> None:
    assert describe_quality(spark.createDataFrame([], DATA_QUALITY.schema)) is None
