"""Place users in a space of few dimensions: blocks of coordinates, scaled alike, and their principal components.

A space is fitted once and frozen until the next refit, so that a user's vector changes only with what the user did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.clustering.blocks import Block, fit_blocks, read_rows
from interest_tiers.clustering.moments import Moments, measure_moments
from interest_tiers.clustering.profiles import Vocabulary, is_evidence
from interest_tiers.clustering.texts import Reading

#: Shorter vectors are rounding noise around the mean user, and have no direction.
SMALLEST_NORM = 1e-6

#: Items with a text that draw a user half way to the mean user.
TEXT_SHRINKAGE = 3.0

#: Decimals of a vector: sums of doubles differ from run to run in the digits beyond.
DECIMALS = 6

#: The columns of a profile that decide on its vector.
EVIDENCE = ("interests", "items", "text", "n_texts")


@dataclass(frozen=True)
class Space:
    """Hold a fitted space: vector = ((coordinates - means) / scales) @ rotation, then scaled to L2 norm 1.

    interests, items: ids in the order of the columns of the blocks; empty without the block
    reading:          how item texts are read; None without the block text
    blocks:           in the order of the coordinates
    means:            of the coordinates over users
    scales:           one per coordinate: the root of its block's total variance
    rotation:         (coordinates, components), principal components of the scaled coordinates
    variances:        (components,), of the components
    """

    interests: tuple[str, ...]
    items: tuple[str, ...]
    reading: Reading | None
    blocks: tuple[Block, ...]
    means: np.ndarray
    scales: np.ndarray
    rotation: np.ndarray
    variances: np.ndarray

    @property
    def components(self) -> int:
        """Count the components of a vector."""
        return int(self.rotation.shape[1])

    def locate(self, batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        """Compute the vectors of a batch of profiles, and whether each has a direction: (users, components), (users,)."""
        rotated = ((_coordinates(batch, self.blocks) - self.means) / self.scales) @ self.rotation
        norms = np.linalg.norm(rotated, axis=1)
        return np.round(rotated / np.maximum(norms, SMALLEST_NORM)[:, None], DECIMALS), norms > SMALLEST_NORM


def fit_space(
    profiles: DataFrame, vocabulary: Vocabulary, reading: Reading | None, n_users: int, components: int, seed: int
) -> Space | None:
    """Fit the blocks and their principal components over all users; None where no user differs from another.

    A block in which all users are alike, or that has no columns, is left out.

    profiles: see profiles.build_profiles
    n_users:  number of profiles
    """
    if n_users < 2:
        return None
    blocks = fit_blocks(profiles, vocabulary, n_users, components, seed)
    if reading is not None:
        whole = Block("text", np.eye(reading.directions.shape[1]), TEXT_SHRINKAGE)
        _, directions = _measure(profiles, [whole]).principal(0, components)
        blocks += [Block("text", directions, TEXT_SHRINKAGE)] if directions.shape[1] else []
    if not blocks:
        return None
    moments = _measure(profiles, blocks)
    widths = [block.loadings.shape[1] for block in blocks]
    variances = [part.sum() for part in np.split(np.diag(moments.covariance), np.cumsum(widths)[:-1])]
    scales = np.repeat(np.sqrt(np.maximum(variances, SMALLEST_NORM**2)), widths)
    moments = Moments(moments.n, moments.mean, moments.covariance / np.outer(scales, scales))
    found, rotation = moments.principal(0, components, SMALLEST_NORM)
    if not len(found):
        return None
    names = {block.name for block in blocks}
    interests, items = (ids if name in names else () for name, ids in (("interests", vocabulary.interests), ("items", vocabulary.items)))
    return Space(interests, items, reading if "text" in names else None, tuple(blocks), moments.mean, scales, rotation, found)


def locate_users(profiles: DataFrame, space: Space) -> DataFrame:
    """Compute the vectors of all users; a user at the mean of all, or without evidence of any block, has none.

    profiles: see profiles.build_profiles
    Returns:  (user_id, n_events double, vector array<float>), L2 norm 1
    """

    def locate(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            vectors, has_direction = space.locate(batch)
            kept = np.flatnonzero(has_direction)
            flat = pa.array(vectors[kept].astype(np.float32).ravel())
            offsets = pa.array(np.arange(len(kept) + 1) * space.components, pa.int32())
            columns = [batch.column(name).take(pa.array(kept)) for name in ("user_id", "n_events")]
            yield pa.RecordBatch.from_arrays([*columns, pa.ListArray.from_arrays(offsets, flat)], ["user_id", "n_events", "vector"])

    known = profiles.where(_has_evidence([block.name for block in space.blocks]))
    return known.mapInArrow(locate, "user_id string, n_events double, vector array<float>")


def place_at_one_point(pairs: DataFrame, components: int) -> DataFrame:
    """Place every user with evidence at the same point, for data in which no user differs from another.

    pairs:   (user_id, evidence, n_days, ...)
    Returns: (user_id, n_events double, vector array<float>), see locate_users
    """
    point = F.array(*[F.lit(float(i == 0)) for i in range(components)]).cast("array<float>")
    users = pairs.groupBy("user_id").agg(F.sum("n_days").cast("double").alias("n_events"), F.max(is_evidence()).alias("has_evidence"))
    return users.where("has_evidence").select("user_id", "n_events", point.alias("vector"))


def _has_evidence(blocks: Iterable[str]) -> Column:
    """Say whether a profile has evidence of one of the blocks."""
    of_blocks = {"interests": F.size("interests") > 0, "items": F.size("items") > 0, "text": F.col("n_texts") > 0}
    return reduce(lambda one, other: one | other, [of_blocks[name] for name in blocks])


def _measure(profiles: DataFrame, blocks: Sequence[Block]) -> Moments:
    width = sum(block.loadings.shape[1] for block in blocks)
    return measure_moments(profiles.select(*EVIDENCE), lambda batch: _coordinates(batch, blocks), width)


def _coordinates(batch: pa.RecordBatch, blocks: Sequence[Block]) -> np.ndarray:
    return np.hstack([_project(batch, block) for block in blocks])


def _project(batch: pa.RecordBatch, block: Block) -> np.ndarray:
    if block.name != "text":
        return block.project(read_rows(batch, block.name, len(block.loadings)))
    sums = batch.column("text")
    rows = np.zeros((len(batch), len(block.loadings)))
    known = np.flatnonzero(sums.is_valid().to_numpy(zero_copy_only=False))
    rows[known] = sums.drop_null().flatten().to_numpy().reshape(len(known), len(block.loadings))
    return block.project(rows, batch.column("n_texts").to_numpy())
