"""Select a list from the scored candidates of every user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interest_tiers.recommend.features import Candidates
from interest_tiers.recommend.knowledge import Knowledge

#: Candidates of a user that a diverse list is chosen from, per item of the list.
POOL = 5


@dataclass(frozen=True)
class Selection:
    """How a list is selected.

    k: its length. repeats: whether own items may be in it. max_equal_texts: items with one text, None for any number.
    diversity: an item whose text equals that of an item above it counts so much less, 0 to 1; by similarity, for others.
    """

    k: int
    repeats: bool
    max_equal_texts: int | None = None
    diversity: float = 0.0


def select_items(
    item_ids: np.ndarray, candidates: Candidates, scores: np.ndarray, knowledge: Knowledge, selection: Selection
) -> tuple[np.ndarray, np.ndarray]:
    """Select the candidates with the highest scores of every user, ties by item id.

    item_ids: (candidates,)
    Returns:  positions of the selected candidates, those of one user in order; and their ranks from 1
    """
    allowed = np.flatnonzero(candidates.pair < 0) if not selection.repeats else np.arange(len(scores))
    order = allowed[np.lexsort((item_ids[allowed].astype(str), -scores[allowed], candidates.user[allowed]))]
    if selection.max_equal_texts is None and selection.diversity == 0:
        return _take_first(candidates.user[order], order, selection.k)
    ends = np.flatnonzero(np.diff(candidates.user[order], append=-1)) + 1
    lists = [_select_apart(of_user, scores, candidates.code, knowledge, selection) for of_user in np.split(order, ends[:-1])]
    chosen = np.array([position for of_user in lists for position in of_user], dtype=np.int64)
    return _take_first(candidates.user[chosen], chosen, selection.k)


def _take_first(user: np.ndarray, order: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Take the first k of every user. user: of the ordered candidates, ascending."""
    starts = np.searchsorted(user, user)
    rank = np.arange(len(order)) - starts + 1
    return order[rank <= k], rank[rank <= k]


def _select_apart(of_user: np.ndarray, scores: np.ndarray, code: np.ndarray, knowledge: Knowledge, selection: Selection) -> list[int]:
    """Select one user's list by maximal marginal relevance (Carbonell and Goldstein 1998) on texts.

    of_user: positions of the user's candidates, the best first
    """
    pool = of_user[: POOL * selection.k] if selection.max_equal_texts is None else of_user
    known = code[pool] >= 0
    texts = np.where(known[:, None], knowledge.texts[np.maximum(code[pool], 0)], 0)
    groups = np.where(known, knowledge.text_groups[np.maximum(code[pool], 0)], -1)
    nearest, count = np.zeros(len(pool)), np.zeros(len(pool), dtype=np.int64)
    is_open = np.ones(len(pool), dtype=bool)
    chosen: list[int] = []
    while is_open.any() and len(chosen) < selection.k:
        value = np.where(is_open, scores[pool] * (1 - selection.diversity * np.maximum(nearest, 0)), -np.inf)
        best = int(value.argmax())
        chosen.append(int(pool[best]))
        is_open[best] = False
        nearest = np.maximum(nearest, texts @ texts[best])
        if groups[best] >= 0 and selection.max_equal_texts is not None:
            count[groups == groups[best]] += 1
            is_open &= count < selection.max_equal_texts
    return chosen
