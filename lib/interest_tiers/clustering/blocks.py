"""Fit the directions of a block: what sets the profiles of users apart, as loadings of interests and of items.

interests: correspondence analysis of user x interest evidence. A user's row is the profile minus the mean profile, over
           the root of the mean; e / (e + EVIDENCE_SHRINKAGE) draws users with little evidence e to the mean (Greenacre 2007).
items:     regularised spectral co-clustering of user x item (Dhillon 2001; Qin and Rohe 2013). Degrees are raised by
           their mean, and the first direction, which is the degree itself, is left out.

Both are singular vectors of a matrix of users x columns. Block Krylov iteration finds them (Musco and Musco 2015): each
pass over the users multiplies the matrix and its transpose with a few vectors of the length of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import sparse

from interest_tiers.clustering.moments import fix_signs
from interest_tiers.clustering.profiles import Vocabulary

#: Days of evidence that draw a user half way to the mean user.
EVIDENCE_SHRINKAGE = 20.0

#: Directions beyond those wanted, which speed the iteration up, and passes over the users.
OVERSAMPLING, PASSES = 16, 4

#: The sums of so few partitions are added up by the driver, which saves a shuffle.
FEW_PARTITIONS = 8

#: Eigenvalues below this share of the first are rounding noise.
SMALLEST_EIGENVALUE = 1e-9


@dataclass(frozen=True)
class Block:
    """Hold the loadings of one block: a user's coordinates are scale_u * (values_u @ loadings).

    name:     interests, items or text
    loadings: (columns, directions)
    offset:   added to the user's evidence or number of items; scale_u = 1 / (that sum)
    """

    name: str
    loadings: np.ndarray
    offset: float

    def project(self, rows: sparse.csr_matrix | np.ndarray, totals: np.ndarray | None = None) -> np.ndarray:
        """Compute the coordinates of users (users, directions).

        rows:   users x columns, all 0 for a user without evidence
        totals: of the users; default: the sums of the rows
        """
        totals = np.asarray(rows.sum(axis=1)).ravel() if totals is None else totals
        return (rows @ self.loadings) / (totals + self.offset)[:, None]


def read_rows(batch: pa.RecordBatch, name: str, n_columns: int) -> sparse.csr_matrix:
    """Read one block of a batch of profiles as a matrix of users x columns."""
    column = batch.column(name)
    offsets, flat = column.offsets.to_numpy(), column.values
    start, end = (offsets[0], offsets[-1]) if len(offsets) else (0, 0)
    flat = flat.slice(start, end - start)
    if name == "interests":
        places, values = flat.field("column").to_numpy(), flat.field("evidence").to_numpy()
    else:
        places, values = flat.to_numpy(), np.ones(len(flat))
    return sparse.csr_matrix((values, places, offsets - start), (len(batch), n_columns))


@dataclass(frozen=True)
class _Matrix:
    """Rows alpha_u * (values_u * gamma - total_u * delta), total_u the sum of the user's values."""

    name: str
    gamma: np.ndarray
    delta: np.ndarray
    offset: float
    power: float  # alpha_u = (total_u + offset) ** power * sqrt(total_u where weighed)
    is_weighed: bool

    def multiply(self, rows: sparse.csr_matrix, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Multiply the transpose of the matrix with the matrix and with directions, before gamma and delta are applied."""
        totals = np.asarray(rows.sum(axis=1)).ravel()
        alpha = (totals + self.offset) ** self.power * (np.sqrt(totals) if self.is_weighed else 1.0)
        projected = rows @ (self.gamma[:, None] * directions) - np.outer(totals, self.delta @ directions)
        weighed = (alpha**2)[:, None] * projected
        return rows.T @ weighed, totals @ weighed

    def finish(self, sums: np.ndarray, of_totals: np.ndarray) -> np.ndarray:
        return self.gamma[:, None] * sums - np.outer(self.delta, of_totals)


def fit_blocks(profiles: DataFrame, vocabulary: Vocabulary, n_users: int, width: int, seed: int) -> list[Block]:
    """Fit the loadings of the blocks that have a vocabulary, at most width directions each.

    A block in which all users are alike has no direction and is left out.

    profiles: see profiles.build_profiles
    n_users:  number of profiles
    """
    matrices = []
    if vocabulary.interests:
        shares = np.array(vocabulary.evidence) / sum(vocabulary.evidence)
        matrices.append(_Matrix("interests", shares**-0.5, shares**0.5, EVIDENCE_SHRINKAGE, -1.0, True))
    if vocabulary.items:
        degrees = np.array(vocabulary.n_users, dtype=float)
        of_users = degrees.sum() / n_users
        matrices.append(_Matrix("items", (degrees + degrees.mean()) ** -0.5, np.zeros(len(degrees)), of_users, -0.5, False))
    found = _find_directions(profiles, matrices, width + 1, seed) if matrices else {}
    return [block for block in (_as_block(matrix, *found[matrix.name], width) for matrix in matrices) if block is not None]


def _as_block(matrix: _Matrix, values: np.ndarray, vectors: np.ndarray, width: int) -> Block | None:
    first = 0 if matrix.name == "interests" else 1
    kept = [i for i in range(first, min(first + width, len(values))) if values[i] > SMALLEST_EIGENVALUE * max(values[0], 1e-12)]
    if not kept:
        return None
    loadings = matrix.gamma[:, None] * vectors[:, kept]
    if matrix.name == "interests":
        loadings = loadings - matrix.delta @ vectors[:, kept]
    return Block(matrix.name, fix_signs(loadings), matrix.offset)


def _find_directions(profiles: DataFrame, matrices: Sequence[_Matrix], width: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Find the largest eigenvalues and eigenvectors of every matrix's Gram matrix: name to (values,), (columns, values)."""
    random = np.random.default_rng(seed)
    bases: dict[str, list[np.ndarray]] = {matrix.name: [] for matrix in matrices}
    images: dict[str, list[np.ndarray]] = {matrix.name: [] for matrix in matrices}
    latest = {}
    for matrix in matrices:
        wanted = min(len(matrix.gamma), width + OVERSAMPLING)
        latest[matrix.name] = np.linalg.qr(random.normal(size=(len(matrix.gamma), wanted)))[0]
    for _ in range(PASSES):
        for name, image in _multiply(profiles, matrices, latest).items():
            bases[name].append(latest[name])
            images[name].append(image)
            latest[name] = _orthogonalise(image, np.hstack(bases[name]))
        latest = {name: basis for name, basis in latest.items() if basis.shape[1]}
        matrices = [matrix for matrix in matrices if matrix.name in latest]
        if not matrices:
            break
    found = {}
    for name in bases:
        basis, image = np.hstack(bases[name]), np.hstack(images[name])
        projected = basis.T @ image
        values, rotation = np.linalg.eigh((projected + projected.T) / 2)
        found[name] = values[::-1], basis @ rotation[:, ::-1]
    return found


def _orthogonalise(image: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of what the columns of image have beyond a basis; no column where they have nothing."""
    rest = image
    for _ in range(2):  # once leaves rounding noise along the basis
        rest = rest - basis @ (basis.T @ rest)
    left, sizes, _ = np.linalg.svd(rest, full_matrices=False)
    return left[:, sizes > SMALLEST_EIGENVALUE * max(1e-12, float(np.linalg.norm(image)))][:, : len(basis) - basis.shape[1]]


def _multiply(profiles: DataFrame, matrices: Sequence[_Matrix], directions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Multiply the Gram matrix of every block with its directions, in one pass over the profiles."""
    width = max(directions[matrix.name].shape[1] for matrix in matrices)
    columns = [f"v{i}" for i in range(width)]

    def sum_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # The last row of a block belongs to the totals of users.
        sums = {matrix.name: np.zeros((len(matrix.gamma) + 1, width)) for matrix in matrices}
        for batch in batches:
            for matrix in matrices:
                of_block = directions[matrix.name]
                of_columns, of_totals = matrix.multiply(read_rows(batch, matrix.name, len(matrix.gamma)), of_block)
                sums[matrix.name][:-1, : of_block.shape[1]] += of_columns
                sums[matrix.name][-1, : of_block.shape[1]] += of_totals
        for name, block in sums.items():
            used = np.flatnonzero(block.any(axis=1))
            arrays = [
                pa.array([name] * len(used), pa.string()),
                pa.array(used, pa.int32()),
                *(pa.array(block[used, i]) for i in range(width)),
            ]
            yield pa.RecordBatch.from_arrays(arrays, ["block", "place", *columns])

    schema = "block string, place int, " + ", ".join(f"{column} double" for column in columns)
    summed = profiles.select("interests", "items").mapInArrow(sum_partition, schema)
    if profiles.rdd.getNumPartitions() > FEW_PARTITIONS:
        summed = summed.groupBy("block", "place").agg(*[F.sum(column).alias(column) for column in columns])
    rows = summed.toPandas()  # bounded by the vocabulary and by FEW_PARTITIONS
    products = {}
    for matrix in matrices:
        own = rows[rows["block"] == matrix.name]
        sums = np.zeros((len(matrix.gamma) + 1, width))
        np.add.at(sums, own["place"].to_numpy(), own[columns].to_numpy())
        sums = sums[:, : directions[matrix.name].shape[1]]
        products[matrix.name] = matrix.finish(sums[:-1], sums[-1])
    return products
