"""What cleaning measures, and the gate: what it lets pass, and what it tells when it does not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.cleaning.gate import require_quality
from interest_tiers.cleaning.quality import (
    Measure,
    Reason,
    SourceCounts,
    count_sources,
    describe,
    measure_items,
    measure_quality,
    measure_run,
    measure_totals,
)
from interest_tiers.cleaning.quarantine import CANNOT_BE_READ
from interest_tiers.cleaning.undecodable import Undecodable
from interest_tiers.config import InteractionSource, Quality
from interest_tiers.errors import ConfigError, DataQualityError

UNKNOWN, TODAY = "behaviour: not configured", date(2024, 3, 10)
SCHEMA = """source string, interaction_id string, user_id string, item_id string, behaviour string, occurred_at timestamp, event_date date,
            value double, given_value double, text string, reasons array<string>, raw string, copies long,
            is_flagged boolean, is_new boolean"""
SOURCE = InteractionSource.model_validate(
    {"path": "p", "columns": {"user_id": "u", "item_id": "i", "occurred_at": "t", "behaviour": {"literal": "view"}}}
)


def judged(spark: SparkSession, rows: Sequence[tuple[str | None, str | None, list[str], int]]) -> DataFrame:
    def whole(place: int, user: str | None, behaviour: str | None, reasons: list[str], copies: int) -> tuple:
        raw = f'{{"user":"{user}"}}' if reasons else None
        day = date(2024, 3, 1 + place)
        return ("interactions", f"id{place}", user, "i", behaviour, None, day, float(place), None, None, reasons, raw, copies, False, True)

    return spark.createDataFrame([whole(place, *row) for place, row in enumerate(rows)], SCHEMA)


@pytest.fixture(scope="module")
def mixed(spark: SparkSession) -> DataFrame:
    """Ten rows in: seven distinct, three of them good."""
    return judged(
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
    ).cache()


@pytest.fixture(scope="module")
def counts(mixed: DataFrame) -> SourceCounts:
    [counts] = count_sources(mixed)
    return counts


def refusal(counts: SourceCounts, quality: Quality, rows: DataFrame, users: int = 2) -> str:
    measures = measure_run(True) + measure_quality([counts], quality, {"interactions": SOURCE}, {}, {}, TODAY)
    measures += measure_totals(counts.interactions, users, quality)
    with pytest.raises(DataQualityError) as refused:
        require_quality(measures, [counts], rows)
    assert refused.value.exit_code == 3
    return str(refused.value)


def test_counts(counts: SourceCounts) -> None:
    assert counts == SourceCounts(
        source="interactions", rows_in=10, interactions=3, quarantined=4, duplicates=3,
        missing={"user_id": 1, "item_id": 0, "behaviour": 1, "occurred_at": 7, "value": 0, "text": 7},
        undecodable=Undecodable(0, 7, 0, {"user_id": 0, "item_id": 0, "behaviour": 0, "text": 0}),
        lowest_value=0.0, highest_value=2.0, oldest=date(2024, 3, 1), newest=date(2024, 3, 3), clipped=0, flagged=0,
        reasons={
            UNKNOWN: Reason(3, '{"user":"x0"}'),
            "user_id: missing": Reason(1, '{"user":"xxxx"}'),
            "value: not a number": Reason(1, '{"user":"x0"}'),
        },
    )  # fmt: skip
    assert describe([counts]) == (
        "3 interactions, 3 exact duplicates, 4 quarantined (behaviour: not configured 3, user_id: missing 1, value: not a number 1)"
    )


def test_every_measure_with_its_limit(counts: SourceCounts) -> None:
    quality = Quality(max_quarantine_rate=0.4, max_rate_by_reason={"behaviour: *": 0.2}, max_age_days=7, max_volume_change=2)
    found = {
        (m.measure, m.subject): (round(m.value, 4), m.limit, m.passed)
        for m in measure_quality([counts], quality, {"interactions": SOURCE}, {"interactions": 4}, {}, TODAY)
    }
    assert found[("quarantine_rate", None)] == (0.4, 0.4, True)
    assert found[("rate_of_reason", UNKNOWN)] == (0.3, 0.2, False)
    assert found[("newest_event_age_days", None)] == (7, 7, True)
    assert found[("oldest_event_age_days", None)] == (9, None, None)
    assert found[("volume_change", None)] == (2.5, 2, False)
    assert found[("missing_rate", "behaviour")] == (0.1429, None, None)
    assert (found[("rows_in", None)][0], found[("highest_value", None)][0], found[("rows_with_reason", "user_id: missing")][0]) == (
        10,
        2,
        1,
    )


def test_lines_of_rows_that_cannot_be_read_count_as_rows(spark: SparkSession) -> None:
    """Nine good rows, and one that took the 91 lines that follow a quote that nothing closes."""
    rows = judged(spark, [(f"u{n}", "view", [], 1) for n in range(9)] + [(None, None, [CANNOT_BE_READ], 1)])
    swallowed = json.dumps({"_corrupt_record": "\n".join(["x"] * 91) + "\n"})
    rows = rows.withColumn("raw", F.when(F.col("user_id").isNull(), F.lit(swallowed)))
    [found] = count_sources(rows)
    assert (found.reasons[CANNOT_BE_READ].rows, found.reasons[CANNOT_BE_READ].lines) == (1, 91)
    assert describe([found]).endswith("1 quarantined (row: cannot be read 1), 90 further lines in rows that cannot be read")
    told = refusal(found, Quality(max_quarantine_rate=0.9, min_rows=1, min_users=1), rows)
    assert "1 of 10 rows cannot be used (91 lines, 91.0%; quality.max_quarantine_rate is 90.0%): row: cannot be read (1)" in told


def test_rows_in_another_encoding_are_counted_by_column_and_refused_with_the_setting(spark: SparkSession) -> None:
    [found] = count_sources(judged(spark, [("J\ufffdrg", "view", [], 1), ("u2", "vi\ufffdw", [], 1), ("u3", "view", [], 1)]))
    assert (found.undecodable.rows, found.undecodable.of) == (2, 3)
    assert found.undecodable.by_column == {"user_id": 1, "item_id": 0, "behaviour": 1, "text": 0}
    assert "2 rows with U+FFFD (is options.encoding set?)" in describe([found])

    def measures(limit: float) -> list[Measure]:
        return measure_quality([found], Quality(max_undecodable_rate=limit), {"interactions": SOURCE}, {}, {}, TODAY)

    assert Measure("interactions", "undecodable", "behaviour", 1) in measures(0.7)
    require_quality(measures(0.7))
    with pytest.raises(ConfigError, match=r"66\.7% of the rows have names with U\+FFFD.*\(user_id 1, behaviour 1\).*Set options\.encoding"):
        require_quality(measures(0.5))


def test_items_in_another_encoding_are_counted_by_their_rows(spark: SparkSession) -> None:
    versions = spark.createDataFrame(
        [("i1", "Caf\ufffd", "Caf\ufffd", 3), ("i2", "Tee", "", 1), ("i3", "half an emoji \ufffd", "", 2)],
        "item_id string, text string, category string, n_rows bigint",
    )
    found = {(m.measure, m.subject): m.value for m in measure_items(versions, Quality())}
    assert found == {
        ("undecodable_rate", None): 0.5,  # a text is no name
        ("undecodable", "item_id"): 0,
        ("undecodable", "text"): 5,
        ("undecodable", "category"): 3,
    }


def test_a_source_may_have_a_limit_of_its_own(counts: SourceCounts) -> None:
    own = SOURCE.model_copy(update={"max_quarantine_rate": 0.5})
    measures = measure_quality([counts], Quality(max_quarantine_rate=0.1), {"interactions": own}, {}, {}, TODAY)
    assert Measure("interactions", "quarantine_rate", None, 0.4, 0.5, True) in measures


def test_too_many_quarantined_rows_are_told_with_reasons_and_unknown_behaviours(counts: SourceCounts, mixed: DataFrame) -> None:
    assert refusal(counts, Quality(max_quarantine_rate=0.39, min_rows=1, min_users=1), mixed) == (
        "the quality gate refuses the data: 4 of 10 rows cannot be used (40.0%; quality.max_quarantine_rate is 39.0%): "
        "behaviour: not configured (3), user_id: missing (1), value: not a number (1); "
        "behaviours that the config does not name: None (1), 'lend' (1), 'steal' (1). See interactions_quarantine and data_quality"
    )


@pytest.mark.parametrize(
    ("quality", "told"),
    [
        (Quality(max_quarantine_rate=1, min_rows=4, min_users=2), "3 interactions are left; quality.min_rows is 4"),
        (Quality(max_quarantine_rate=1, min_rows=3, min_users=1000), "2 users are left; quality.min_users is 1,000"),
        (
            Quality(max_quarantine_rate=1, min_rows=3, min_users=2, max_age_days=6),
            "the newest event is 7 days old; quality.max_age_days is 6",
        ),
    ],
)
def test_one_threshold_alone(counts: SourceCounts, mixed: DataFrame, quality: Quality, told: str) -> None:
    expected = f"the quality gate refuses the data: {told}. See interactions_quarantine and data_quality"
    assert refusal(counts, quality, mixed) == expected


def test_every_threshold_may_be_met_exactly(counts: SourceCounts, mixed: DataFrame) -> None:
    quality = Quality(max_quarantine_rate=0.4, min_rows=3, min_users=2)
    require_quality(
        measure_quality([counts], quality, {"interactions": SOURCE}, {}, {}, TODAY) + measure_totals(3, 2, quality), [counts], mixed
    )


def test_a_source_without_rows_is_refused(counts: SourceCounts, mixed: DataFrame) -> None:
    empty = replace(counts, rows_in=0, interactions=0, quarantined=0, duplicates=0, reasons={}, newest=None)
    told = refusal(empty, Quality(min_rows=1, min_users=1), mixed, users=0)
    assert "the source has no rows; 0 interactions are left; quality.min_rows is 1; 0 users are left; quality.min_users is 1" in told


def test_no_rows_give_no_counts(spark: SparkSession) -> None:
    assert count_sources(judged(spark, [])) == []
