"""Relate items by the users who had both, from a bounded sample of users, on one machine.

Three linear models give the weight of item j for a user who had item i. Their scores differ, and a ranker gains from all:

EASE      Steck, Embarrassingly Shallow Autoencoders for Sparse Data, 2019: B = I - P / diag(P), P = (X'X + penalty I)^-1
cosine    n_both / (sqrt(n_i n_j) + SHRINKAGE), the nearest COSINE_NEIGHBOURS
RP3beta   Paudel et al., Updatable, Accurate, Diverse, and Scalable Recommendations, 2017: a walk from item over user to item,
          the probabilities to the power ALPHA, divided by popularity to the power BETA

A fourth projects the profile on the leading FACTORS singular vectors of the items (PureSVD: Cremonesi et al. 2010), columns
divided by the number of users to the power POPULARITY_DAMPING.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg

from interest_tiers.recommend.largest import BLOCK, keep_largest

#: Weights of an item that are kept, the largest.
KEPT_WEIGHTS = 200
COSINE_NEIGHBOURS = 100
SHRINKAGE = 10.0
ALPHA, BETA = 0.8, 0.6
FACTORS = 48

POPULARITY_DAMPING = 0.2

#: The penalty of EASE relative to the users' mean number of items, see mean_items.
PENALTY = 2.5

#: Items that are related, those with the most recent use: the cost grows with their square.
RELATED_ITEMS = 10_000


@dataclass(frozen=True)
class CoUse:
    """Weights between items: score = profile @ weights.

    ease, cosine, rp3: (items, items) sparse float32, row i holds what a user who had i gets for others
    factors: what profiles are multiplied by, and what then scores items, see find_factors
    """

    ease: sp.csr_matrix
    cosine: sp.csr_matrix
    rp3: sp.csr_matrix
    factors: tuple[np.ndarray, np.ndarray]


def relate_recent_items(days: sp.csr_matrix, recent_use: np.ndarray) -> CoUse:
    """Relate the RELATED_ITEMS items with the most recent use; all others go with none.

    days:       (users, items) float32, log(1 + days of use) of a sample of users
    recent_use: (items,)
    """
    n_items = len(recent_use)
    related = np.sort(np.argsort(-recent_use, kind="stable")[:RELATED_ITEMS])
    among_related = relate_items(days[:, related])
    if len(related) == n_items:
        return among_related

    def place(weights: sp.csr_matrix) -> sp.csr_matrix:
        found = weights.tocoo()
        return sp.csr_matrix((found.data, (related[found.row], related[found.col])), shape=(n_items, n_items))

    factors = tuple(np.zeros((n_items, factor.shape[1]), dtype=np.float32) for factor in among_related.factors)
    for placed, factor in zip(factors, among_related.factors, strict=True):
        placed[related] = factor
    return CoUse(place(among_related.ease), place(among_related.cosine), place(among_related.rp3), (factors[0], factors[1]))


def relate_items(days: sp.csr_matrix) -> CoUse:
    """Relate the items of a sample of users. days: (users, items) float32, log(1 + days of use)."""
    used = days.copy()
    used.data[:] = 1
    of_items = used.T.tocsr()
    n_users = np.maximum(np.asarray(used.sum(axis=0)).ravel(), 1)
    root = np.sqrt(n_users)

    def compare(rows: slice) -> np.ndarray:
        return (of_items[rows] @ used).toarray() / (root[rows, None] * root[None, :] + SHRINKAGE)

    cosine = keep_largest(compare, used.shape[1], COSINE_NEIGHBOURS)
    return CoUse(fit_ease(used), cosine, _walk(used, n_users), find_factors(days, n_users))


def fit_ease(used: sp.csr_matrix, penalty: float | None = None) -> sp.csr_matrix:
    """Fit EASE, and keep the KEPT_WEIGHTS weights of every row that are farthest from 0.

    With P = (X'X + penalty I)^-1 = (I - X' M X) / penalty and M = (X X' + penalty I)^-1 (Woodbury), the smaller of the two
    inverses is taken.
    penalty: None for PENALTY times the users' mean number of items, each user weighted by that number
    """
    n_users, n_items = used.shape
    if penalty is None:
        penalty = PENALTY * mean_items(used)
    if n_users < n_items:
        of_items = used.T.tocsr()
        inverse = _invert((used @ of_items).toarray(), penalty)
        solved = _multiply(inverse, used)
        diagonal = (1 - np.asarray(used.multiply(solved).sum(axis=0)).ravel()) / penalty
        return keep_largest(lambda rows: (of_items[rows] @ solved) / (penalty * diagonal), n_items, KEPT_WEIGHTS)
    inverse = _invert(count_together(used), penalty)
    diagonal = inverse.diagonal().copy()
    return keep_largest(lambda rows: -inverse[rows] / diagonal, n_items, KEPT_WEIGHTS)


def mean_items(used: sp.csr_matrix) -> float:
    """Average the users' numbers of items, each user weighted by that number: near the largest eigenvalues of X'X per user."""
    n_items = np.asarray(used.sum(axis=1)).ravel()
    return float((n_items**2).sum() / max(1.0, n_items.sum()))


def count_together(used: sp.csr_matrix) -> np.ndarray:
    """Count the users who had both items, (items, items) float32: exact up to 2^24 users."""
    of_items, n_items = used.T.tocsr(), used.shape[1]
    together = np.empty((n_items, n_items), dtype=np.float32)
    for start in range(0, n_items, BLOCK):
        together[start : start + BLOCK] = (of_items[start : start + BLOCK] @ used).toarray()
    return together


def _invert(gram: np.ndarray, penalty: float) -> np.ndarray:
    """Invert gram + penalty I; gram is overwritten. Its transpose is itself, and in the order that LAPACK works on in place."""
    gram[np.diag_indices(len(gram))] += penalty
    factor, _ = scipy.linalg.lapack.spotrf(gram.T, lower=1, overwrite_a=1, clean=0)
    inverse, failed = scipy.linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    assert not failed  # a Gram matrix plus a multiple of the identity is positive definite
    for start in range(0, len(inverse), BLOCK):  # only the lower triangle is filled
        stop = start + BLOCK
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        corner = np.tril(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = corner + np.tril(corner, -1).T
    return inverse


def _multiply(dense: np.ndarray, sparse: sp.csr_matrix) -> np.ndarray:
    """Multiply a dense by a sparse matrix."""
    return np.ascontiguousarray((sparse.T.tocsr() @ np.ascontiguousarray(dense.T)).T)


def _walk(used: sp.csr_matrix, n_users: np.ndarray) -> sp.csr_matrix:
    """Weigh the walks of RP3beta."""
    n_items = np.maximum(np.asarray(used.sum(axis=1)).ravel(), 1)
    to_users = (sp.diags((n_users**-ALPHA).astype(np.float32)) @ used.T).tocsr()
    to_items = (sp.diags((n_items**-ALPHA).astype(np.float32)) @ used).tocsr()
    damped = (n_users**-BETA).astype(np.float32)
    return keep_largest(lambda rows: (to_users[rows] @ to_items).toarray() * damped, len(n_users), KEPT_WEIGHTS)


def find_factors(days: sp.csr_matrix, n_users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find how profiles become coordinates, and coordinates scores: two (items, FACTORS) float32; fewer where the matrix has fewer."""
    n_factors = min(FACTORS, min(days.shape) - 1)
    if n_factors < 1:
        nothing = np.zeros((days.shape[1], 1), dtype=np.float32)
        return nothing, nothing
    damped = (n_users**-POPULARITY_DAMPING).astype(np.float32)[:, None]
    # A start that is always the same makes the result so.
    _, _, vectors = scipy.sparse.linalg.svds(
        (days @ sp.diags(damped.ravel())).tocsr(), k=n_factors, v0=np.ones(min(days.shape), dtype=np.float32)
    )
    directions = np.ascontiguousarray(vectors.T, dtype=np.float32)
    return directions * damped, directions / damped
