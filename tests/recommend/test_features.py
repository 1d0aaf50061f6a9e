"""Candidates and features of small users, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from interest_tiers.recommend import features
from interest_tiers.recommend.co_use import CoUse
from interest_tiers.recommend.features import (
    ADOPTED,
    ALIKE_TEXT,
    CO_USED,
    FEATURES,
    IN_INTEREST,
    OWN,
    build_profiles,
    compute_features,
    find_candidates,
    score_items,
)
from interest_tiers.recommend.histories import Histories
from interest_tiers.recommend.item_table import ItemTable
from tests.recommend.conftest import make_histories

EMPTY = sp.csr_matrix((6, 6), dtype=np.float32)


def relate(ease: dict[tuple[int, int], float]) -> CoUse:
    dense = np.zeros((6, 6), dtype=np.float32)
    for pair, weight in ease.items():
        dense[pair] = weight
    return CoUse(sp.csr_matrix(dense), sp.csr_matrix(dense / 2), EMPTY, (np.eye(6, 2, dtype=np.float32), np.eye(6, 2, dtype=np.float32)))


def describe(table: ItemTable, histories: Histories, related: CoUse, alike: sp.csr_matrix = EMPTY) -> list[dict[str, float]]:
    scored = score_items(build_profiles(histories, len(table)), related, alike)
    candidates = find_candidates(histories, table, scored)
    rows = compute_features(histories, candidates, table, scored)
    return [
        {
            "user": int(candidates.user[place]), "code": int(candidates.code[place]), "sources": int(candidates.sources[place]),
            **dict(zip(FEATURES, rows[place].tolist(), strict=True)),
        }
        for place in range(len(rows))
    ]  # fmt: skip


def test_candidates_come_from_own_items_co_use_adoption_interests_and_texts(table: ItemTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BY_ADOPTION", 1)
    monkeypatch.setattr(features, "PER_INTEREST", 1)
    alike = sp.csr_matrix(([0.5], ([0], [4])), shape=(6, 6), dtype=np.float32)
    histories = make_histories(table, {"u1": {"a1": 2, "zz": 1}, "u2": {"b1": 1}})
    rows = describe(table, histories, relate({(0, 3): 0.5}), alike)
    found = {(row["user"], row["code"]): row["sources"] for row in rows}
    assert found == {
        (0, 0): OWN,
        (0, -1): OWN,  # zz is in no table, and still the user's own
        (0, 3): CO_USED,  # b1 goes with a1
        (0, 5): ADOPTED,  # c1 is adopted most of all
        (0, 1): IN_INTEREST,  # a2 is adopted most in a
        (0, 4): ALIKE_TEXT,
        (1, 3): OWN,
        (1, 5): ADOPTED,
        (1, 4): IN_INTEREST,  # b1, adopted more, is the user's own
    }


def test_disliked_items_are_no_candidates_and_say_nothing(table: ItemTable) -> None:
    histories = make_histories(table, {"u1": {"a1": 1}}, disliked={"u1": ["b1", "c1"]})
    rows = describe(table, histories, relate({(3, 4): 0.9}))
    assert {row["code"] for row in rows} == {0, 1, 2, 4}  # b2 comes by adoption
    assert next(row for row in rows if row["code"] == 4)["ease"] == 0
    assert rows[0]["user_items"] == 1


def test_own_items_beyond_the_cap_are_no_candidates_whatever_follows(table: ItemTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound on unused own items alone would tell the label."""
    monkeypatch.setattr(features, "OWN_ITEMS", 1)
    rows = describe(table, make_histories(table, {"u1": {"a1": 1, "a2": 3}}), relate({}))
    assert [row["code"] for row in rows if row["is_own"]] == [1]
    assert 0 not in {row["code"] for row in rows}


def test_features_of_an_own_item(table: ItemTable) -> None:
    row = describe(table, make_histories(table, {"u1": {"a1": 3, "b1": 1}}), relate({}))[0]
    assert row["code"] == 0
    expected = {
        "is_own": 1, "own_days": 3, "own_recency": 5, "own_age": 15, "own_gap": 5, "own_overdue": 1, "own_place": 1, "own_rate": 3 / 4,
        "item_gap": 10, "own_overdue_for_item": 5 / 10, "item_users": 1 / 10, "item_age": 300, "user_days": 4, "user_items": 2,
        "user_recency": 5, "user_age": 15, "interest_share": 0.75, "interest_place": 1, "interest_mass_before": 0, "interest_items": 1,
        "interest_days": 3, "own_evidence_60d": 3 * 2 ** (-5 / 60), "item_comeback": 1.25 / 11, "user_exploration": 3 / 4,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert row["own_share_of_interest"] == pytest.approx(1, abs=0.01)


def test_features_of_a_new_item(table: ItemTable) -> None:
    rows = describe(table, make_histories(table, {"u1": {"a1": 3, "b1": 1}}), relate({(0, 1): 0.5, (3, 1): 0.25, (3, 5): 0.1}))
    row, decay = next(row for row in rows if row["code"] == 1), 2 ** (-5 / 60)
    assert np.isnan(row["own_days"]) and row["is_own"] == 0
    expected = {
        "ease": 0.5 + 0.25, "ease_recent": (3 * 0.5 + 0.25) * decay, "cosine_recent": (3 * 0.25 + 0.125) * decay,
        "ease_recent_place": 1, "interest_share": 0.75, "item_adopters_14d": 5 / 10,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    of_c = next(row for row in rows if row["code"] == 5)
    assert of_c["ease_recent_place"] == 2 and np.isnan(of_c["interest_share"])  # c is new to the user


def test_features_do_not_depend_on_who_else_is_in_the_batch(table: ItemTable) -> None:
    had = {"u1": {"a1": 3.0, "b1": 1.0}, "u2": {"c1": 1.0}, "u3": {"a2": 2.0}}
    together = describe(table, make_histories(table, had), relate({(0, 1): 0.5}))
    for user, items in enumerate(had.values()):
        alone = describe(table, make_histories(table, {"u": items}), relate({(0, 1): 0.5}))
        of_user = [row | {"user": 0} for row in together if row["user"] == user]
        assert [list(row.values()) for row in of_user] == [pytest.approx(list(row.values()), nan_ok=True) for row in alone]


def test_equal_scores_share_a_place() -> None:
    user, values = np.array([0, 0, 0, 0, 1]), np.array([0.5, 2.0, 0.5, np.nan, 0.1])
    assert features._place_in_user(user, values).tolist() == [2, 1, 2, 4, 1]
