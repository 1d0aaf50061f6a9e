"""Find the largest numbers of the rows of a matrix, and keep them as a sparse matrix."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse as sp

#: Rows that are computed at a time.
BLOCK = 128

#: Each holds a few blocks.
MOST_THREADS = 16

#: One in so many columns tells about how large the largest numbers of a row are.
SAMPLED_COLUMNS = 8


def keep_largest(compute: Callable[[slice], np.ndarray], size: int, kept: int) -> sp.csr_matrix:
    """Keep the numbers of every row that are farthest from 0, without the diagonal.

    compute: gives the dense rows of a slice, (rows, columns), of a square matrix
    """
    kept = min(kept, size)

    def keep(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = slice(start, min(size, start + BLOCK))
        block = np.asarray(compute(rows), dtype=np.float32)
        block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = 0
        found_rows, found_columns = find_largest(np.abs(block), kept)
        return np.bincount(found_rows, minlength=len(block)), found_columns.astype(np.int32), block[found_rows, found_columns]

    # numpy and scipy compute without the interpreter's lock.
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as threads:
        lengths, columns, data = (np.concatenate(parts) for parts in zip(*threads.map(keep, range(0, size, BLOCK)), strict=True))
    return sp.csr_matrix((data, columns, np.append(0, lengths.cumsum())), shape=(size, size))


def find_largest(numbers: np.ndarray, kept: int, above: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Find the kept largest numbers of every row, of those above a bound: rows and columns, in order. numbers: (rows, columns).

    Of equal ones those of the first columns. Some of the columns tell which numbers are too small, so few are sorted. A row in
    which too few are left is searched whole.
    """
    sample = numbers[:, ::SAMPLED_COLUMNS]
    expected = min(sample.shape[1], 2 * -(-kept // SAMPLED_COLUMNS) + 4)
    bound = np.partition(sample, sample.shape[1] - expected, axis=1)[:, sample.shape[1] - expected, None]
    is_candidate = (numbers >= bound) & (numbers > above)
    too_few = is_candidate.sum(axis=1) < kept
    is_candidate[too_few] = numbers[too_few] > above
    rows, columns = np.nonzero(is_candidate)
    best = _take_largest(rows, columns, numbers[rows, columns], kept)
    best = best[np.lexsort((columns[best], rows[best]))]
    return rows[best], columns[best]


def keep_largest_stored(matrix: sp.csr_matrix, kept: int) -> sp.csr_matrix:
    """Keep the largest stored numbers of every row; of equal ones those of the first columns."""
    found = matrix.tocoo()
    best = _take_largest(found.row, found.col, found.data, kept)
    return sp.csr_matrix((found.data[best], (found.row[best], found.col[best])), shape=matrix.shape)


def _take_largest(rows: np.ndarray, columns: np.ndarray, numbers: np.ndarray, kept: int) -> np.ndarray:
    """Return the positions of the kept largest numbers of every row, the largest first. rows: ascending."""
    order = np.lexsort((columns, -numbers, rows))
    starts = np.searchsorted(rows, rows)  # the sort leaves the rows ascending
    return order[np.arange(len(order)) - starts < kept]
