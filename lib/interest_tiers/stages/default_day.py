"""Choose as_of where none is given: the day after the newest event that is no stray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

#: Events after a gap are stray where they are fewer than one in so many of all.
STRAY_ONE_IN = 1000

#: Shorter gaps than this are no gaps, however short the horizon is.
SHORTEST_GAP_DAYS = 30


@dataclass(frozen=True)
class DefaultDay:
    """The day that a run sees up to, where none was given. note: which events count as stray; empty where none does."""

    as_of: date
    note: str = ""


def choose_day(rows_by_day: Mapping[date, int], horizon_days: int) -> DefaultDay | None:
    """Choose the day after the newest event, leaving out stray events; None without events.

    Stray are the events after a gap without any event of more than horizon_days (and SHORTEST_GAP_DAYS), where they are fewer
    than one in STRAY_ONE_IN of all. One mistyped year would otherwise make all users inactive.

    rows_by_day: number of events per day
    """
    days = sorted(rows_by_day)
    if not days:
        return None
    n_all, n_after, newest = sum(rows_by_day.values()), 0, days[-1]
    n_stray, first_stray = 0, None
    for earlier, day in zip(reversed(days[:-1]), reversed(days[1:]), strict=True):
        n_after += rows_by_day[day]
        if n_after * STRAY_ONE_IN >= n_all:
            break
        if (day - earlier).days > max(horizon_days, SHORTEST_GAP_DAYS):
            n_stray, first_stray, newest = n_after, day, earlier
    as_of = newest + timedelta(days=1)
    if first_stray is None:
        return DefaultDay(as_of)
    counted = f"1 event of {n_all:,} counts" if n_stray == 1 else f"{n_stray:,} events of {n_all:,} count"
    return DefaultDay(
        as_of,
        f"as_of is {as_of}: {counted} as stray, from {first_stray} on, after {(first_stray - newest).days:,} days without any. "
        f"To see them, give --as-of {days[-1] + timedelta(days=1)}; to quarantine them, set occurred_at.latest",
    )
