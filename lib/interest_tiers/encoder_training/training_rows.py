"""Reads the training rows of one process from Parquet; their order is a function of the seed and the step.

Reads with Arrow, without Spark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from interest_tiers.embedding.encoder import right_padded


@dataclass(frozen=True)
class Shard:
    """A Parquet file and the number of rows in each of its row groups."""

    file: Path
    group_rows: tuple[int, ...]

    @property
    def n_rows(self) -> int:
        return sum(self.group_rows)


def shards_in(folder: str | Path) -> list[Shard]:
    """List the files below a folder that hold rows, sorted by path."""
    shards = []
    for file in sorted(Path(folder).rglob("*.parquet")):
        metadata = pq.read_metadata(file)
        groups = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        if sum(groups):
            shards.append(Shard(file, groups))
    return shards


class Batches:
    """The part of every batch that one process trains on.

    A batch takes the same number of rows from every shard. Process r of w takes the r-th of w equal parts of it.
    So the rows of a step over all processes depend on the seed and the step alone.
    An exhausted shard starts over, with its row groups and the rows within them in another order.
    Memory holds one row group per shard that the process reads.
    """

    def __init__(self, shards: Sequence[Shard], batch_size: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        """Raise ValueError without shards, or where batch_size is no multiple of the shards and of the processes."""
        if not shards or batch_size % len(shards) or batch_size % processes:
            raise ValueError(f"{batch_size} rows a batch cannot be split over {len(shards)} shards and {processes} processes")
        self._shards = list(shards)
        self._seed = seed
        self._per_shard = batch_size // len(shards)
        part = batch_size // processes
        self._first, self._end = rank * part, (rank + 1) * part
        self._loaded: dict[int, tuple[tuple[int, int], pa.Table]] = {}

    def rows(self, step: int) -> pa.Table:
        """Return the rows of this process at a step; the first step is 0."""
        parts = []
        for number in range(self._first // self._per_shard, (self._end - 1) // self._per_shard + 1):
            offset = number * self._per_shard
            first, end = max(self._first - offset, 0), min(self._end - offset, self._per_shard)
            parts += self._of_shard(number, step * self._per_shard + first, end - first)
        return pa.concat_tables(parts)

    def _of_shard(self, number: int, position: int, n_rows: int) -> list[pa.Table]:
        """Return n_rows of a shard from a position on; positions run on through every pass over the shard."""
        shard, parts = self._shards[number], []
        while n_rows:
            turn, within = divmod(position, shard.n_rows)
            for group in _group_order(self._seed, number, turn, len(shard.group_rows)):
                if within < shard.group_rows[group]:
                    break
                within -= shard.group_rows[group]
            taken = min(n_rows, shard.group_rows[group] - within)
            parts.append(self._group(number, turn, int(group)).slice(within, taken))
            position, n_rows = position + taken, n_rows - taken
        return parts

    def _group(self, number: int, turn: int, group: int) -> pa.Table:
        """Return a row group in the order of this pass over the shard."""
        held = self._loaded.get(number)
        if held is None or held[0] != (turn, group):
            with pq.ParquetFile(self._shards[number].file) as file:
                rows = file.read_row_group(group)
            order = np.random.default_rng([self._seed, number, turn, group]).permutation(len(rows))
            held = (turn, group), rows.take(order)
            self._loaded[number] = held
        return held[1]


@lru_cache(maxsize=256)
def _group_order(seed: int, shard: int, turn: int, n_groups: int) -> np.ndarray:
    return np.random.default_rng([seed, shard, turn]).permutation(n_groups)


def validation_batches(folder: str | Path, batch_size: int, rank: int, processes: int) -> list[pa.Table]:
    """Split the rows of a folder, as stored, into batches, and return every processes-th one from batch number rank on.

    The last batch may be smaller. The rows are held in memory.
    """
    shards = shards_in(folder)
    if not shards:
        return []
    rows = pa.concat_tables([pq.read_table(shard.file, partitioning=None) for shard in shards])
    return [rows.slice(start, batch_size) for start in range(rank * batch_size, len(rows), processes * batch_size)]


def padded(rows: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Pad lists of token ids with 0 on the right; returns ids and mask (see encoder.right_padded)."""
    lists = rows.combine_chunks()
    tokens, lengths = (part.to_numpy(zero_copy_only=False) for part in (lists.flatten(), lists.value_lengths()))
    return right_padded(tokens, lengths, 0)
