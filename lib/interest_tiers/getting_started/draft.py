"""Guesses which file is what, and puts a draft of the config together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from interest_tiers.errors import ConfigError
from interest_tiers.getting_started import roles
from interest_tiers.getting_started.columns import Column
from interest_tiers.getting_started.file_samples import FileSample
from interest_tiers.getting_started.roles import UNIQUE, Time, Value
from interest_tiers.getting_started.words import PURCHASES, name_behaviour, singular, split_name, weigh

#: Ids of one file that another must share, at least, to be of the same things; samples meet seldom.
LEAST_SHARED = 0.05

#: Share of rows without user, item or time from which on the limit of quarantined rows is raised.
MANY_MISSING = 0.2

PURCHASE, RETURN = "purchase", "return"

#: The horizon, unless the data span less than four of it.
HORIZON_DAYS = 91


@dataclass(frozen=True)
class Events:
    """A source of events.

    unread_time: where no column holds times, one that is named so. returns: where every row is a purchase, the column whose
    numbers below 0 are returns. unsure: other columns that could be the user or the item.
    """

    sample: FileSample
    user: Column | None
    item: Column | None
    time: Time | None
    unread_time: Column | None
    behaviour: Column | None
    literal: str | None
    value: Value | None
    text: Column | None
    returns: Column | None
    missing_share: float
    unsure: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """What init knows of the data.

    left_out: files without a role, with why. notes: further advice. weights: None where a behaviour is unknown.
    """

    events: tuple[Events, ...]
    item_sample: FileSample
    item: Column | None
    item_texts: tuple[Column, ...]
    category: Column | None
    users: tuple[FileSample, Column] | None
    weights: Mapping[str, float | None]
    left_out: Mapping[str, str]
    notes: Sequence[str]
    limits: Mapping[str, float]
    horizon_days: int


def make_draft(samples: Sequence[FileSample]) -> Draft:
    """Guess the role of every file and column. Raises ConfigError where no file has rows."""
    samples = [sample for sample in samples if sample.rows]
    if not samples:
        raise ConfigError("no file has a row")
    columns = [[Column(sample, name) for name in sample.columns] for sample in samples]
    names = [set(sample.columns) for sample in samples]
    shared = frozenset(name for own in names for name in own if sum(name in other for other in names) > 1)
    found = [_first_roles(own, shared) for own in columns]
    catalogue = _find_catalogue(found, columns)
    rated = [(place, _events_score(*found[place])) for place in range(len(samples)) if place != catalogue]
    main = max(rated, key=lambda pair: (pair[1], samples[pair[0]].n_rows))[0] if rated else 0
    events_at = [place for place, score in rated if place == main or (score == 3 and _share_items(found[place][1], found[main][1]))]
    item_at = main if catalogue is None else catalogue
    item = _item_of(columns[item_at], found[item_at][1], found[main][1])
    notes = [note for place in sorted(events_at) for note in _note_other_structs(columns[place], found[place])]
    if catalogue is not None and item is not None and _events_score(*found[catalogue]) == 3:
        users_of_items, _, times = found[catalogue]
        if found[main][0] and _overlap(users_of_items[0], found[main][0][0]) >= LEAST_SHARED:
            events_at.append(catalogue)
            found[catalogue] = (users_of_items, [item], times)
        else:
            notes.append(
                f"{samples[catalogue].paths[0].name} has a user ({users_of_items[0].name}) and a time ({times[0].column.name}) too: "
                "its rows may be events, as a second source"
            )
    events = tuple(
        _describe_events(samples[place], columns[place], found[place], catalogue is not None, place == catalogue)
        for place in sorted(events_at)
    )
    users = _find_users_file(samples, columns, found, {*events_at, item_at}, found[main][0])
    used = {*events_at, item_at} | ({samples.index(users[0])} if users else set())
    left_out = {str(samples[place].paths[0]): _why_not(found[place]) for place in range(len(samples)) if place not in used}
    of_items = next((source for source in events if source.sample is samples[item_at]), None)
    behaviour = None if of_items is None else of_items.behaviour
    texts = [] if item is None else roles.find_item_texts(columns[item_at], item, catalogue is not None, behaviour)
    taken = {None if of_items is None else of_items.user, item, behaviour}
    category = roles.find_category([column for column in columns[item_at] if column not in taken])
    return Draft(
        events, samples[item_at], item, tuple(texts), category, users, _weights(events), left_out, notes, _limits(events), _horizon(events)
    )


Found = tuple[list[Column], list[Column], list[Time]]


def _first_roles(columns: Sequence[Column], shared: frozenset[str]) -> Found:
    return roles.find_users(columns), roles.find_items(columns, shared), roles.find_times(columns)


def _events_score(users: Sequence[Column], items: Sequence[Column], times: Sequence[Time]) -> int:
    return (len(users) > 0) + (len(items) > 0) + (len(times) > 0)


def _find_catalogue(found: Sequence[Found], columns: Sequence[Sequence[Column]]) -> int | None:
    """Return the file whose rows are the items of another file: each item once, with words that describe it."""
    best: tuple[float, int] | None = None
    for place, (users, items, _) in enumerate(found):
        item = _catalogue_item(columns[place], items, [other[1][0] for at, other in enumerate(found) if at != place and other[1]])
        if item is None or (users and users[0].uniqueness >= UNIQUE and len(columns[place]) < 3):
            continue
        texts = roles.find_item_texts(columns[place], item, is_catalogue=True)
        category = roles.find_category(columns[place])
        if texts or category is not None:
            score = len(texts) + 3 * (category is not None) - 4 * (len(users) > 0)
            if best is None or score > best[0]:
                best = (score, place)
    return None if best is None else best[1]


def _catalogue_item(columns: Sequence[Column], items: Sequence[Column], others: Sequence[Column]) -> Column | None:
    """Return the column that has each item of another file once; a plain "id" may be it too."""
    ids = [column for column in columns if column.words == ("id",)]
    for column in (*items[:2], *ids):
        if column.uniqueness >= UNIQUE and any(
            other.uniqueness < UNIQUE and (other.name == column.name or _overlap(column, other) >= LEAST_SHARED) for other in others
        ):
            return column
    return None


def _item_of(columns: Sequence[Column], items: Sequence[Column], of_events: Sequence[Column]) -> Column | None:
    """Return the item's column in the items' file: that of the events' name, else of their ids."""
    if not of_events:
        return items[0] if items else None
    same = next((column for column in columns if column.name == of_events[0].name), None)
    ids = [column for column in columns if column.words == ("id",)]
    overlapping = max((*items, *ids), key=lambda column: _overlap(column, of_events[0]), default=None)
    return same or overlapping


def _find_users_file(
    samples: Sequence[FileSample], columns: Sequence[Sequence[Column]], found: Sequence[Found], used: set[int], of_events: Sequence[Column]
) -> tuple[FileSample, Column] | None:
    if not of_events:
        return None
    for place, sample in enumerate(samples):
        ids = [column for column in columns[place] if column.words == ("id",)]
        for column in (*found[place][0], *ids):
            is_same = column.name == of_events[0].name or _overlap(column, of_events[0]) >= LEAST_SHARED
            if place not in used and column.uniqueness >= UNIQUE and is_same and not found[place][1]:
                return sample, column
    return None


def _overlap(column: Column, other: Column) -> float:
    """Return the share of the smaller set of ids that both have."""
    left, right = ({text.removesuffix(".0") for text in each.distinct} for each in (column, other))
    return len(left & right) / max(min(len(left), len(right)), 1)


def _share_items(items: Sequence[Column], of_main: Sequence[Column]) -> bool:
    return bool(items and of_main) and (items[0].name == of_main[0].name or _overlap(items[0], of_main[0]) >= LEAST_SHARED)


def _describe_events(sample: FileSample, columns: Sequence[Column], found: Found, has_catalogue: bool, is_catalogue: bool) -> Events:
    users, items, times = found
    user, item, time = next(iter(users), None), next(iter(items), None), next(iter(times), None)
    named = [column for column in (user, item, None if time is None else time.column) if column is not None]
    rest = [column for column in columns if column not in named]
    behaviour = roles.find_behaviour(rest)
    value = roles.find_value([column for column in rest if column is not behaviour])
    described = [] if has_catalogue or item is None else roles.find_item_texts(columns, item, is_catalogue=False, behaviour=behaviour)
    # The text of an item says what the event is about already.
    text = None if is_catalogue else roles.find_written(rest, described)
    literal = None if behaviour is not None else _literal(sample, columns, value, text)
    missing = sum(any(row.get(column.name) is None for column in named) for row in sample.rows) / len(sample.rows)
    unsure = {"user_id": [column.name for column in users[1:4]], "item_id": [column.name for column in items[1:4]]}
    unread = None if time is not None else roles.find_unread_time(rest)
    returns = roles.find_returns(value) if literal == PURCHASE else None
    return Events(sample, user, item, time, unread, behaviour, literal, value, text, returns, missing, unsure)


def _note_other_structs(columns: Sequence[Column], found: Found) -> list[str]:
    """Name the structs that hold an item and a time, though the rows are elements of an array next to them."""
    _, items, times = found
    if not items or not items[0].is_element:
        return []
    structs = [
        {column.name.split(".")[0] for column in each if not column.is_element and "." in column.name}
        for each in (items, [time.column for time in times])
    ]
    return [
        f"{struct} has an item and a time too: a second source without explode would read it" for struct in sorted(structs[0] & structs[1])
    ]


def _literal(sample: FileSample, columns: Sequence[Column], value: Value | None, text: Column | None) -> str:
    """Name what every row is: by the file's name, else by what its columns hold."""
    words = split_name(sample.paths[0].name.split(".")[0])
    known = name_behaviour(words)
    if any(word in PURCHASES or singular(word) in PURCHASES for word in words):
        return PURCHASE
    if known is not None:
        return known
    if value is not None and value.is_rating:
        return "review" if text is not None else "rate"
    is_sale = any(column.has(PURCHASES) for column in columns) or (value is not None and value.times is not None)
    return PURCHASE if is_sale else "event"


def _weights(events: Sequence[Events]) -> dict[str, float | None]:
    """Return the weight of every behaviour that the samples have, the most frequent first."""
    weights: dict[str, float | None] = {}
    for source in events:
        if source.literal is not None:
            # Of one behaviour any weight gives the same shares.
            weight = 1.0 if len(events) == 1 else weigh((source.literal,)) or 1.0
            weights[source.literal] = weight
            if source.returns is not None:
                weights[RETURN] = -weight
        elif source.behaviour is not None:
            texts = source.behaviour.texts
            for text in sorted(source.behaviour.distinct, key=lambda each: (-texts.count(each), each)):
                weights[text] = weigh(tuple(text.lower().replace("_", " ").replace("-", " ").split()))
    if not any(weight is None or weight > 0 for weight in weights.values()):
        return dict.fromkeys(weights, 1.0)
    return weights


def _limits(events: Sequence[Events]) -> dict[str, float]:
    """Return the limits of the quality gate that the defaults would be wrong for."""
    limits: dict[str, float] = {}
    missing = max(source.missing_share for source in events)
    if missing > MANY_MISSING:
        limits["max_quarantine_rate"] = min(math.ceil((missing + 0.1) * 20) / 20, 0.95)
    if all(source.sample.is_whole for source in events):
        rows = int(sum(source.sample.n_rows * (1 - source.missing_share) for source in events))
        known = [source.user for source in events if source.user is not None]
        users = len({text for user in known for text in user.distinct})
        if rows < 2000:
            limits["min_rows"] = max(rows // 2, 1)
        if known and users < 200:
            limits["min_users"] = max(users // 2, 1)
    return limits


def _horizon(events: Sequence[Events]) -> int:
    days: list[date] = []
    if not all(source.sample.is_whole for source in events):
        return HORIZON_DAYS
    for source in events:
        if source.time is not None and source.time.shape.first is not None and source.time.shape.last is not None:
            days += [source.time.shape.first, source.time.shape.last]
    if not days or max(days) - min(days) >= timedelta(days=4 * HORIZON_DAYS):
        return HORIZON_DAYS
    return max((max(days) - min(days)).days // 5, 1)


def _why_not(found: Found) -> str:
    lacking = [role for role, columns in zip(("user", "item", "time"), found, strict=True) if not columns]
    return f"no column looks like the {' or the '.join(lacking)}" if lacking else "its items are not those of the other files"
