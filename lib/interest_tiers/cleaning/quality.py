"""Measures what cleaning found, against limits; the quality gate goes on, or stops with the reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from interest_tiers.cleaning.interactions import NOT_CONFIGURED
from interest_tiers.cleaning.judging import Judged
from interest_tiers.cleaning.quarantine import CANNOT_BE_READ, is_good
from interest_tiers.cleaning.undecodable import TEXT_COLUMNS, Undecodable, count_undecodable, count_undecodable_items, read_undecodable
from interest_tiers.config import ALL_SOURCES, ITEMS_SOURCE, UNREADABLE, Config, InteractionSource, Quality
from interest_tiers.errors import ConfigError, DataQualityError
from interest_tiers.text import mask_example, wildcard_to_regex

#: The measure that separates runs that read everything from those that read what was new.
IS_REBUILT = "is_rebuilt"

#: Unknown behaviours that a message names.
NAMED_BEHAVIOURS = 5

#: Columns whose missing values are counted.
COUNTED_COLUMNS = ("user_id", "item_id", "behaviour", "occurred_at", "value", "text")


@dataclass(frozen=True)
class Reason:
    """The number of rows with a reason, and one of them as JSON, its letters and digits masked.

    lines: of rows that cannot be read, the lines of the file that they took; 0 for other reasons.
    """

    rows: int
    example: str | None
    lines: int = 0


@dataclass(frozen=True)
class SourceCounts:
    """Counts of the rows of one source: rows_in = interactions + quarantined + duplicates.

    duplicates: rows equal to another one, of this run or an earlier one.
    reasons: counts of every reason; their sum can exceed quarantined.
    """

    source: str
    rows_in: int
    interactions: int
    quarantined: int
    duplicates: int
    missing: Mapping[str, int]
    undecodable: Undecodable
    lowest_value: float | None
    highest_value: float | None
    oldest: date | None
    newest: date | None
    clipped: int
    flagged: int
    reasons: Mapping[str, Reason]


@dataclass(frozen=True)
class Measure:
    """A row of the table data_quality without its run. limit and passed are set where the config has a threshold."""

    source: str
    measure: str
    subject: str | None
    value: float
    limit: float | None = None
    passed: bool | None = None
    example: str | None = None


def count_sources(judged: DataFrame) -> list[SourceCounts]:
    """Count judged interactions per source. Sources and reasons are as many as the config names.

    judged: see judging.Judged.rows. copies counts how often the run read the row.
    is_new is false for a stored row that is here for its copies or its day.
    """
    is_new, is_kept = F.col("is_new"), F.col("is_new") & is_good()
    totals = judged.groupBy("source").agg(
        F.sum("copies").alias("rows_in"),
        F.count_if(is_new).alias("distinct_rows"),
        F.count_if(is_kept).alias("good"),
        *[F.count_if(is_new & F.col(c).isNull()).alias(f"missing_{c}") for c in COUNTED_COLUMNS],
        *count_undecodable(TEXT_COLUMNS, is_new, F.lit(1)),
        F.min(F.when(is_kept, F.col("value"))).alias("lowest"),
        F.max(F.when(is_kept, F.col("value"))).alias("highest"),
        F.min(F.when(is_kept, F.col("event_date"))).alias("oldest"),
        F.max(F.when(is_kept, F.col("event_date"))).alias("newest"),
        F.count_if(is_kept & F.col("given_value").isNotNull()).alias("clipped"),
        F.count_if(is_new & F.col("is_flagged")).alias("flagged"),
    )
    reasons = _count_reasons(judged.where("is_new"))
    return [_source_counts(row, reasons.get(row["source"], {})) for row in totals.orderBy("source").collect()]


def measure_items(versions: DataFrame, quality: Quality) -> list[Measure]:
    """Measure the texts of the catalogue. versions: see items.count_item_versions."""
    return _undecodable(ITEMS_SOURCE, count_undecodable_items(versions), quality)


def describe(counts: Sequence[SourceCounts]) -> str:
    """Describe the counts of all sources in one line, with the reasons."""
    interactions, duplicates, quarantined = (sum(getattr(c, n) for c in counts) for n in ("interactions", "duplicates", "quarantined"))
    reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in _all_reasons(counts).items())
    clipped, flagged = sum(c.clipped for c in counts), sum(c.flagged for c in counts)
    undecodable, lost_lines = sum(c.undecodable.rows for c in counts), sum(_lost_lines(c) for c in counts)
    return (
        f"{interactions:,} interactions, {duplicates:,} exact duplicates, {quarantined:,} quarantined"
        + (f" ({reasons})" if reasons else "")
        + (f", {lost_lines:,} further lines in rows that cannot be read" if lost_lines else "")
        + (f", {undecodable:,} rows with U+FFFD (is options.encoding set?)" if undecodable else "")
        + (f", {clipped:,} values clipped" if clipped else "")
        + (f", {flagged:,} rows flagged as of bots" if flagged else "")
    )


def measure_quality(
    counts: Sequence[SourceCounts],
    quality: Quality,
    sources: Mapping[str, InteractionSource],
    previous_rows: Mapping[str, int],
    newest_stored: Mapping[str, date],
    today: date,
) -> list[Measure]:
    """Measure every source.

    previous_rows: by source (see find_rows_of_previous_run).
    newest_stored: by source, the day of the newest event stored before.
    """
    measures: list[Measure] = []
    for found in counts:
        measures += _volumes(found, quality, previous_rows.get(found.source))
        measures += _rates(found, quality, sources[found.source].max_quarantine_rate)
        measures += _ranges(found, today)
    newest = {found.source: found.newest for found in counts if found.newest is not None}
    for source in sorted(newest.keys() | newest_stored.keys()):
        day = max(days[source] for days in (newest, newest_stored) if source in days)
        measures.append(_age(source, day, quality, today))
    return measures


def measure_run(is_rebuilt: bool) -> list[Measure]:
    """Measure whether the run read everything, or what was new."""
    return [Measure(ALL_SOURCES, IS_REBUILT, None, float(is_rebuilt))]


def measure_judged(
    judged: Judged,
    counts: Sequence[SourceCounts],
    config: Config,
    data_quality: DataFrame,
    newest_stored: Mapping[str, date],
    today: date,
) -> list[Measure]:
    """Measure a run that read interactions.

    counts: see count_sources. data_quality: as the table. newest_stored: see measure_quality.
    """
    previous = find_rows_of_previous_run(data_quality, judged.replaces_all)
    newest = {} if judged.replaces_all else newest_stored
    measures = measure_run(judged.replaces_all) + measure_quality(counts, config.quality, config.named_sources, previous, newest, today)
    if judged.replaces_all:
        n_users = judged.good.select("user_id").distinct().count()
        measures += measure_totals(sum(of.interactions for of in counts), n_users, config.quality)
    return measures


def quality_rows(measures: Sequence[Measure], run_id: str, measured_at: datetime) -> list[tuple[object, ...]]:
    """Write measures as rows of the table data_quality."""
    return [
        (
            run_id,
            measured_at,
            m.source,
            m.measure,
            m.subject or "",
            float(m.value),
            None if m.limit is None else float(m.limit),
            m.passed,
            m.example,
        )
        for m in measures
    ]


def find_rows_of_previous_run(data_quality: DataFrame, is_rebuilt: bool) -> dict[str, int]:
    """Find the rows read per source by the latest run of the same kind that met every limit.

    data_quality: as the table. is_rebuilt: the kind (see measure_run).
    """
    rows_in = F.when(F.col("measure") == "rows_in", F.struct("source", F.col("value").cast("bigint")))
    of_run = data_quality.groupBy("run_id").agg(
        F.max("measured_at").alias("measured_at"),
        F.max(F.when(F.col("measure") == IS_REBUILT, F.col("value"))).alias("kind"),
        F.every(F.coalesce("passed", F.lit(True))).alias("passed"),
        F.map_from_entries(F.collect_list(rows_in)).alias("rows"),  # as many as the config has sources
    )
    latest = of_run.where(F.col("passed") & (F.col("kind") == float(is_rebuilt))).orderBy(F.desc("measured_at")).first()
    return {} if latest is None else dict(latest["rows"])


def measure_totals(interactions: int, users: int, quality: Quality) -> list[Measure]:
    """Measure all interactions and users against the least that the config allows."""
    return [
        Measure(ALL_SOURCES, "interactions", None, interactions, quality.min_rows, interactions >= quality.min_rows),
        Measure(ALL_SOURCES, "users", None, users, quality.min_users, users >= quality.min_users),
    ]


def require_quality(measures: Sequence[Measure], counts: Sequence[SourceCounts] = (), judged: DataFrame | None = None) -> None:
    """Raise DataQualityError with every threshold that is not met. counts and judged explain those on rows."""
    _require_decodable(measures)
    by_source = {found.source: found for found in counts}
    faults = [_fault(measure, by_source.get(measure.source)) for measure in measures if measure.passed is False]
    if any(m.measure == IS_REBUILT and m.value for m in measures) and not any(found.rows_in for found in counts):
        faults.insert(0, "the source has no rows")
    if judged is not None and any(m.measure in ("quarantine_rate", "rate_of_reason") for m in measures if m.passed is False):
        faults += _unknown_behaviours(counts, judged)
    if faults:
        raise DataQualityError(f"the quality gate refuses the data: {'; '.join(faults)}. See interactions_quarantine and data_quality")


def _require_decodable(measures: Sequence[Measure]) -> None:
    """Raise ConfigError where a source was read in another encoding than its own: its config lacks the encoding."""
    for measure in measures:
        if measure.measure == "undecodable_rate" and measure.passed is False:
            of = [f"{m.subject} {m.value:,.0f}" for m in measures if (m.source, m.measure) == (measure.source, "undecodable") and m.value]
            raise ConfigError(
                f"{measure.source}: {measure.value:.1%} of the rows hold U+FFFD, which stands for bytes outside the file's encoding "
                f"({', '.join(of)}); quality.max_undecodable_rate is {measure.limit:.1%}. Set options.encoding of the source, for example "
                "to ISO-8859-1, windows-1252 or UTF-16: as it is, different names may have become one"
            )


def _count_reasons(judged: DataFrame) -> dict[str, dict[str, Reason]]:
    each = judged.where(~is_good()).select("source", F.explode("reasons").alias("reason"), "raw", "interaction_id")
    record = F.when(F.col("reason") == CANNOT_BE_READ, F.btrim(F.get_json_object("raw", f"$.{UNREADABLE}"), F.lit("\n\r")))
    n_lines = F.coalesce(1 + F.length(record) - F.length(F.replace(record, F.lit("\n"), F.lit(""))), F.lit(0))
    counted = each.groupBy("source", "reason").agg(
        F.count(F.lit(1)).alias("rows"), F.sum(n_lines).alias("lines"), F.min_by("raw", "interaction_id").alias("raw")
    )
    counted = counted.select("source", "reason", "rows", "lines", mask_example(F.col("raw")).alias("example"))
    found: dict[str, dict[str, Reason]] = {}
    for row in counted.orderBy("source", F.desc("rows"), "reason").collect():
        found.setdefault(row["source"], {})[row["reason"]] = Reason(row["rows"], row["example"], row["lines"])
    return found


def _source_counts(row: Row, reasons: Mapping[str, Reason]) -> SourceCounts:
    return SourceCounts(
        source=row["source"],
        rows_in=row["rows_in"],
        interactions=row["good"],
        quarantined=row["distinct_rows"] - row["good"],
        duplicates=row["rows_in"] - row["distinct_rows"],
        missing={c: row[f"missing_{c}"] for c in COUNTED_COLUMNS},
        undecodable=read_undecodable(row, TEXT_COLUMNS, row["distinct_rows"]),
        lowest_value=row["lowest"],
        highest_value=row["highest"],
        oldest=row["oldest"],
        newest=row["newest"],
        clipped=row["clipped"],
        flagged=row["flagged"],
        reasons=reasons,
    )


def _volumes(found: SourceCounts, quality: Quality, previous: int | None) -> list[Measure]:
    measures = [
        Measure(found.source, name, None, getattr(found, name)) for name in ("rows_in", "interactions", "quarantined", "duplicates")
    ]
    measures += [Measure(found.source, name, None, getattr(found, name)) for name in ("clipped", "flagged")]
    if previous and found.rows_in:
        change = max(found.rows_in / previous, previous / found.rows_in)
        limit = quality.max_volume_change
        measures.append(Measure(found.source, "volume_change", None, change, limit, None if limit is None else change <= limit))
    return measures


def _rates(found: SourceCounts, quality: Quality, own_limit: float | None) -> list[Measure]:
    # A row that cannot be read may hold any number of lines, each of which was a row.
    rows = max(found.rows_in + _lost_lines(found), 1)
    limit = quality.max_quarantine_rate if own_limit is None else own_limit
    rate = (found.quarantined + _lost_lines(found)) / rows
    measures = [Measure(found.source, "quarantine_rate", None, rate, limit, rate <= limit)]
    for reason, of_reason in found.reasons.items():
        measures.append(Measure(found.source, "rows_with_reason", reason, of_reason.rows, example=of_reason.example))
        if of_reason.lines:
            measures.append(Measure(found.source, "lines_with_reason", reason, of_reason.lines))
        reason_limit = _limit_of(reason, quality.max_rate_by_reason)
        if reason_limit is not None:
            rate = of_reason.rows / rows
            measures.append(Measure(found.source, "rate_of_reason", reason, rate, reason_limit, rate <= reason_limit))
    distinct = max(found.rows_in - found.duplicates, 1)
    measures += [Measure(found.source, "missing_rate", column, n / distinct) for column, n in found.missing.items()]
    return measures + _undecodable(found.source, found.undecodable, quality)


def _undecodable(source: str, found: Undecodable, quality: Quality) -> list[Measure]:
    rate, limit = found.rate, quality.max_undecodable_rate
    return [
        Measure(source, "undecodable_rate", None, rate, limit, rate <= limit),
        *[Measure(source, "undecodable", column, rows) for column, rows in found.by_column.items()],
    ]


def _lost_lines(found: SourceCounts) -> int:
    """Count the lines of rows that cannot be read, beyond one each."""
    return sum(max(0, reason.lines - reason.rows) for reason in found.reasons.values())


def _ranges(found: SourceCounts, today: date) -> list[Measure]:
    bounds = {"lowest_value": found.lowest_value, "highest_value": found.highest_value}
    measures = [Measure(found.source, name, None, value) for name, value in bounds.items() if value is not None]
    if found.oldest is not None:
        measures.append(Measure(found.source, "oldest_event_age_days", None, (today - found.oldest).days))
    return measures


def _age(source: str, newest: date, quality: Quality, today: date) -> Measure:
    age, limit = (today - newest).days, quality.max_age_days
    return Measure(source, "newest_event_age_days", None, age, limit, None if limit is None else age <= limit)


def _limit_of(reason: str, limits: Mapping[str, float]) -> float | None:
    """Find the limit of a reason: by its name, or by the first pattern that matches; * matches any text."""
    if reason in limits:
        return limits[reason]
    fitting = (limit for pattern, limit in limits.items() if re.fullmatch(wildcard_to_regex(pattern), reason))
    return next(fitting, None)


def _fault(measure: Measure, found: SourceCounts | None) -> str:
    where = "" if measure.source in (ALL_SOURCES, "interactions") else f"{measure.source}: "
    if measure.measure == "quarantine_rate" and found is not None:
        reasons = ", ".join(f"{reason} ({of.rows:,})" for reason, of in found.reasons.items())
        lines = f"{found.quarantined + _lost_lines(found):,} lines, " if _lost_lines(found) else ""
        return (
            f"{where}{found.quarantined:,} of {found.rows_in:,} rows cannot be used ({lines}{measure.value:.1%}; "
            f"quality.max_quarantine_rate is {measure.limit:.1%}): {reasons}"
        )
    if measure.measure == "rate_of_reason":
        return (
            f"{where}{measure.value:.1%} of the rows have the reason {measure.subject!r}; quality.max_rate_by_reason is {measure.limit:.1%}"
        )
    if measure.measure == "newest_event_age_days":
        return f"{where}the newest event is {measure.value:.0f} days old; quality.max_age_days is {measure.limit:.0f}"
    if measure.measure == "volume_change":
        change = f"{where}the rows read differ from those of the run before by a factor of {measure.value:.1f}"
        return f"{change}; quality.max_volume_change is {measure.limit:.1f}"
    key = {"interactions": "quality.min_rows", "users": "quality.min_users"}[measure.measure]
    return f"{measure.value:,.0f} {measure.measure} are left; {key} is {measure.limit:,.0f}"


def _all_reasons(counts: Sequence[SourceCounts]) -> dict[str, int]:
    together: dict[str, int] = {}
    for found in counts:
        for reason, of_reason in found.reasons.items():
            together[reason] = together.get(reason, 0) + of_reason.rows
    return dict(sorted(together.items(), key=lambda entry: (-entry[1], entry[0])))


def _unknown_behaviours(counts: Sequence[SourceCounts], judged: DataFrame) -> list[str]:
    if NOT_CONFIGURED not in _all_reasons(counts):
        return []
    unknown = judged.where(F.array_contains("reasons", NOT_CONFIGURED)).groupBy("behaviour").count()
    named = unknown.orderBy(F.desc("count"), "behaviour").limit(NAMED_BEHAVIOURS).collect()
    values = ", ".join(f"{row['behaviour']!r} ({row['count']:,})" for row in named)
    return [f"behaviours that the config does not name: {values}"]
