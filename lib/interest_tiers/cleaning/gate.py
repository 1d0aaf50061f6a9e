"""The quality gate: go on, or stop with the reasons."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Quality
from interest_tiers.errors import DataQualityError

#: How many values of an unknown behaviour a message names.
NAMED_BEHAVIOURS = 5


@dataclass(frozen=True)
class CleaningCounts:
    """rows_in = interactions + quarantined + duplicates; reasons counts every reason, so their sum can be larger."""

    rows_in: int
    interactions: int
    quarantined: int
    duplicates: int
    users: int
    reasons: dict[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.items())
        return (
            f"{self.interactions:,} interactions of {self.users:,} users, {self.duplicates:,} exact duplicates, "
            f"{self.quarantined:,} quarantined" + (f" ({reasons})" if reasons else "")
        )


def count_rows(assessed: DataFrame) -> CleaningCounts:
    """Count assessed interactions (see assess_interactions); the reasons are as many as there are rules."""
    is_good = F.size("reasons") == 0
    total = assessed.agg(
        F.coalesce(F.sum("copies"), F.lit(0)).alias("rows_in"),
        F.count(F.lit(1)).alias("distinct_rows"),
        F.count_if(is_good).alias("good"),
        F.countDistinct(F.when(is_good, F.col("user_id"))).alias("users"),
    ).first()
    assert total is not None  # an aggregate without keys has one row
    reasons = assessed.select(F.explode("reasons").alias("reason")).groupBy("reason").count().orderBy(F.desc("count"), "reason")
    return CleaningCounts(
        rows_in=total["rows_in"],
        interactions=total["good"],
        quarantined=total["distinct_rows"] - total["good"],
        duplicates=total["rows_in"] - total["distinct_rows"],
        users=total["users"],
        reasons={row["reason"]: row["count"] for row in reasons.collect()},
    )


def require_quality(counts: CleaningCounts, quality: Quality, assessed: DataFrame) -> None:
    """Raise DataQualityError with every threshold that is not met."""
    faults = []
    if counts.rows_in == 0:
        faults.append("the source has no rows")
    elif counts.quarantined > quality.max_quarantine_rate * counts.rows_in:
        rate = counts.quarantined / counts.rows_in
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in counts.reasons.items())
        faults.append(
            f"{counts.quarantined:,} of {counts.rows_in:,} rows cannot be used ({rate:.1%}; "
            f"quality.max_quarantine_rate is {quality.max_quarantine_rate:.1%}): {reasons}"
        )
        faults += _unknown_behaviours(counts, assessed)
    if counts.interactions < quality.min_rows:
        faults.append(f"{counts.interactions:,} interactions are left; quality.min_rows is {quality.min_rows:,}")
    if counts.users < quality.min_users:
        faults.append(f"{counts.users:,} users are left; quality.min_users is {quality.min_users:,}")
    if faults:
        raise DataQualityError(f"the quality gate refuses the data: {'; '.join(faults)}. See interactions_quarantine")


def _unknown_behaviours(counts: CleaningCounts, assessed: DataFrame) -> list[str]:
    reason = "behaviour: not configured"
    if reason not in counts.reasons:
        return []
    unknown = assessed.where(F.array_contains("reasons", reason)).groupBy("behaviour").count()
    named = unknown.orderBy(F.desc("count"), "behaviour").limit(NAMED_BEHAVIOURS).collect()
    values = ", ".join(f"{row['behaviour']!r} ({row['count']:,})" for row in named)
    return [f"behaviours that the config does not name: {values}"]
