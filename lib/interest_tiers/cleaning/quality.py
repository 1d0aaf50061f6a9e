"""Measures what cleaning found, against the limits of the config. The gate that judges the measures is in gate.py."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from interest_tiers.cleaning.counting import NOTHING_BEFORE, CountsBefore, describe_before
from interest_tiers.cleaning.judging import Judged
from interest_tiers.cleaning.quarantine import CANNOT_BE_READ, is_good
from interest_tiers.cleaning.undecodable import TEXT_COLUMNS, Undecodable, count_undecodable, count_undecodable_items, read_undecodable
from interest_tiers.config import ALL_SOURCES, ITEMS_SOURCE, UNREADABLE, Config, InteractionSource, Quality
from interest_tiers.text import mask_example, wildcard_to_regex

#: The measure that separates runs that read everything from those that read what was new.
IS_REBUILT = "is_rebuilt"

#: The share of good interactions whose item the catalogue has.
CATALOGUE_RATE = "catalogue_rate"

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
    """Counts of the rows of one source: rows_in = interactions + quarantined + duplicates + before.left_out.

    duplicates: rows equal to another one, of this run or an earlier one.
    reasons: counts of every reason; their sum can exceed quarantined.
    before: what was counted before rows were judged.
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
    before: CountsBefore = NOTHING_BEFORE


@dataclass(frozen=True)
class Measure:
    """A row of the table data_quality without its run. limit and passed are set where the config has a threshold.

    explanation: the end of the message where the limit is not met; it is not stored.
    """

    source: str
    measure: str
    subject: str | None
    value: float
    limit: float | None = None
    passed: bool | None = None
    example: str | None = None
    explanation: str = ""


def count_sources(judged: DataFrame, before: Mapping[str, CountsBefore] | None = None) -> list[SourceCounts]:
    """Count judged interactions per source. Sources and reasons are as many as the config names.

    before: by source, see counting.count_before; a source of which every row is left out has counts too.
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
    found = [_source_counts(row, reasons.get(row["source"], {})) for row in totals.collect()]
    before = before or {}
    found += [_no_rows(name) for name in before.keys() - {counts.source for counts in found} if before[name].left_out]
    counted = [_add_before(counts, before[counts.source]) if counts.source in before else counts for counts in found]
    return sorted(counted, key=lambda counts: counts.source)


def measure_items(versions: DataFrame, quality: Quality) -> list[Measure]:
    """Measure the texts of the catalogue. versions: see items.count_item_versions."""
    return _undecodable(ITEMS_SOURCE, count_undecodable_items(versions), quality)


def describe(counts: Sequence[SourceCounts]) -> str:
    """Describe the counts of all sources in one line, with the reasons."""
    interactions, duplicates, quarantined = (sum(getattr(c, n) for c in counts) for n in ("interactions", "duplicates", "quarantined"))
    reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in count_all_reasons(counts).items())
    clipped, flagged = sum(c.clipped for c in counts), sum(c.flagged for c in counts)
    undecodable, lost_lines = sum(c.undecodable.rows for c in counts), sum(count_lost_lines(c) for c in counts)
    return (
        f"{interactions:,} interactions, {duplicates:,} exact duplicates, {quarantined:,} quarantined"
        + (f" ({reasons})" if reasons else "")
        + "".join(f", {each}" for each in describe_before([c.before for c in counts]))
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


def _no_rows(source: str) -> SourceCounts:
    missing = dict.fromkeys(COUNTED_COLUMNS, 0)
    return SourceCounts(source, 0, 0, 0, 0, missing, Undecodable(), None, None, None, None, 0, 0, {})


def _add_before(counts: SourceCounts, before: CountsBefore) -> SourceCounts:
    return replace(counts, rows_in=counts.rows_in + before.left_out, before=before)


def _volumes(found: SourceCounts, quality: Quality, previous: int | None) -> list[Measure]:
    measures = [
        Measure(found.source, name, None, getattr(found, name)) for name in ("rows_in", "interactions", "quarantined", "duplicates")
    ]
    measures += [Measure(found.source, name, None, getattr(found, name)) for name in ("clipped", "flagged")]
    measures.append(Measure(found.source, "left_out", None, found.before.left_out))
    measures += [Measure(found.source, "unmatched", path, rows) for path, rows in found.before.unmatched.items()]
    if found.before.conflicting_ids is not None:
        measures.append(Measure(found.source, "conflicting_event_ids", None, found.before.conflicting_ids))
    if previous and found.rows_in:
        change = max(found.rows_in / previous, previous / found.rows_in)
        limit = quality.max_volume_change
        measures.append(Measure(found.source, "volume_change", None, change, limit, None if limit is None else change <= limit))
    return measures


def _rates(found: SourceCounts, quality: Quality, own_limit: float | None) -> list[Measure]:
    # What the config leaves out would dilute the rates. A row that cannot be read may hold any number of lines, each of
    # which was a row.
    rows = max(found.rows_in - found.before.left_out + count_lost_lines(found), 1)
    limit = quality.max_quarantine_rate if own_limit is None else own_limit
    rate = (found.quarantined + count_lost_lines(found)) / rows
    measures = [Measure(found.source, "quarantine_rate", None, rate, limit, rate <= limit)]
    for reason, of_reason in found.reasons.items():
        measures.append(Measure(found.source, "rows_with_reason", reason, of_reason.rows, example=of_reason.example))
        if of_reason.lines:
            measures.append(Measure(found.source, "lines_with_reason", reason, of_reason.lines))
        reason_limit = _limit_of(reason, quality.max_rate_by_reason)
        if reason_limit is not None:
            rate = of_reason.rows / rows
            measures.append(Measure(found.source, "rate_of_reason", reason, rate, reason_limit, rate <= reason_limit))
    distinct = max(found.rows_in - found.before.left_out - found.duplicates, 1)
    measures += [Measure(found.source, "missing_rate", column, n / distinct) for column, n in found.missing.items()]
    return measures + _undecodable(found.source, found.undecodable, quality)


def _undecodable(source: str, found: Undecodable, quality: Quality) -> list[Measure]:
    rate, limit = found.rate, quality.max_undecodable_rate
    return [
        Measure(source, "undecodable_rate", None, rate, limit, rate <= limit),
        *[Measure(source, "undecodable", column, rows) for column, rows in found.by_column.items()],
    ]


def count_lost_lines(found: SourceCounts) -> int:
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


def count_all_reasons(counts: Sequence[SourceCounts]) -> dict[str, int]:
    """Count the rows of every reason over all sources, most frequent first."""
    together: dict[str, int] = {}
    for found in counts:
        for reason, of_reason in found.reasons.items():
            together[reason] = together.get(reason, 0) + of_reason.rows
    return dict(sorted(together.items(), key=lambda entry: (-entry[1], entry[0])))
