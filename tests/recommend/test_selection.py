"""Lists that are selected from scored candidates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from interest_tiers.recommend.co_use import CoUse
from interest_tiers.recommend.features import Candidates
from interest_tiers.recommend.knowledge import Knowledge
from interest_tiers.recommend.selection import Selection, select_items
from tests.recommend.conftest import make_table

IDS = np.array(["a1", "a2", "a3", "b1", "zz"], dtype=str)
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


def test_exploration_lifts_items_of_few_users() -> None:
    """Three users had a1, none had the unknown zz: 0.9 / (1 + 3)^0.5 is less than 0.46."""
    table = KNOWLEDGE.table
    counts = replace(table.counts, users=np.array([3.0, 0.0, 0.0, 8.0]))
    knowledge = replace(KNOWLEDGE, table=replace(table, counts=counts))
    candidates = Candidates(np.zeros(5, dtype=int), np.array([0, 1, 2, 3, -1]), np.full(5, -1), np.zeros(5))
    scores = np.array([0.9, 0.2, 0.3, 0.99, 0.46])
    chosen, _ = select_items(IDS, candidates, scores, knowledge, Selection(5, True, exploration=0.5))
    assert IDS[chosen].tolist() == ["zz", "a1", "b1", "a3", "a2"]  # 0.46, 0.45, 0.33, 0.3, 0.2


@given(data=st.data())
def test_the_selection_is_the_greedy_one(data: st.DataObject) -> None:
    """One user after the other, by the definition; cosines are 0, 1/2 and 1, which floats hold exactly."""
    knowledge = replace(KNOWLEDGE, texts=np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0]], dtype=np.float32))
    n = data.draw(st.integers(1, 12))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    diversity, limit = data.draw(st.sampled_from([0.0, 0.3, 1.0])), data.draw(st.sampled_from([None, 1, 2]))
    user, code = np.sort(random.integers(0, 3, n)), random.integers(-1, 4, n)
    scores, ids = random.integers(1, 9, n) / 10, np.array([f"i{number:02}" for number in range(n)])
    selection = Selection(3, True, limit, diversity)
    chosen, _ = select_items(ids, Candidates(user, code, np.full(n, -1), np.zeros(n)), scores, knowledge, selection)
    texts = np.where(code[:, None] >= 0, knowledge.texts[code], 0)
    groups = np.where(code >= 0, knowledge.text_groups[code], -1)
    expected: list[int] = []
    for one in np.unique(user):
        taken: list[int] = []
        for _ in range(3):
            left = [p for p in np.flatnonzero(user == one) if p not in taken]
            left = [p for p in left if limit is None or groups[p] < 0 or sum(groups[t] == groups[p] for t in taken) < limit]
            values = {p: scores[p] * (1 - diversity * max([0.0, *(float(texts[p] @ texts[t]) for t in taken)])) for p in left}
            if values:
                taken.append(max(values, key=lambda p: (values[p], scores[p], -p)))
        expected += taken
    assert chosen.tolist() == expected


def test_every_user_gets_a_list_of_their_own() -> None:
    candidates = Candidates(np.array([0, 0, 2, 2, 2]), np.array([0, 1, 2, 3, -1]), np.full(5, -1), np.zeros(5))
    for selection in (Selection(2, True), Selection(2, True, diversity=0.01)):
        chosen, rank = select_items(IDS, candidates, np.array([0.1, 0.2, 0.3, 0.1, 0.2]), KNOWLEDGE, selection)
        assert IDS[chosen].tolist() == ["a2", "a1", "a3", "zz"] and rank.tolist() == [1, 2, 1, 2]
