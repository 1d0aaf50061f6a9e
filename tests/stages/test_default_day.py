"""The day that a run sees up to, where none was given."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from interest_tiers.stages.default_day import choose_day

START = date(2014, 1, 1)


def days(*counts: tuple[int, int]) -> dict[date, int]:
    """counts: days after START and events of that day."""
    return {START + timedelta(days=after): n for after, n in counts}


REGULAR = tuple((after, 100) for after in range(100))


@pytest.mark.parametrize(
    ("later", "horizon", "expected"),
    [
        ((), 7, 99),
        (((140, 9),), 7, 99),  # 9 of 10,009 are fewer than one in 1,000, after 41 days
        (((140, 11),), 7, 140),  # 11 of 10,011 are not
        (((140, 9),), 41, 140),  # the horizon is as long as the gap
        (((140, 9),), 40, 99),
        (((129, 9),), 7, 129),  # 30 days are no gap
        (((130, 9),), 7, 99),
        (((140, 3), (200, 3), (4000, 3)), 7, 99),  # strays in several years
        (((140, 3), (141, 9)), 7, 141),  # together they are no strays
        (((140, 20), (4000, 1)), 7, 140),
    ],
)
def test_events_after_a_gap_are_stray_where_they_are_rare(later: tuple[tuple[int, int], ...], horizon: int, expected: int) -> None:
    chosen = choose_day(days(*REGULAR, *later), horizon)
    assert chosen is not None
    assert chosen.as_of == START + timedelta(days=expected + 1)
    assert bool(chosen.note) == (later != () and expected != later[-1][0])


def test_the_note_counts_the_strays_and_says_how_to_see_them() -> None:
    chosen = choose_day(days(*REGULAR, (4000, 2), (4500, 1)), 91)
    assert chosen is not None
    assert chosen.note == (
        "as_of is 2014-04-11: 3 events of 10,003 count as stray, from 2024-12-14 on, after 3,901 days without any. "
        "To see them, give --as-of 2026-04-29; to quarantine them, set occurred_at.latest"
    )


def test_few_events_have_no_strays_and_none_have_no_day() -> None:
    chosen = choose_day(days((0, 5), (4000, 1)), 7)
    assert chosen is not None and (chosen.as_of, chosen.note) == (START + timedelta(days=4001), "")
    assert choose_day({}, 7) is None
