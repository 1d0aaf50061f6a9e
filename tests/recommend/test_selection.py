"""Lists that are selected from scored candidates."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from interest_tiers.recommend.co_use import CoUse
from interest_tiers.recommend.features import Candidates
from interest_tiers.recommend.knowledge import Knowledge
from interest_tiers.recommend.selection import Selection, select_items
from tests.recommend.conftest import make_table

IDS = np.array(["a1", "a2", "a3", "b1", "zz"], dtype=object)
EMPTY = sp.csr_matrix((4, 4), dtype=np.float32)
NO_FACTORS = np.zeros((4, 1), dtype=np.float32)
#: a1 and a2 have the same text, that of a3 is near, b1 has none.
KNOWLEDGE = Knowledge(
    make_table(["a1", "a2", "a3", "b1"]), CoUse(EMPTY, EMPTY, EMPTY, (NO_FACTORS, NO_FACTORS)), EMPTY,
    np.array([[1, 0], [1, 0], [0.6, 0.8], [0, 0]], dtype=np.float32), np.array([0, 0, 1, -1], dtype=np.int32),
)  # fmt: skip


def select(scores: list[float], pair: list[int], selection: Selection) -> list[tuple[str, int]]:
    candidates = Candidates(np.zeros(5, dtype=int), np.array([0, 1, 2, 3, -1]), np.array(pair), np.zeros(5))
    chosen, rank = select_items(IDS, candidates, np.array(scores), KNOWLEDGE, selection)
    return list(zip(IDS[chosen].tolist(), rank.tolist(), strict=True))


def test_the_best_come_first_and_ties_go_by_id() -> None:
    assert select([0.5, 0.9, 0.1, 0.5, 0.2], [-1] * 5, Selection(3, True)) == [("a2", 1), ("a1", 2), ("b1", 3)]


def test_own_items_are_left_out_of_lists_of_new_ones() -> None:
    assert select([0.5, 0.9, 0.1, 0.5, 0.2], [-1, 3, -1, -1, 4], Selection(3, False)) == [("a1", 1), ("b1", 2), ("a3", 3)]


def test_equal_texts_are_limited_and_unknown_ones_are_not() -> None:
    assert select([0.9, 0.8, 0.1, 0.5, 0.2], [-1] * 5, Selection(5, True, max_equal_texts=1)) == [
        ("a1", 1), ("b1", 2), ("zz", 3), ("a3", 4),
    ]  # fmt: skip


def test_diversity_lowers_items_by_their_similarity_to_those_above() -> None:
    """a2 counts 0.8 * (1 - 0.5), a3 0.7 * (1 - 0.5 * 0.6) beside a1."""
    scores, new = [0.9, 0.8, 0.7, 0.45, 0.42], [-1] * 5
    assert select(scores, new, Selection(5, True, diversity=0.5)) == [("a1", 1), ("a3", 2), ("b1", 3), ("zz", 4), ("a2", 5)]
    assert [item for item, _ in select(scores, new, Selection(5, True))] == ["a1", "a2", "a3", "b1", "zz"]


def test_every_user_gets_a_list_of_their_own() -> None:
    candidates = Candidates(np.array([0, 0, 2, 2, 2]), np.array([0, 1, 2, 3, -1]), np.full(5, -1), np.zeros(5))
    for selection in (Selection(2, True), Selection(2, True, diversity=0.01)):
        chosen, rank = select_items(IDS, candidates, np.array([0.1, 0.2, 0.3, 0.1, 0.2]), KNOWLEDGE, selection)
        assert IDS[chosen].tolist() == ["a2", "a1", "a3", "zz"] and rank.tolist() == [1, 2, 1, 2]
