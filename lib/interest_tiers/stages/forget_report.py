"""What forget_users prints: when nothing of forgotten users can be read any more, table by table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from interest_tiers.storage.retention import VacuumResult


def describe_past(vacuumed: Sequence[VacuumResult], removed: Mapping[str, int]) -> list[str]:
    """Describe, line by line, what is left of forgotten users in the past of every table. removed: rows by table."""
    lines = [f"{'table':<24} {'rows removed':>12}   nothing of them can be read        versions kept"]
    lines += [
        f"{past.table:<24} {removed.get(past.table, 0):>12,}   {_when(past):<32}   from {past.oldest_version:,} on" for past in vacuumed
    ]
    pending = [time for past in vacuumed for time in (past.unreadable_from, past.log_unreadable_from) if _is_ahead(time)]
    if pending:
        last = max(time for time in pending if time is not None)
        lines.append(f"Run forget_users --vacuum-only after {_shown(last)} to remove the last of it.")
    if removed:
        lines.append("The report was removed, since it shows single users: run the stage report again.")
    return lines


def _when(past: VacuumResult) -> str:
    if past.unreadable_from is None:
        return "nobody was forgotten"
    data = f"after {_shown(past.unreadable_from)}" if _is_ahead(past.unreadable_from) else "now"
    if past.log_unreadable_from is None or not _is_ahead(past.log_unreadable_from):
        return data
    return f"{data}, log after {_shown(past.log_unreadable_from)}"


def _is_ahead(time: datetime | None) -> bool:
    return time is not None and time.astimezone(UTC) > datetime.now(UTC)


def _shown(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
