"""Find the candidates of a batch of users and compute the features that the ranker reads.

Everything is numpy on arrays of one batch: workers call it on users, the training on users sampled by hash.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from interest_tiers.recommend.co_use import CoUse
from interest_tiers.recommend.histories import HALF_LIVES, LONG, RECENT, Histories
from interest_tiers.recommend.item_table import ITEM_FEATURES, ItemTable
from interest_tiers.recommend.pair_keys import make_keys, users_of

#: Own items that are candidates, and those that co-use starts from: the ones with the most evidence.
OWN_ITEMS = 100
PROFILE_ITEMS = 400

#: New candidates of a user by source.
BY_CO_USE = 80
BY_ADOPTION = 50
INTERESTS, PER_INTEREST = 20, 5
BY_TEXT = 30

#: Sources of candidates, as bits.
OWN, CO_USED, ADOPTED, IN_INTEREST, ALIKE_TEXT = 1, 2, 4, 8, 16

_LONG = HALF_LIVES.index(LONG)

USER_FEATURES = (
    "user_days", "user_days_28d", "user_days_91d", "user_items", "user_items_per_day", "user_recency", "user_age", "user_gap",
    "user_new_28d", "user_new_91d", "user_exploration",
)  # fmt: skip
PAIR_FEATURES = (
    "own_days", "own_interactions", "own_recency", "own_age", "own_gap", "own_overdue", "own_overdue_for_item", "own_days_28d",
    "own_days_91d", *(f"own_evidence_{half_life}d" for half_life in HALF_LIVES), "own_place", "own_rate", "own_share_of_interest",
)  # fmt: skip
INTEREST_FEATURES = (
    "interest_items", "interest_days", "interest_evidence_15d", "interest_evidence_120d", "interest_share", "interest_place",
    "interest_mass_before", "interest_recency", "interest_new_91d",
)  # fmt: skip
SCORES = ("ease", "ease_recent", "cosine_recent", "rp3_recent", "factors", "text", "text_recent")
PLACED = ("ease_recent", "cosine_recent", "rp3_recent", "factors")
FEATURES = (
    "is_own", *ITEM_FEATURES, *USER_FEATURES, *PAIR_FEATURES, *INTEREST_FEATURES, *SCORES, *(f"{name}_place" for name in PLACED),
)  # fmt: skip


@dataclass(frozen=True)
class Candidates:
    """Candidates of a batch, those of one user together.

    user:    (n,), position of the user
    code:    (n,), position of the item in the table, -1 for an own item that the table leaves out
    pair:    (n,), position of the own pair, -1 for an item that is new to the user
    sources: (n,), bits
    tiers:   (n, 3), probabilities of the tiers of the item's interest for the user; None where lists do not follow them
    target:  (users, 3), the tiers that the lists of users follow
    """

    user: np.ndarray
    code: np.ndarray
    pair: np.ndarray
    sources: np.ndarray
    tiers: np.ndarray | None = None
    target: np.ndarray | None = None


@dataclass(frozen=True)
class Profiles:
    """What users had, as sparse rows over the items of the table: every day alike, their logarithm, and recent days."""

    had: sp.csr_matrix
    days: sp.csr_matrix
    recent: sp.csr_matrix


def build_profiles(histories: Histories, n_items: int) -> Profiles:
    """Build the profiles of a batch from each user's PROFILE_ITEMS items with the most evidence."""
    place = np.arange(len(histories.user)) - histories.starts[histories.user]
    used = histories.is_had & (histories.code >= 0) & (place < PROFILE_ITEMS)
    where, shape = (histories.user[used], histories.code[used]), (histories.n_users, n_items)

    def build(values: np.ndarray) -> sp.csr_matrix:
        return sp.csr_matrix((values.astype(np.float32), where), shape=shape)

    n_days = histories.n_days[used]
    return Profiles(build(np.ones_like(n_days)), build(np.log1p(n_days)), build(histories.decayed[used, RECENT]))


def score_items(profiles: Profiles, co_use: CoUse, alike: sp.csr_matrix) -> dict[str, np.ndarray]:
    """Score all items by every model: name to (users, items) float32. alike: (items, items), weights by text."""
    to_coordinates, to_scores = co_use.factors
    products = {
        "ease": profiles.had @ co_use.ease, "ease_recent": profiles.recent @ co_use.ease,
        "cosine_recent": profiles.recent @ co_use.cosine, "rp3_recent": profiles.recent @ co_use.rp3,
        "text": profiles.had @ alike, "text_recent": profiles.recent @ alike,
    }  # fmt: skip
    scored = {name: product.toarray() for name, product in products.items()}
    return scored | {"factors": (profiles.days @ to_coordinates) @ to_scores.T}


def find_candidates(histories: Histories, table: ItemTable, scored: dict[str, np.ndarray]) -> Candidates:
    """Find the own items with the most evidence, and new ones by every source."""
    n_items = len(table)
    is_own = np.zeros(n_items, dtype=bool)
    sources = np.zeros(n_items, dtype=np.int8)
    of_users, co_used, alike = [], scored["ease_recent"], scored["text_recent"]
    by_interest = table.adopted_in_interest
    for user in range(histories.n_users):
        pairs = slice(histories.starts[user], histories.starts[user + 1])
        code, is_had = histories.code[pairs], histories.is_had[pairs]
        own = code[code >= 0]
        is_own[own] = True
        sources[_find_best(co_used[user], is_own, BY_CO_USE)] |= CO_USED
        sources[_find_best(alike[user], is_own, BY_TEXT)] |= ALIKE_TEXT
        sources[_first_unseen(table.adopted, is_own, BY_ADOPTION)] |= ADOPTED
        of_interest = is_had & (histories.interest[pairs] >= 0)
        for interest in _find_strongest(histories.interest[pairs][of_interest], histories.decayed[pairs][of_interest, _LONG]):
            sources[_first_unseen(by_interest[interest], is_own, PER_INTEREST)] |= IN_INTEREST
        new = np.flatnonzero(sources)
        kept = np.flatnonzero(is_had)[:OWN_ITEMS]
        of_users.append(
            (
                np.full(len(kept) + len(new), user), np.concatenate([code[kept], new]),
                np.concatenate([kept + pairs.start, np.full(len(new), -1)]), np.concatenate([np.full(len(kept), OWN), sources[new]]),
            )
        )  # fmt: skip
        is_own[own] = False
        sources[new] = 0
    user, code, pair, source = (np.concatenate(column) for column in zip(*of_users, strict=True))
    if histories.tiers is None:
        return Candidates(user, code, pair, source)
    tiers = histories.tiers.of(user, find_interests(histories, table, code, pair))
    return Candidates(user, code, pair, source, tiers, histories.tiers.target)


def find_interests(histories: Histories, table: ItemTable, code: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """Find the interests of candidates, positions in the table or -1; an own item has that of its history. See Candidates."""
    return np.where(pair >= 0, histories.interest[pair], table.interest[code])


def _find_best(scores: np.ndarray, is_own: np.ndarray, wanted: int) -> np.ndarray:
    """Find the items with the highest scores above 0 that are not the user's own."""
    items = np.flatnonzero((scores > 0) & ~is_own)
    return items if len(items) <= wanted else items[np.argpartition(-scores[items], wanted - 1)[:wanted]]


def _first_unseen(items: np.ndarray, is_own: np.ndarray, wanted: int) -> np.ndarray:
    return items[~is_own[items]][:wanted]


def _find_strongest(interest: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Find the INTERESTS interests with the most evidence. Both have a row per own item."""
    if not len(interest):
        return interest
    known, position = np.unique(interest, return_inverse=True)
    return known[np.argsort(-np.bincount(position, evidence), kind="stable")[:INTERESTS]]


def compute_features(histories: Histories, candidates: Candidates, table: ItemTable, scored: dict[str, np.ndarray]) -> np.ndarray:
    """Compute FEATURES of every candidate, (n, len(FEATURES)) float32, NaN where a feature has no meaning."""
    user, code, is_own = candidates.user, candidates.code, candidates.pair >= 0
    interests = _sum_interests(histories)
    of_user, of_pair = _describe_users(histories), _describe_pairs(histories, interests)
    columns = [is_own.astype(np.float32)[:, None], table.features[code], of_user[user]]
    pairs = np.full((len(user), of_pair.shape[1]), np.nan, dtype=np.float32)
    pairs[is_own] = of_pair[candidates.pair[is_own]]
    item_gap = table.features[code, ITEM_FEATURES.index("item_gap")]
    overdue_for_item = _ratio(pairs[:, PAIR_FEATURES.index("own_recency")], item_gap)
    pairs[:, PAIR_FEATURES.index("own_overdue_for_item")] = overdue_for_item
    columns += [pairs, _describe_interests(histories, candidates, table, interests)]
    values = {name: scored[name][user, np.maximum(code, 0)] for name in SCORES}
    for column in values.values():
        column[code < 0] = np.nan
    columns += [values[name][:, None] for name in SCORES]
    columns += [_place_in_user(user, values[name])[:, None] for name in PLACED]
    return np.hstack(columns).astype(np.float32)


def _describe_users(histories: Histories) -> np.ndarray:
    """Compute USER_FEATURES, (users, n)."""
    had, n_users = histories.is_had, histories.n_users
    user = histories.user[had]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(user, values[had], n_users)

    def extreme(values: np.ndarray, of: np.ufunc, start: float) -> np.ndarray:
        found = np.full(n_users, start)
        of.at(found, user, values[had])
        return np.where(np.isfinite(found), found, np.nan)

    days, days28, days91 = histories.active.T
    items, pair_days = total(np.ones_like(histories.n_days)), total(histories.n_days)
    recency, age = extreme(histories.last_age, np.minimum, np.inf), extreme(histories.first_age, np.maximum, -np.inf)
    new28, new91 = total((histories.first_age <= 28) * 1.0), total((histories.first_age <= 91) * 1.0)
    gap = (age - recency) / np.maximum(days - 1, 1)
    exploration = (new91 + 1) / (total((histories.last_age <= 91) * 1.0) + 2)
    columns = [days, days28, days91, items, pair_days / np.maximum(days, 1), recency, age, gap, new28, new91, exploration]
    return np.stack(columns, axis=1).astype(np.float32)


def _describe_pairs(histories: Histories, interests: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Compute PAIR_FEATURES, (pairs, n); own_overdue_for_item is left for later. interests: see _sum_interests."""
    gap = np.where(histories.n_days > 1, (histories.first_age - histories.last_age) / np.maximum(histories.n_days - 1, 1), np.nan)
    place = np.arange(len(histories.user)) - histories.starts[histories.user] + 1
    key, of_interest = interests
    evidence = histories.decayed[:, _LONG]
    columns = [
        histories.n_days, histories.n_interactions, histories.last_age, histories.first_age, gap, _ratio(histories.last_age, gap),
        np.full(len(gap), np.nan), histories.days28, histories.days91, *histories.decayed.T, place,
        histories.n_days / np.maximum(histories.active[histories.user, 0], 1),
        evidence / (of_interest[np.searchsorted(key, make_keys(histories.user, histories.interest)), 3] + 0.01),
    ]  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float32)


def _sum_interests(histories: Histories) -> tuple[np.ndarray, np.ndarray]:
    """Compute INTEREST_FEATURES of the users' interests: keys, ascending, and (keys, n)."""
    key, position = np.unique(make_keys(histories.user, histories.interest), return_inverse=True)
    had = histories.is_had

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(position[had], values[had], len(key))

    recency = np.full(len(key), np.nan)
    np.fmin.at(recency, position[had], histories.last_age[had])
    short, long = total(histories.decayed[:, 0]), total(histories.decayed[:, _LONG])
    of_user = users_of(key)
    share = long / np.maximum(np.bincount(of_user, long, histories.n_users), 1e-30)[of_user]
    order = np.lexsort((-share, of_user))
    firsts = np.searchsorted(of_user[order], np.arange(histories.n_users))
    place, before = np.empty(len(key)), np.empty(len(key))
    place[order] = np.arange(len(key)) - firsts[of_user[order]] + 1
    cumulated = np.cumsum(share[order]) - share[order]
    before[order] = cumulated - cumulated[firsts[of_user[order]]]
    new = total((histories.first_age <= 91) * 1.0)
    items = total(np.ones_like(histories.n_days))
    return key, np.stack([items, total(histories.n_days), short, long, share, place, before, recency, new], axis=1)


def _describe_interests(
    histories: Histories, candidates: Candidates, table: ItemTable, interests: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Select INTEREST_FEATURES of the candidates, (n, features); NaN where the interest is new to the user.

    interests: see _sum_interests
    """
    key, values = interests
    wanted = make_keys(candidates.user, find_interests(histories, table, candidates.code, candidates.pair))
    found = np.minimum(np.searchsorted(key, wanted), max(0, len(key) - 1))
    if not len(key):
        return np.full((len(wanted), len(INTEREST_FEATURES)), np.nan, dtype=np.float32)
    return np.where((key[found] == wanted)[:, None], values[found], np.nan)


def _place_in_user(user: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rank the candidates of each user by a score, from 1; equal scores have the place of the first."""
    order = np.lexsort((-np.nan_to_num(values, nan=-np.inf), user))
    starts = np.searchsorted(user[order], np.arange(user.max() + 1 if len(user) else 0))
    is_tied = np.zeros(len(order), dtype=bool)
    is_tied[1:] = (user[order][1:] == user[order][:-1]) & (values[order][1:] == values[order][:-1])
    place = np.maximum.accumulate(np.where(is_tied, 0, np.arange(len(order)))) - starts[user[order]] + 1
    places = np.empty(len(order), dtype=np.float32)
    places[order] = place
    return places


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is 0 or NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)
