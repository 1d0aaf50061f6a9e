"""The largest numbers of rows, against a full sort."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interest_tiers.recommend.largest import find_largest, keep_largest


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_largest_sizes_are_found_whatever_their_order(n_columns: int, kept: int, seed: int) -> None:
    """Against a full sort; many sizes are 0 or equal."""
    sizes = np.random.default_rng(seed).integers(0, 6, (5, n_columns)).astype(np.float32)
    rows, columns = find_largest(sizes, min(kept, n_columns))
    for row in range(5):
        best = sorted(np.flatnonzero(sizes[row]), key=lambda column: (-sizes[row, column], column))[: min(kept, n_columns)]
        assert columns[rows == row].tolist() == sorted(best)


def test_the_diagonal_is_left_out_and_signs_stay() -> None:
    dense = np.array([[9, -3, 1], [2, 9, 0], [-1, -2, 9]], dtype=np.float32)
    assert keep_largest(lambda rows: dense[rows].copy(), 3, 1).toarray().tolist() == [[0, -3, 0], [2, 0, 0], [0, -2, 0]]
