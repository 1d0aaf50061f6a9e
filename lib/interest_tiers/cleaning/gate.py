"""The quality gate: accepts the measures, or stops with every limit that is not met and what explains it."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.interactions import NOT_CONFIGURED
from interest_tiers.cleaning.quality import CATALOGUE_RATE, IS_REBUILT, Measure, SourceCounts, count_all_reasons, count_lost_lines
from interest_tiers.config import ALL_SOURCES
from interest_tiers.errors import ConfigError, DataQualityError

#: Unknown behaviours that a message names.
NAMED_BEHAVIOURS = 5


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
                f"{measure.source}: {measure.value:.1%} of the rows have names with U+FFFD, bytes outside the file's encoding "
                f"({', '.join(of)}); quality.max_undecodable_rate is {measure.limit:.1%}. Set options.encoding of the source, for example "
                "to ISO-8859-1, windows-1252 or UTF-16: as it is, different names may have become one"
            )


def _fault(measure: Measure, found: SourceCounts | None) -> str:
    where = "" if measure.source in (ALL_SOURCES, "interactions") else f"{measure.source}: "
    if measure.measure == "quarantine_rate" and found is not None:
        reasons = ", ".join(f"{reason} ({of.rows:,})" for reason, of in found.reasons.items())
        lines = f"{found.quarantined + count_lost_lines(found):,} lines, " if count_lost_lines(found) else ""
        return (
            f"{where}{found.quarantined:,} of {found.rows_in - found.before.left_out:,} rows cannot be used ({lines}{measure.value:.1%}; "
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
    if measure.measure == CATALOGUE_RATE:
        share = f"{where}the catalogue has the items of {measure.value:.1%} of the interactions"
        return f"{share}; quality.min_catalogue_rate is {measure.limit:.1%}{measure.explanation}"
    key = {"interactions": "quality.min_rows", "users": "quality.min_users"}[measure.measure]
    return f"{measure.value:,.0f} {measure.measure} are left; {key} is {measure.limit:,.0f}"


def _unknown_behaviours(counts: Sequence[SourceCounts], judged: DataFrame) -> list[str]:
    if NOT_CONFIGURED not in count_all_reasons(counts):
        return []
    unknown = judged.where(F.array_contains("reasons", NOT_CONFIGURED)).groupBy("behaviour").count()
    named = unknown.orderBy(F.desc("count"), "behaviour").limit(NAMED_BEHAVIOURS).collect()
    values = ", ".join(f"{row['behaviour']!r} ({row['count']:,})" for row in named)
    return [f"behaviours that the config does not name: {values}"]
