"""The largest numbers of rows, against a full sort."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interest_tiers.recommend.largest import find_largest, keep_largest


@given(st.integers(1, 40), st.integers(1, 12), st.sampled_from([0.0, -np.inf]), st.integers(0, 2**32 - 1))
def test_the_largest_numbers_are_found_whatever_their_order(n_columns: int, kept: int, above: float, seed: int) -> None:
    """Against a full sort; many numbers are equal, 0 or negative infinity."""
    numbers = np.random.default_rng(seed).choice([-np.inf, -1, 0, 1, 2, 3], (5, n_columns)).astype(np.float32)
    rows, columns = find_largest(numbers, min(kept, n_columns), above)
    for row in range(5):
        allowed = np.flatnonzero(numbers[row] > above)
        best = sorted(allowed, key=lambda column: (-numbers[row, column], column))[: min(kept, n_columns)]
        assert columns[rows == row].tolist() == sorted(best)


def test_the_diagonal_is_left_out_and_signs_stay() -> None:
    dense = np.array([[9, -3, 1], [2, 9, 0], [-1, -2, 9]], dtype=np.float32)
    assert keep_largest(lambda rows: dense[rows].copy(), 3, 1).toarray().tolist() == [[0, -3, 0], [2, 0, 0], [0, -2, 0]]
