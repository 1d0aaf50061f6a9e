"""Select a list from the scored candidates of every user."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from interest_tiers.recommend.calibration import diverge
from interest_tiers.recommend.features import Candidates
from interest_tiers.recommend.knowledge import Knowledge

#: Candidates of a user that a diverse list is chosen from, per item of the list.
POOL = 5

#: Users whose candidates are compared at once: their texts are held in memory.
_USERS_AT_ONCE = 64


@dataclass(frozen=True)
class Selection:
    """How a list is selected.

    k: its length. repeats: whether own items may be in it. max_equal_texts: items with one text, None for any number.
    diversity: an item whose text equals that of an item above it counts so much less, 0 to 1; by similarity, for others.
    exploration: a score is divided by (1 + users who had the item) to this power; 0 leaves it as it is.
    calibration: weight of the divergence from the user's tiers, 0 to 1, against the score as a share of the user's highest.
    """

    k: int
    repeats: bool
    max_equal_texts: int | None = None
    diversity: float = 0.0
    exploration: float = 0.0
    calibration: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether the items with the highest scores are the list."""
        return self.max_equal_texts is None and self.diversity == 0 and self.calibration == 0


def select_items(
    item_ids: np.ndarray, candidates: Candidates, scores: np.ndarray, knowledge: Knowledge, selection: Selection
) -> tuple[np.ndarray, np.ndarray]:
    """Select the candidates with the highest scores of every user, ties by item id.

    item_ids: (candidates,), of a string type of numpy
    Returns:  positions of the selected candidates, those of one user in order; and their ranks from 1
    """
    if candidates.tiers is None:
        selection = replace(selection, calibration=0.0)
    allowed = np.flatnonzero(candidates.pair < 0) if not selection.repeats else np.arange(len(scores))
    values = _lift_rare_items(scores, candidates.code, knowledge.table.counts.users, selection.exploration)
    order = allowed[np.lexsort((item_ids[allowed], -values[allowed], candidates.user[allowed]))]
    if selection.is_plain:
        return _take_first(candidates.user[order], order, selection.k)
    if selection.max_equal_texts is None:
        order, _ = _take_first(candidates.user[order], order, POOL * selection.k)
    users = np.unique(candidates.user[order])
    ends = np.searchsorted(candidates.user[order], users[_USERS_AT_ONCE::_USERS_AT_ONCE])
    parts = [_select_apart(part, candidates, values, knowledge, selection) for part in np.split(order, ends) if len(part)]
    chosen = np.concatenate([order[:0], *parts])
    return _take_first(candidates.user[chosen], chosen, selection.k)


def _lift_rare_items(scores: np.ndarray, code: np.ndarray, users: np.ndarray, exploration: float) -> np.ndarray:
    """Divide scores by the users who had the item, so that lists reach further into the catalogue. code: -1 for items of few users."""
    return scores if exploration == 0 else scores / (1 + np.append(users, 0)[code]) ** exploration


def _take_first(user: np.ndarray, order: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Take the first k of every user. user: of the ordered candidates, ascending."""
    starts = np.searchsorted(user, user)
    rank = np.arange(len(order)) - starts + 1
    return order[rank <= k], rank[rank <= k]


def _select_apart(order: np.ndarray, candidates: Candidates, values: np.ndarray, knowledge: Knowledge, selection: Selection) -> np.ndarray:
    """Select lists item by item, by maximal marginal relevance on texts and by the divergence from the user's tiers.

    See Carbonell and Goldstein 1998, and calibration.

    order:   positions of the candidates of some users, the best of each first
    Returns: positions of the selected ones, those of one user in order
    """
    user = candidates.user[order]
    row = np.unique(user, return_inverse=True)[1]
    pool = np.full((row.max() + 1, np.bincount(row).max()), -1)
    pool[row, np.arange(len(order)) - np.searchsorted(user, user)] = order
    code = np.where(pool >= 0, candidates.code[pool], -1)
    texts = np.where(code[:, :, None] >= 0, knowledge.texts[code], 0)
    groups = np.where(code >= 0, knowledge.text_groups[code], -1)
    is_open, score = pool >= 0, values[pool]
    nearest, count = np.zeros(pool.shape), np.zeros(pool.shape, dtype=np.int64)
    everyone = np.arange(len(pool))
    follows = selection.calibration > 0
    if follows:
        assert candidates.tiers is not None and candidates.target is not None  # together
        tiers, target = np.where(is_open[:, :, None], candidates.tiers[pool], 0), candidates.target[np.unique(user)][:, None]
        listed = np.zeros((len(pool), 1, tiers.shape[2]))
        highest = np.where(is_open, score, 0).max(axis=1, keepdims=True)
        score = score / np.where(highest > 0, highest, 1)
    chosen = np.full((len(pool), selection.k), -1)
    for place in range(selection.k):
        value = score * (1 - selection.diversity * np.maximum(nearest, 0))
        if follows:
            value = (1 - selection.calibration) * value - selection.calibration * diverge(target, (listed + tiers) / (place + 1))
        best = np.where(is_open, value, -np.inf).argmax(axis=1)
        chosen[:, place] = np.where(is_open.any(axis=1), pool[everyone, best], -1)
        is_open[everyone, best] = False
        if follows:
            listed += tiers[everyone, best][:, None]
        nearest = np.maximum(nearest, np.einsum("upd,ud->up", texts, texts[everyone, best]))
        if selection.max_equal_texts is not None:
            of_best = groups[everyone, best][:, None]
            count += (groups == of_best) & (of_best >= 0)
            is_open &= count < selection.max_equal_texts
    return chosen[chosen >= 0]
