"""Data quality in the report: the newest run of clean, broken limits first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from interest_tiers.report.language import N_

#: Rows that are read at most: a run measures every source and every reason that the config names.
MEASURES_LIMIT = 5000

#: Display name of a measure with a limit, its unit, and the side of the limit on which it must lie.
CHECKS: Mapping[str, tuple[str, str, str]] = {
    "quarantine_rate": (N_("rows that cannot be used"), "share", N_("at most")),
    "rate_of_reason": (N_("rows with one reason"), "share", N_("at most")),
    "missing_rate": (N_("missing values"), "share", N_("at most")),
    "volume_change": (N_("rows read, against the run before, larger over smaller"), "factor", N_("at most")),
    "newest_event_age_days": (N_("age of the newest event"), "days", N_("at most")),
    "interactions": (N_("interactions left"), "count", N_("at least")),
    "users": (N_("users left"), "count", N_("at least")),
    "catalogue_rate": (N_("interactions whose item the catalogue has"), "share", N_("at least")),
    "undecodable_rate": (N_("rows with bytes outside the encoding"), "share", N_("at most")),
}


@dataclass(frozen=True)
class Check:
    """A measure that has a limit. unit: share, factor, days, count or number. side: at most or at least."""

    source: str
    name: str
    subject: str
    value: float
    limit: float
    unit: str
    side: str
    passed: bool


@dataclass(frozen=True)
class SourceQuality:
    """One source, where rows_in = interactions + quarantined + duplicates + left_out; None where nothing was measured."""

    source: str
    passed: bool  # no limit of this source is broken
    rows_in: int
    previous_rows_in: int | None  # of the run before
    interactions: int
    quarantined: int
    duplicates: int
    clipped: int
    flagged: int
    lowest_value: float | None
    highest_value: float | None
    newest_event_age_days: int | None  # at the run
    oldest_event_age_days: int | None
    missing: tuple[tuple[str, float], ...]  # column, share of the distinct rows
    left_out: int = 0

    @property
    def change(self) -> float | None:
        """Relative change of the rows read since the run before: 0.1 for 10 % more."""
        return self.rows_in / self.previous_rows_in - 1 if self.previous_rows_in else None

    def share(self, rows: int) -> float | None:
        """Divide by the rows read; None where there are none."""
        return rows / self.rows_in if self.rows_in else None


@dataclass(frozen=True)
class ReasonQuality:
    """Rows of a source in quarantine for one reason. example: one of them as JSON, its letters and digits masked."""

    source: str
    reason: str
    rows: int
    share: float | None  # of the rows read
    passed: bool | None  # None where it has no limit
    example: str | None


@dataclass(frozen=True)
class DataQuality:
    """The newest run of clean; broken limits come first in every list."""

    run_id: str
    measured_at: str  # UTC, to the minute
    checks: tuple[Check, ...]
    sources: tuple[SourceQuality, ...]
    reasons: tuple[ReasonQuality, ...]

    @property
    def failed(self) -> int:
        """The number of broken limits."""
        return sum(not check.passed for check in self.checks)

    @property
    def counted_columns(self) -> tuple[str, ...]:
        """The columns with counts of missing values, in order."""
        return tuple(dict.fromkeys(column for source in self.sources for column, _ in source.missing))


def describe_quality(data_quality: DataFrame) -> DataQuality | None:
    """Describe the newest run in the table data_quality; None where there is none.

    data_quality: (run_id, measured_at, source, measure, subject, value, limit, passed, example)
    """
    newest = data_quality.select("measured_at", "run_id").orderBy(F.desc("measured_at"), F.desc("run_id"))
    latest = newest.select("run_id", F.date_format("measured_at", "yyyy-MM-dd HH:mm").alias("measured_at")).first()
    if latest is None:
        return None
    is_latest = F.col("run_id") == latest["run_id"]
    measures = data_quality.where(is_latest).orderBy("source", "measure", "subject").limit(MEASURES_LIMIT).collect()
    before = _runs_of_same_kind(data_quality, measures).where(~is_latest & (F.col("measure") == "rows_in"))
    previous = before.groupBy("source").agg(F.max_by("value", "measured_at").alias("rows")).limit(MEASURES_LIMIT).collect()
    return DataQuality(
        run_id=latest["run_id"],
        measured_at=latest["measured_at"],
        checks=_checks(measures),
        sources=_sources(measures, {row["source"]: int(row["rows"]) for row in previous}),
        reasons=_reasons(measures),
    )


def _runs_of_same_kind(data_quality: DataFrame, measures: Sequence[Row]) -> DataFrame:
    """Select runs that read everything, or runs that read new rows only, like the newest: only their row counts compare."""
    kind = next((row["value"] for row in measures if row["measure"] == "is_rebuilt"), None)
    if kind is None:
        return data_quality
    runs = data_quality.where((F.col("measure") == "is_rebuilt") & (F.col("value") == kind)).select("run_id")
    return data_quality.join(runs, "run_id", "left_semi")


def _checks(measures: Sequence[Row]) -> tuple[Check, ...]:
    checks = [_check(row) for row in measures if row["passed"] is not None]
    return tuple(sorted(checks, key=lambda check: (check.passed, check.source, check.name, check.subject)))


def _check(row: Row) -> Check:
    name, unit, side = CHECKS.get(row["measure"], (row["measure"].replace("_", " "), "number", N_("limit")))
    return Check(row["source"], name, row["subject"], row["value"], row["limit"], unit, side, row["passed"])


def _sources(measures: Sequence[Row], previous: Mapping[str, int]) -> tuple[SourceQuality, ...]:
    names = sorted({row["source"] for row in measures if row["measure"] == "rows_in"})
    sources = [_source(name, [row for row in measures if row["source"] == name], previous.get(name)) for name in names]
    return tuple(sorted(sources, key=lambda source: (source.passed, source.source)))


def _source(name: str, measures: Sequence[Row], previous: int | None) -> SourceQuality:
    values = {row["measure"]: row["value"] for row in measures if row["subject"] == ""}

    def count(measure: str) -> int:
        return int(values.get(measure, 0))

    def days(measure: str) -> int | None:
        return int(values[measure]) if measure in values else None

    return SourceQuality(
        source=name,
        passed=all(row["passed"] is not False for row in measures),
        rows_in=count("rows_in"),
        previous_rows_in=previous,
        interactions=count("interactions"),
        quarantined=count("quarantined"),
        duplicates=count("duplicates"),
        left_out=count("left_out"),
        clipped=count("clipped"),
        flagged=count("flagged"),
        lowest_value=values.get("lowest_value"),
        highest_value=values.get("highest_value"),
        newest_event_age_days=days("newest_event_age_days"),
        oldest_event_age_days=days("oldest_event_age_days"),
        missing=tuple((row["subject"], row["value"]) for row in measures if row["measure"] == "missing_rate"),
    )


def _reasons(measures: Sequence[Row]) -> tuple[ReasonQuality, ...]:
    read = {row["source"]: row["value"] for row in measures if row["measure"] == "rows_in"}
    verdicts = {(row["source"], row["subject"]): row["passed"] for row in measures if row["measure"] == "rate_of_reason"}
    reasons = [
        ReasonQuality(
            source=row["source"],
            reason=row["subject"],
            rows=int(row["value"]),
            share=row["value"] / read[row["source"]] if read.get(row["source"]) else None,
            passed=verdicts.get((row["source"], row["subject"])),
            example=row["example"],
        )
        for row in measures
        if row["measure"] == "rows_with_reason"
    ]
    return tuple(sorted(reasons, key=lambda reason: (reason.passed is not False, -reason.rows, reason.source, reason.reason)))
