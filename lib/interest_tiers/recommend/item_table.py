"""What is known of the items that can be recommended, as arrays that every worker holds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import exact_sum

#: Windows in days over which users and new users of an item are counted.
WINDOWS = (7, 14, 28, 91)

#: Statistics of an item; shares are of the users active in the last 91 days.
ITEM_FEATURES = (
    "item_users", *(f"item_users_{days}d" for days in WINDOWS), *(f"item_adopters_{days}d" for days in WINDOWS),
    "item_trend", "item_fresh", "item_repeat", "item_comeback", "item_gap", "item_days_per_user", "item_age", "item_recency",
    "item_share_of_interest", "item_place_in_interest", "interest_users",
)  # fmt: skip

#: Items that are adopted most of all, in order: enough that a user who had most of them still gets some.
ADOPTED_POOL = 400

#: Items that are adopted most within an interest, in order.
ADOPTED_PER_INTEREST = 15


@dataclass(frozen=True)
class ItemCounts:
    """Counts per item before a cutoff, (items,) each.

    users, pair_days, repeaters: users who had it, their days, and those with more than one day
    span, gaps:   days between first and last use, and number of gaps, both summed over users
    known_28d, back_28d: users who first had it over 28 days ago, and those of them who had it within 28 days
    age, recency: days since its first and its last use
    users_in, adopters_in: (windows, items), users, and users who had it for the first time
    """

    users: np.ndarray
    pair_days: np.ndarray
    repeaters: np.ndarray
    span: np.ndarray
    gaps: np.ndarray
    known_28d: np.ndarray
    back_28d: np.ndarray
    age: np.ndarray
    recency: np.ndarray
    users_in: np.ndarray
    adopters_in: np.ndarray


@dataclass(frozen=True)
class ItemTable:
    """The items that can be recommended to users who have not had them.

    ids:       (items,), item ids, ascending
    interest:  (items,) int32, position in interests
    interests: interest ids, ascending
    recent_use: (items,), evidence of all users with a half-life of 60 days
    counts:    see ItemCounts
    n_active:  users active in the last 91 days
    """

    ids: np.ndarray
    interest: np.ndarray
    interests: np.ndarray
    recent_use: np.ndarray
    counts: ItemCounts
    n_active: int

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def share_28d(self) -> np.ndarray:
        """Share of the active users who had the item in the last 28 days, (items + 1,); the last is for unknown items."""
        return np.append(self.counts.users_in[WINDOWS.index(28)] / max(1, self.n_active), 0.0).astype(np.float32)

    @cached_property
    def features(self) -> np.ndarray:
        """ITEM_FEATURES of every item, (items + 1, n) float32; the last row, all NaN, is that of unknown items."""
        counts, n, n_interests = self.counts, max(1, self.n_active), len(self.interests)
        users, adopters = counts.users_in, counts.adopters_in
        in_28, in_91 = users[WINDOWS.index(28)], users[WINDOWS.index(91)]
        of_interest = np.bincount(self.interest, in_91, n_interests)
        columns = [
            counts.users / n, *(users / n), *(adopters / n),
            (in_28 + 1) / (in_91 / 3.25 + 1), adopters[WINDOWS.index(28)] / (in_28 + 1),
            counts.repeaters / np.maximum(1, counts.users),
            (counts.back_28d + 1) / (counts.known_28d + 10), _divide(counts.span, counts.gaps),
            counts.pair_days / np.maximum(1, counts.users),
            counts.age, counts.recency,
            in_91 / (of_interest[self.interest] + 1), self._place_in_interest(adopters[WINDOWS.index(91)]), of_interest[self.interest] / n,
        ]  # fmt: skip
        known = np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)
        return np.vstack([known, np.full((1, len(ITEM_FEATURES)), np.nan, dtype=np.float32)])

    @cached_property
    def adopted(self) -> np.ndarray:
        """The items with the most adopters in 28 days, the most first; of equal ones those with more in 91 days."""
        return self._by_adoption[:ADOPTED_POOL]

    @cached_property
    def adopted_in_interest(self) -> list[np.ndarray]:
        """By interest, its items with the most adopters, the most first."""
        order = self._by_adoption[np.argsort(self.interest[self._by_adoption], kind="stable")]
        starts = np.searchsorted(self.interest[order], np.arange(len(self.interests) + 1))
        return [order[start : min(end, start + ADOPTED_PER_INTEREST)] for start, end in pairwise(starts)]

    @cached_property
    def _by_adoption(self) -> np.ndarray:
        adopters = self.counts.adopters_in
        return np.lexsort((-adopters[WINDOWS.index(91)], -adopters[WINDOWS.index(28)]))

    def _place_in_interest(self, adopters: np.ndarray) -> np.ndarray:
        """Rank items within their interests by adopters, from 1."""
        order = np.lexsort((-adopters, self.interest))
        starts = np.searchsorted(self.interest[order], np.arange(len(self.interests)))
        places = np.empty(len(order))
        places[order] = np.arange(len(order)) - starts[self.interest[order]] + 1
        return places


def collect_items(used: DataFrame, n_active: int, max_items: int) -> ItemTable:
    """Count the users of every item, and collect the max_items items with the most evidence of the last months.

    used: see item_use.summarise_use
    """
    had, first, last = used.where("is_had"), F.col("first_age"), F.col("last_age")

    def count(condition: Column) -> Column:
        return F.count(F.when(condition, 1))

    counted = had.groupBy("item_id").agg(
        # An item has one interest; where a source gives it several, the first by name stands for it here.
        F.min("interest_id").alias("interest_id"),
        F.count(F.lit(1)).alias("users"), F.sum("n_days").alias("pair_days"), count(F.col("n_days") > 1).alias("repeaters"),
        F.sum(first - last).alias("span"), F.sum(F.col("n_days") - 1).alias("gaps"), count(first > 28).alias("known_28d"),
        count((first > 28) & (last <= 28)).alias("back_28d"), F.max(first).alias("age"), F.min(last).alias("recency"),
        exact_sum(F.col("evidence_60d")).alias("evidence"),
        *[count(last <= window).alias(f"users_{window}d") for window in WINDOWS],
        *[count(first <= window).alias(f"adopters_{window}d") for window in WINDOWS],
    )  # fmt: skip
    rows = counted.orderBy(F.desc("evidence"), "item_id").limit(max_items).toPandas().sort_values("item_id")
    interests, interest = np.unique(rows["interest_id"].to_numpy(dtype=str), return_inverse=True)
    windows = {
        f"{kind}_in": rows[[f"{kind}_{window}d" for window in WINDOWS]].to_numpy(dtype=np.float64).T for kind in ("users", "adopters")
    }
    plain = {name.name: rows[name.name].to_numpy(dtype=np.float64) for name in fields(ItemCounts) if name.name in rows.columns}
    return ItemTable(
        rows["item_id"].to_numpy(dtype=str), interest.astype(np.int32), interests, rows["evidence"].to_numpy(),
        ItemCounts(**plain, **windows), n_active,
    )  # fmt: skip


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is 0."""
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), np.nan)
