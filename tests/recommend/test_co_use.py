"""Weights between items: by hand, against dense formulas of numpy, and the same by either inverse."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from interest_tiers.recommend import co_use, largest
from interest_tiers.recommend.co_use import (
    ALPHA,
    BETA,
    SHRINKAGE,
    count_together,
    find_factors,
    fit_ease,
    mean_items,
    relate_items,
    relate_recent_items,
)


def draw_users(n_users: int, n_items: int, seed: int = 3) -> sp.csr_matrix:
    return sp.csr_matrix((np.random.default_rng(seed).random((n_users, n_items)) < 0.3).astype(np.float32))


def dense_ease(used: np.ndarray, penalty: float) -> np.ndarray:
    inverse = np.linalg.inv(used.T.astype(float) @ used + penalty * np.eye(used.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("shape", [(60, 12), (12, 60)], ids=["fewer items than users", "fewer users than items"])
def test_ease_is_the_closed_form_by_either_inverse(shape: tuple[int, int]) -> None:
    used = draw_users(*shape)
    assert fit_ease(used, penalty=3.0).toarray() == pytest.approx(dense_ease(used.toarray(), 3.0), abs=1e-5)
    assert fit_ease(used).toarray() == pytest.approx(dense_ease(used.toarray(), co_use.PENALTY * mean_items(used)), abs=1e-5)


def test_the_penalty_follows_the_users_with_many_items() -> None:
    used = sp.csr_matrix(np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=np.float32))
    assert mean_items(used) == pytest.approx((4 * 4 + 1 * 1) / 5)


def test_inverses_larger_than_a_block_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_use, "BLOCK", 5)
    monkeypatch.setattr(largest, "BLOCK", 5)
    used = draw_users(60, 12)
    assert fit_ease(used, penalty=3.0).toarray() == pytest.approx(dense_ease(used.toarray(), 3.0), abs=1e-5)
    assert count_together(used) == pytest.approx(used.toarray().T @ used.toarray())


def test_cosine_and_walks_are_those_of_dense_formulas() -> None:
    used = draw_users(40, 9)
    dense, related = used.toarray().astype(float), relate_items(used)
    both, n_users, n_items = dense.T @ dense, dense.sum(axis=0), dense.sum(axis=1)
    cosine = both / (np.sqrt(np.outer(n_users, n_users)) + SHRINKAGE)
    walks = (dense.T / n_users[:, None] ** ALPHA) @ (dense / np.maximum(n_items, 1)[:, None] ** ALPHA) / n_users**BETA
    for expected, got in ((cosine, related.cosine), (walks, related.rp3)):
        np.fill_diagonal(expected, 0)
        assert got.toarray() == pytest.approx(expected, rel=1e-5)


def test_a_row_keeps_the_weights_farthest_from_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_use, "KEPT_WEIGHTS", 3)
    used = draw_users(60, 12)
    expected = dense_ease(used.toarray(), 3.0)
    kept = np.abs(expected) >= np.sort(np.abs(expected), axis=1)[:, [-3]]
    assert fit_ease(used, penalty=3.0).toarray() == pytest.approx(np.where(kept, expected, 0), abs=1e-5)


def test_factors_reproduce_a_matrix_of_low_rank() -> None:
    """With as many factors as the matrix has ranks, projecting a profile gives it back."""
    random = np.random.default_rng(5)
    profiles = sp.csr_matrix((random.random((20, 3)) @ random.random((3, 8))).astype(np.float32))
    to_coordinates, to_scores = find_factors(profiles, np.full(8, 20.0))
    assert (profiles @ to_coordinates) @ to_scores.T == pytest.approx(profiles.toarray(), rel=1e-3)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_one_user_or_one_item_relates_nothing_and_breaks_nothing(shape: tuple[int, int]) -> None:
    used = sp.csr_matrix(np.ones(shape, dtype=np.float32))
    related = relate_items(used)
    assert related.factors[0].shape[0] == shape[1] and related.ease.shape == (shape[1], shape[1])


def test_only_the_items_of_late_are_related(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relating five of eight items is relating a matrix of those five."""
    monkeypatch.setattr(co_use, "RELATED_ITEMS", 5)
    used = draw_users(40, 8)
    related, alone = relate_recent_items(used, np.array([9, 1, 8, 2, 7, 6, 0, 5.0])), relate_items(used[:, [0, 2, 4, 5, 7]])
    for got, expected in ((related.ease, alone.ease), (related.cosine, alone.cosine), (related.rp3, alone.rp3)):
        assert got[[0, 2, 4, 5, 7]][:, [0, 2, 4, 5, 7]].toarray() == pytest.approx(expected.toarray())
        assert got.nnz == expected.nnz
    scores = [(used[:, [0, 2, 4, 5, 7]] @ alone.factors[0]) @ alone.factors[1].T, (used @ related.factors[0]) @ related.factors[1].T]
    assert scores[1][:, [0, 2, 4, 5, 7]] == pytest.approx(scores[0], abs=1e-5) and not scores[1][:, [1, 3, 6]].any()
