"""One number for a user of a batch and a position, so that pairs are sorted and found as numbers."""

from __future__ import annotations

import numpy as np

#: Bits of a key that hold the position.
_BITS = 32


def make_keys(user: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Make the keys of pairs, int64: ascending by user, then by position.

    user:     (n,), positions of users in the batch
    position: (n,), of an item or interest in ItemTable, or -1
    """
    return (user.astype(np.int64) << _BITS) + position + 1


def users_of(keys: np.ndarray) -> np.ndarray:
    """Return the users of keys."""
    return keys >> _BITS
