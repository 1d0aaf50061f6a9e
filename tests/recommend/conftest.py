"""Small worlds that the parts of the recommender are tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from pyspark.sql import DataFrame

from interest_tiers.recommend.histories import HALF_LIVES, Histories
from interest_tiers.recommend.item_table import WINDOWS, ItemCounts, ItemTable


def keep(name: str, rows: DataFrame) -> DataFrame:
    """Materialise a frame, see spark.materialise."""
    return rows.localCheckpoint()


def make_table(ids: Sequence[str], users: Mapping[str, float] | None = None, adopters: Mapping[str, float] | None = None) -> ItemTable:
    """Make a table of items whose first letter is their interest; users and adopters are of every window."""
    users, adopters = users or {}, adopters or {}
    interests, interest = np.unique([one[0] for one in ids], return_inverse=True)
    had, began = np.array([users.get(one, 1.0) for one in ids]), np.array([adopters.get(one, 0.0) for one in ids])
    counts = ItemCounts(
        users=had, pair_days=had * 2, repeaters=had / 2, span=had * 10, gaps=had, known_28d=had, back_28d=had / 4,
        age=np.full(len(ids), 300.0), recency=np.full(len(ids), 1.0), users_in=np.tile(had, (len(WINDOWS), 1)),
        adopters_in=np.tile(began, (len(WINDOWS), 1)),
    )  # fmt: skip
    return ItemTable(np.array(ids), interest.astype(np.int32), interests, had, counts, n_active=10)


def make_histories(
    table: ItemTable, had: Mapping[str, Mapping[str, float]], disliked: Mapping[str, Sequence[str]] | None = None
) -> Histories:
    """Make histories of users: item to days of use, all of them 5 days ago; the first use was 5 days before for each further day."""
    codes = {item: code for code, item in enumerate(table.ids)}
    rows = []
    for position, (user, items) in enumerate(had.items()):
        of_user = [(position, user, item, days, True) for item, days in items.items()]
        of_user += [(position, user, item, 0.0, False) for item in (disliked or {}).get(user, ())]
        rows += sorted(of_user, key=lambda row: (-row[3], row[2]))
    users, items = list(had), [row[2] for row in rows]
    position, days = np.array([row[0] for row in rows], dtype=int), np.array([row[3] for row in rows], dtype=np.float32)
    code = np.array([codes.get(item, -1) for item in items], dtype=np.int32)
    names = {interest: place for place, interest in enumerate(table.interests)}
    first = 5 + 5 * np.maximum(days - 1, 0)
    return Histories(
        users=np.array(users, dtype=object), items=np.array(items, dtype=object),
        interest_ids=np.array([item[0] for item in items], dtype=object), starts=np.searchsorted(position, np.arange(len(users) + 1)),
        user=position, code=code, interest=np.array([names.get(item[0], -1) for item in items], dtype=np.int32),
        is_had=np.array([row[4] for row in rows], dtype=bool), n_days=days, n_interactions=days, first_age=first,
        last_age=np.full(len(rows), 5, dtype=np.float32), days28=days, days91=days,
        decayed=np.stack([days * 2 ** (-5 / half_life) for half_life in HALF_LIVES], axis=1).astype(np.float32),
        active=np.array([[sum(of.values())] * 3 for of in had.values()], dtype=np.float32),
    )  # fmt: skip


@pytest.fixture
def table() -> ItemTable:
    """Three interests: a1 a2 a3, b1 b2, c1."""
    return make_table(["a1", "a2", "a3", "b1", "b2", "c1"], adopters={"a1": 1, "a2": 5, "a3": 3, "b1": 4, "b2": 2, "c1": 6})
