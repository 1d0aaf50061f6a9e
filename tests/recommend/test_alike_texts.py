"""Neighbours by text, against a search among all items."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interest_tiers.recommend import knowledge
from interest_tiers.recommend.knowledge import SHARPNESS, find_alike_texts


@given(st.integers(1, 8), st.integers(1, 30), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_items_with_one_text_and_those_of_the_nearest_texts_are_found(n_texts: int, n_items: int, wanted: int, seed: int) -> None:
    """Cosines of halves, so that many are equal; text 0 says nothing to the model, and some items have none."""
    random = np.random.default_rng(seed)
    of_texts = random.choice([-0.5, 0.5], (n_texts, 4)).astype(np.float32)
    of_texts[0] = 0
    groups = random.integers(-1, n_texts, n_items).astype(np.int32)
    texts = np.where(groups[:, None] >= 0, of_texts[groups], np.float32(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knowledge, "TEXT_NEIGHBOURS", wanted)
        found = find_alike_texts(texts, groups).toarray()
    cosine = texts @ texts.T
    np.fill_diagonal(cosine, 0)
    expected = np.zeros_like(cosine)
    for row in range(n_items):
        best = sorted(range(n_items), key=lambda column: (-cosine[row, column], column))[:wanted]
        expected[row, best] = np.maximum(cosine[row, best], 0) ** SHARPNESS
    # Two texts may be alike without being the same: which of their items are kept is then a matter of order.
    np.testing.assert_allclose(np.sort(found, axis=1), np.sort(expected, axis=1), atol=1e-6)
    if len(np.unique(of_texts, axis=0)) == n_texts:
        np.testing.assert_allclose(found, expected, atol=1e-6)
