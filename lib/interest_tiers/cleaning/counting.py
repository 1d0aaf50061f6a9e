"""Counts what only the reading of a source shows, before its rows are judged: rows left out, joins without a match, event ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import InteractionSource


@dataclass(frozen=True)
class CountsBefore:
    """Counts of one source.

    left_out:        rows that `where` or `unpivot` leaves out
    unmatched:       rows without a match, by the path of the join
    conflicting_ids: event ids that stand for different rows; None where the config names no event id
    """

    left_out: int = 0
    unmatched: Mapping[str, int] = field(default_factory=dict)
    conflicting_ids: int | None = None


NOTHING_BEFORE = CountsBefore()


def count_before(
    assessed: DataFrame, left_out: Mapping[str, DataFrame], sources: Mapping[str, InteractionSource]
) -> dict[str, CountsBefore]:
    """Count per source what its config asks for; without joins, event ids and rows to leave out nothing is computed.

    assessed: (interaction_id, copies bigint, source, event_id, unmatched array<string>, …), materialised
    left_out: by source, the rows that are left out
    sources:  those that were read
    """
    unmatched = _count_unmatched(assessed) if any(source.join for source in sources.values()) else {}
    with_ids = [name for name, source in sources.items() if source.columns.event_id is not None]
    conflicts = _count_conflicts(assessed) if with_ids else {}
    return {
        name: CountsBefore(
            left_out[name].count() if name in left_out else 0,
            {join.path: unmatched.get((name, join.path), 0) for join in source.join},
            conflicts.get(name, 0) if name in with_ids else None,
        )
        for name, source in sources.items()
    }


def describe_before(counts: Sequence[CountsBefore]) -> list[str]:
    """Describe the counts of all sources, without those that are 0."""
    unmatched: dict[str, int] = {}
    for of_source in counts:
        for path, rows in of_source.unmatched.items():
            unmatched[path] = unmatched.get(path, 0) + rows
    left_out, conflicts = sum(c.left_out for c in counts), sum(c.conflicting_ids or 0 for c in counts)
    return [
        *([f"{left_out:,} rows left out"] if left_out else []),
        *(f"{rows:,} rows without a match in {path}" for path, rows in unmatched.items() if rows),
        *([f"{conflicts:,} event ids that stand for different rows, all kept"] if conflicts else []),
    ]


def _count_unmatched(assessed: DataFrame) -> dict[tuple[str, str], int]:
    """Count rows by source and path; both are as many as the config names."""
    each = assessed.select("source", "copies", F.explode("unmatched").alias("path"))
    summed = each.groupBy("source", "path").agg(F.sum("copies").alias("rows")).collect()
    return {(row["source"], row["path"]): row["rows"] for row in summed}


def _count_conflicts(assessed: DataFrame) -> dict[str, int]:
    """Count the event ids with several interaction ids, among the rows that were read, by source."""
    named = assessed.where(F.col("event_id").isNotNull()).groupBy("source", "event_id")
    several = named.agg((F.min("interaction_id") != F.max("interaction_id")).alias("is_conflict")).where("is_conflict")
    return {row["source"]: row["count"] for row in several.groupBy("source").count().collect()}
