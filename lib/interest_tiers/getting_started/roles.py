"""Guesses the role of each column of a sample: user, item, time, behaviour, value, text, category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from interest_tiers.getting_started.columns import Column, TimeShape
from interest_tiers.getting_started.words import (
    ABOUT,
    AMOUNTS,
    BEHAVIOURS,
    CATEGORIES,
    CODES,
    CUT,
    FULL,
    ITEMS,
    LATER_TIMES,
    NAMES_OF_ITEMS,
    OTHER_VALUES,
    PRICES,
    PROPERTIES_OF_ITEMS,
    QUANTITIES,
    RATINGS,
    TIMES,
    USERS,
    WRITTEN,
    singular,
    weigh,
)

#: From this share of distinct cells on, a column names its row.
UNIQUE = 0.95

#: Columns of an item's text.
MOST_TEXT_COLUMNS = 4

#: From this share of numbers below 0 on, they are returns and no slips.
LEAST_RETURNS = 0.001

SESSIONS = frozenset(("session", "ip", "device", "cookie", "distinct", "anonymous"))


@dataclass(frozen=True)
class Time:
    """When an event happened: a column, or a day and a time of day in two columns."""

    column: Column
    shape: TimeShape
    of_day: Column | None = None


@dataclass(frozen=True)
class Value:
    """What scales an event: a rating, or an amount; the product of two columns where both are given."""

    column: Column
    times: Column | None = None
    is_rating: bool = False


def find_users(columns: Sequence[Column]) -> list[Column]:
    """List the columns that could be the user, the likeliest first."""

    def score(column: Column) -> float:
        if column.is_email and column.could_be_id:
            return 3
        if not column.has(USERS | SESSIONS) or not column.could_be_id or column.has(ABOUT):
            return 0
        # The session of a user is not the user.
        named = 1 if column.has(SESSIONS) else 4
        return named + column.has(frozenset(CODES)) + (len(column.words) == 1) / 2 - column.missing

    return _rank(columns, score)


def find_items(columns: Sequence[Column], shared: frozenset[str] = frozenset()) -> list[Column]:
    """List the columns that could be the item, the likeliest first. shared: names that other files have too."""

    def score(column: Column) -> float:
        if not column.has(ITEMS) or not column.could_be_id or column.has(ABOUT) or column.has(USERS):
            return 0
        is_code = column.has(frozenset(CODES)) or len(column.words) == 1
        return 4 + 1.5 * is_code + 2 * (column.name in shared) + column.is_element - column.missing

    return _rank(columns, score)


def find_times(columns: Sequence[Column]) -> list[Time]:
    """List when the rows may have happened, the likeliest first."""

    def score(column: Column) -> float:
        shape = column.time
        if shape is None or column.missing > 0.5:
            return 0
        is_named = column.has(TIMES) or column.words[-1:] == ("on",)
        # A number is a time by its name alone.
        if not is_named and (shape.unit is not None or {"yyyyMMdd", "yyyyMMddHHmmss"}.intersection(shape.formats)):
            return 0
        return 3 + 3 * is_named + column.is_element - 4 * column.has(LATER_TIMES) + 0.5 * (len(column.distinct) > 31) - column.missing

    found = _rank(columns, score)
    of_day = next((column for column in columns if column.is_time_of_day), None)
    times = []
    for column in found:
        assert column.time is not None
        has_hours = column.time.unit is not None or ":" in column.texts[0] or any("H" in pattern for pattern in column.time.formats)
        times.append(Time(column, column.time, None if has_hours else of_day))
    return times


def find_unread_time(columns: Sequence[Column]) -> Column | None:
    """Return a column that is named as a time, but whose cells are in no known form."""
    return next((column for column in columns if column.has(TIMES - LATER_TIMES) and column.time is None and column.cells), None)


def find_behaviour(columns: Sequence[Column]) -> Column | None:
    """Return the column that names what the user did."""

    def score(column: Column) -> float:
        if not column.is_name_of_few or column.time is not None or column.has(frozenset(CODES)):
            return 0
        if column.numbers and set(column.numbers) <= {0, 1}:
            return 0
        known = [weigh(tuple(text.lower().replace("_", " ").split())) is not None for text in column.distinct]
        share = sum(known) / len(known)
        return 4 * column.has(BEHAVIOURS) + 3 * (share >= 0.5 and not column.numbers)

    return next(iter(_rank(columns, score)), None)


def find_value(columns: Sequence[Column]) -> Value | None:
    """Return what scales the events: a rating, quantity times price, or an amount."""
    numeric = [column for column in columns if column.numbers and column.time is None and not column.has(frozenset(CODES))]
    numeric.sort(key=lambda column: not column.is_element)
    rating = next((column for column in numeric if column.has(RATINGS) and 2 <= len(column.distinct) <= 21), None)
    if rating is not None:
        return Value(rating, is_rating=True)
    total = next((column for column in numeric if column.has(AMOUNTS - PRICES) and not _counts_events(column)), None)
    quantity = next((column for column in numeric if column.has(QUANTITIES)), None)
    price = next((column for column in numeric if column.has(PRICES)), None)
    if total is not None and total is not quantity:
        return Value(total)
    if quantity is not None and price is not None:
        return Value(quantity, times=price)
    found = price or quantity or next((column for column in numeric if column.has(OTHER_VALUES)), None)
    return None if found is None else Value(found)


def _counts_events(column: Column) -> bool:
    return any(singular(word) in BEHAVIOURS for word in column.words)


def find_returns(value: Value | None) -> Column | None:
    """Return the quantity, or else the amount, whose numbers below 0 are returns; None where few rows or most are below 0."""
    if value is None or value.is_rating or not value.column.has(QUANTITIES | AMOUNTS):
        return None
    below = sum(number < 0 for number in value.column.numbers) / max(len(value.column.numbers), 1)
    return value.column if LEAST_RETURNS <= below < 0.5 else None


def find_written(columns: Sequence[Column], taken: Sequence[Column]) -> Column | None:
    """Return the column with what the user wrote. taken: columns that hold something else."""

    def score(column: Column) -> float:
        if column in taken or column.numbers or column.mean_length < 10 or column.time is not None:
            return 0
        named = 3 * column.has(WRITTEN) + 2 * column.has(FULL) + column.is_element - 2 * column.has(CUT) - 4 * column.has(frozenset(CODES))
        return named if column.has(WRITTEN | FULL) else 0

    return next(iter(_rank(columns, score)), None)


def find_category(columns: Sequence[Column]) -> Column | None:
    """Return the category of the items."""

    def score(column: Column) -> float:
        found = [place for place, word in enumerate(CATEGORIES) if word in column.words]
        if not found or column.has(USERS) or len(column.distinct) < 2 or column.uniqueness > 0.5 or column.missing > 0.9:
            return 0
        return 20 - found[0] / 2 - 5 * column.has(frozenset(CODES)) - 5 * column.missing - 5 * ("sub" in column.words)

    return next(iter(_rank(columns, score)), None)


def find_item_texts(columns: Sequence[Column], item: Column, is_catalogue: bool, behaviour: Column | None = None) -> list[Column]:
    """List the columns that describe an item, a name first.

    is_catalogue: rows are items, and not events. behaviour: the column that names what users did, which describes no item
    """
    columns = [column for column in columns if column is not behaviour]

    def score(column: Column) -> float:
        if column is item or column.numbers or column.time is not None or not column.cells or column.has(USERS - PROPERTIES_OF_ITEMS):
            return 0
        if column.has(frozenset(CODES)) or column.has(frozenset(("url", "link", "image"))) or item.is_element > column.is_element:
            return 0
        if not is_catalogue and (column.has(WRITTEN) or not _belongs_to(item, column)):
            return 0
        if column.has(NAMES_OF_ITEMS):
            return 5 + column.has(frozenset(("title", "name"))) + column.is_element - column.missing
        is_words = column.mean_length >= 8 and any(" " in text for text in column.texts[:100])
        return 4 if column.has(ITEMS) and is_words and not column.has(ABOUT) else 0

    texts = _rank(columns, score)[:MOST_TEXT_COLUMNS]
    if texts:
        return texts
    described = [column for column in columns if column.has(PROPERTIES_OF_ITEMS) and not column.numbers and column is not item]
    return [column for column in described if is_catalogue or _belongs_to(item, column)][:MOST_TEXT_COLUMNS]


def _belongs_to(item: Column, column: Column) -> bool:
    """Whether rows of one item mostly agree in a column."""
    rows = item.sample.rows
    pairs = Counter((str(row.get(item.name)), str(row.get(column.name))) for row in rows if row.get(column.name) is not None)
    items = Counter(item_id for item_id, _ in pairs)
    return sum(items.values()) <= 1.5 * max(len(items), 1)


def _rank(columns: Sequence[Column], score: Callable[[Column], float]) -> list[Column]:
    scored = [(score(column), place, column) for place, column in enumerate(columns)]
    return [column for points, _, column in sorted(scored, key=lambda entry: (-entry[0], entry[1])) if points > 0]
