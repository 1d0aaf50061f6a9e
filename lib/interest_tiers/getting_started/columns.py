"""Judges what a column of a sample holds, by its name and its values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any

from interest_tiers.getting_started.file_samples import FileSample
from interest_tiers.getting_started.words import Words, split_name

#: Least share of a column's cells that must be times for it to be one.
LEAST_TIMES = 0.95

#: Formats of one column at most.
MOST_FORMATS = 3

#: Rows up to which a column of one value may be an id.
FEW_ROWS = 20

#: Cells on which formats are tried.
TRIED_CELLS = 500

#: Numbers since 1970 in the years 1990 to 2099, by unit.
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000}
FIRST_SECOND, LAST_SECOND = 631_152_000, 4_102_444_799

ISO = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?\s?(Z|[+-]\d{2}:?\d{2})?")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")

#: Spark's patterns, and Python's of the same texts, the likelier first. One letter reads one digit or two.
FORMATS = {
    "d/M/yyyy H:mm:ss": "%d/%m/%Y %H:%M:%S",
    "M/d/yyyy H:mm:ss": "%m/%d/%Y %H:%M:%S",
    "d/M/yyyy H:mm": "%d/%m/%Y %H:%M",
    "M/d/yyyy H:mm": "%m/%d/%Y %H:%M",
    "M/d/yyyy h:mm:ss a": "%m/%d/%Y %I:%M:%S %p",
    "d/M/yyyy": "%d/%m/%Y",
    "M/d/yyyy": "%m/%d/%Y",
    "d.M.yyyy H:mm:ss": "%d.%m.%Y %H:%M:%S",
    "d.M.yyyy H:mm": "%d.%m.%Y %H:%M",
    "d.M.yyyy": "%d.%m.%Y",
    "yyyy/M/d H:mm:ss": "%Y/%m/%d %H:%M:%S",
    "yyyy/M/d H:mm": "%Y/%m/%d %H:%M",
    "yyyy/M/d": "%Y/%m/%d",
    "d-M-yyyy H:mm:ss": "%d-%m-%Y %H:%M:%S",
    "d-M-yyyy H:mm": "%d-%m-%Y %H:%M",
    "d-M-yyyy": "%d-%m-%Y",
    "d-MMM-yyyy": "%d-%b-%Y",
    "d MMM yyyy": "%d %b %Y",
    "MMM d, yyyy": "%b %d, %Y",
    "MMMM d, yyyy": "%B %d, %Y",
    "yyyyMMddHHmmss": "%Y%m%d%H%M%S",
    "yyyyMMdd": "%Y%m%d",
    "EEE MMM d HH:mm:ss Z yyyy": "%a %b %d %H:%M:%S %z %Y",
    "EEE, d MMM yyyy HH:mm:ss Z": "%a, %d %b %Y %H:%M:%S %z",
}


@dataclass(frozen=True)
class TimeShape:
    """How a column holds times: unit of numbers, or formats of texts ("iso" included), tried in order.

    other_format reads every cell too. Without unit and formats, the values are times already.
    """

    unit: str | None = None
    formats: tuple[str, ...] = ()
    other_format: str | None = None
    has_zone: bool = False
    first: date | None = None
    last: date | None = None


class Column:
    """A column of a sample: its name in words, and what its cells are."""

    def __init__(self, sample: FileSample, name: str) -> None:
        self.sample = sample
        self.name = name
        #: The last part of a.b.c, in words.
        self.words = split_name(name.rsplit(".", 1)[-1])
        cells = [row.get(name) for row in sample.rows]
        self.cells: list[Any] = [cell for cell in cells if cell is not None and cell != ""]
        self.missing = 1 - len(self.cells) / max(len(cells), 1)

    def has(self, words: Words) -> bool:
        """Whether the name has one of these words."""
        return any(word in words for word in self.words)

    @cached_property
    def texts(self) -> list[str]:
        """The cells as texts."""
        return [str(cell) for cell in self.cells]

    @cached_property
    def distinct(self) -> set[str]:
        return set(self.texts)

    @property
    def uniqueness(self) -> float:
        """Distinct cells over cells."""
        return len(self.distinct) / max(len(self.cells), 1)

    @cached_property
    def mean_length(self) -> float:
        return sum(map(len, self.texts)) / max(len(self.texts), 1)

    @cached_property
    def numbers(self) -> list[float]:
        """The cells as numbers; empty unless nearly all are."""
        found = [number for text in self.texts if (number := _number(text)) is not None]
        return found if self.texts and len(found) >= LEAST_TIMES * len(self.texts) else []

    @property
    def is_element(self) -> bool:
        """Whether it is a field of the array whose elements are the rows."""
        return self.sample.explode is not None and self.name.startswith(f"{self.sample.explode}.")

    @property
    def is_name_of_few(self) -> bool:
        """Whether the cells are short texts of which few differ."""
        return bool(self.cells) and len(self.distinct) <= 40 and self.mean_length <= 40 and not self.is_fraction

    @property
    def is_fraction(self) -> bool:
        """Whether numbers have decimals other than .0."""
        return any(number != int(number) for number in self.numbers[:TRIED_CELLS])

    @cached_property
    def time(self) -> TimeShape | None:
        """How the column holds times; None where it does not."""
        return _time_shape(self.cells, self.texts, self.numbers)

    @property
    def is_time_of_day(self) -> bool:
        return bool(self.texts) and all(TIME_OF_DAY.fullmatch(text) for text in self.texts[:TRIED_CELLS])

    @property
    def is_email(self) -> bool:
        return bool(self.texts) and all(EMAIL.fullmatch(text) for text in self.texts[:TRIED_CELLS])

    @property
    def could_be_id(self) -> bool:
        """Whether the cells could be ids: short, without blanks, whole."""
        spaced = sum(" " in text for text in self.texts[:TRIED_CELLS])
        is_constant = len(self.distinct) < 2 and len(self.cells) > FEW_ROWS
        return (
            bool(self.cells)
            and not is_constant
            and self.mean_length <= 64
            and not self.is_fraction
            and spaced <= TRIED_CELLS // 10
            and not self._is_list
        )

    @property
    def _is_list(self) -> bool:
        return any(isinstance(cell, list | dict) for cell in self.cells[:TRIED_CELLS])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _time_shape(cells: Sequence[Any], texts: Sequence[str], numbers: Sequence[float]) -> TimeShape | None:
    tried = [text for text in texts[:TRIED_CELLS] if text]
    if not tried:
        return None
    if isinstance(cells[0], date):  # Parquet's own times, of which datetime is a kind.
        days = sorted(cell.date() if isinstance(cell, datetime) else cell for cell in cells)
        return TimeShape(first=days[0], last=days[-1])
    if numbers:
        for unit, factor in UNITS.items():
            seconds = [number / factor for number in numbers]
            if sum(FIRST_SECOND <= second <= LAST_SECOND for second in seconds) >= LEAST_TIMES * len(seconds):
                plausible = sorted(second for second in seconds if FIRST_SECOND <= second <= LAST_SECOND)
                first, last = (datetime.fromtimestamp(second).date() for second in (plausible[0], plausible[-1]))
                return TimeShape(unit=unit, first=first, last=last)
    formats = _find_formats(tried)
    if not formats:
        return None
    days = sorted(found for text in texts if (found := _read_day(text, formats)) is not None)
    fitting = [pattern for pattern in FORMATS if pattern not in formats and _count(tried, pattern) == len(tried)]
    zoned = all("Z" in pattern for pattern in formats if pattern != "iso") and all(_has_zone(text) for text in tried if ISO.fullmatch(text))
    return TimeShape(formats=formats, other_format=next(iter(fitting), None), has_zone=zoned, first=days[0], last=days[-1])


def _find_formats(texts: Sequence[str]) -> tuple[str, ...]:
    """Find the format that reads nearly all texts, else a few that do so together; none where that fails."""
    formats: list[str] = []
    left = list(texts)
    while left and len(formats) < MOST_FORMATS:
        best = max(("iso", *FORMATS), key=lambda pattern: _count(left, pattern))
        if not _count(left, best):
            break
        formats.append(best)
        left = [text for text in left if not _is_read(text, best)]
        if len(left) <= (1 - LEAST_TIMES) * len(texts):
            return tuple(formats)
    return ()


def _count(texts: Sequence[str], pattern: str) -> int:
    return sum(_is_read(text, pattern) for text in texts)


def _is_read(text: str, pattern: str) -> bool:
    return ISO.fullmatch(text) is not None if pattern == "iso" else _parse(text, FORMATS[pattern]) is not None


def _read_day(text: str, formats: Sequence[str]) -> date | None:
    for pattern in formats:
        if pattern == "iso":
            found = _day(text) if ISO.fullmatch(text) else None
        else:
            parsed = _parse(text, FORMATS[pattern])
            found = None if parsed is None else parsed.date()
        if found is not None:
            return found
    return None


def _has_zone(text: str) -> bool:
    match = ISO.fullmatch(text)
    return match is not None and match.group(4) is not None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def _parse(text: str, pattern: str) -> datetime | None:
    try:
        found = datetime.strptime(text, pattern)
    except ValueError:
        return None
    return found if 1990 <= found.year <= 2099 else None
