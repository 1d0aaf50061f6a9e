"""The rows of a training in Parquet, and how a process of the training reads them, by petastorm.

Nothing but numbers is in them. Runs on the processes of the training; it knows nothing of Spark.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from interest_tiers.tiers.networks import SEQUENCE_CHANNELS

#: Columns: all features of a row in a list, the place of the tier in TIERS, the row's weight, and what some networks read beside features.
FEATURES, LABEL, WEIGHT, SEQUENCE, TOKENS = "features", "label", "weight", "sequence", "tokens"

#: Row groups that are read ahead of a training on a GPU.
READ_AHEAD = 4


@dataclass(frozen=True)
class RowBatch:
    """features: float32 (rows, features), nan where missing. sequences: float32 (rows, length, channels), tokens: int64 (rows, length);
    length is 0 where the network reads none. label: int64 (rows). weight: float32 (rows)."""

    features: np.ndarray
    sequences: np.ndarray
    tokens: np.ndarray
    label: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def take(self, order: np.ndarray | slice) -> RowBatch:
        return RowBatch(self.features[order], self.sequences[order], self.tokens[order], self.label[order], self.weight[order])

    @staticmethod
    def joined(parts: Sequence[RowBatch]) -> RowBatch:
        if len(parts) == 1:
            return parts[0]
        columns = ("features", "sequences", "tokens", "label", "weight")
        return RowBatch(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def batch_of(columns: Mapping[str, np.ndarray]) -> RowBatch:
    """A batch from its columns, lists as matrices; of rows without label and weight, whose tiers are to be said, both are 0."""
    n_rows = len(columns[FEATURES])
    sequences = columns.get(SEQUENCE, np.zeros((n_rows, 0), np.float32))
    return RowBatch(
        _writable(columns[FEATURES], np.float32),
        _writable(sequences.reshape(n_rows, -1, SEQUENCE_CHANNELS), np.float32),
        _writable(columns.get(TOKENS, np.zeros((n_rows, 0))), np.int64),
        _writable(columns.get(LABEL, np.zeros(n_rows)), np.int64),
        _writable(columns.get(WEIGHT, np.zeros(n_rows)), np.float32),
    )


def _writable(array: np.ndarray, dtype: type) -> np.ndarray:
    """torch takes no other arrays without a warning; a copy is made of those that are none, and of other types."""
    return np.require(array, dtype, ["W"])


def arrow_batch(record_batch: Any) -> RowBatch:
    """The same of an Arrow batch; its other columns are left out."""
    names = [name for name in (FEATURES, SEQUENCE, TOKENS, LABEL, WEIGHT) if name in record_batch.schema.names]
    return batch_of({name: _matrix(record_batch.column(name)) for name in names})


class PetastormRows:
    """The rows of one process, epoch by epoch: row groups in an order of the epoch, each shuffled.

    Every epoch has a reader of its own, so that a training that goes on at an epoch, or within one, sees what the undisturbed one
    saw. Rows are written in an order by hash, so that a row group is a sample of all.
    """

    def __init__(self, folder: str, n_rows: int, seed: int, rank: int, processes: int, epoch_steps: int) -> None:
        """n_rows: of this process at every step."""
        self._folder, self._n_rows, self._seed = folder, n_rows, seed
        self._rank, self._processes, self._epoch_steps = rank, processes, epoch_steps
        self._epoch: Iterator[RowBatch] | None = None
        self._next_step = -1

    def rows(self, step: int) -> RowBatch:
        """The rows of this process at a step, 0 for the first; steps in turn are read in one go."""
        epoch, place = divmod(step, self._epoch_steps)
        if self._epoch is None or step != self._next_step or place == 0:
            self._epoch = self._batches(epoch)
            for _ in range(place):
                next(self._epoch)
        self._next_step = step + 1
        return next(self._epoch)

    def _batches(self, epoch: int) -> Iterator[RowBatch]:
        held: list[RowBatch] = []
        n_held = 0
        for group in self._groups(epoch):
            held.append(group)
            n_held += len(group)
            if n_held < self._n_rows:
                continue
            rows = RowBatch.joined(held)
            for start in range(0, n_held - self._n_rows + 1, self._n_rows):
                yield rows.take(slice(start, start + self._n_rows))
            held = [rows.take(slice(n_held - n_held % self._n_rows, n_held))]
            n_held %= self._n_rows

    def _groups(self, epoch: int) -> Iterator[RowBatch]:
        """Row groups without end, each in an order of its own."""
        from petastorm import make_batch_reader

        # What it calls of pyarrow is deprecated there and works in the version that is pinned.
        warnings.filterwarnings("ignore", category=FutureWarning, module="petastorm")
        # petastorm takes 0 for no seed.
        seed = 1 + self._seed + 1000 * epoch
        order = np.random.default_rng([self._seed, epoch, self._rank])
        reader = make_batch_reader(
            Path(self._folder).as_uri(),
            # One worker: several would hand their row groups over in the order in which they happen to be ready.
            workers_count=1,
            # A thread that reads beside the training would take the cores that train; dummy reads in the training's turn.
            reader_pool_type="thread" if torch.cuda.is_available() else "dummy",
            results_queue_size=READ_AHEAD,
            shuffle_row_groups=True,
            seed=seed,
            num_epochs=None,
            cur_shard=self._rank,
            shard_count=self._processes,
        )
        try:
            for group in reader:
                rows = batch_of(group._asdict())
                yield rows.take(order.permutation(len(rows)))
        finally:
            reader.stop()
            reader.join()


def stored_batches(folder: str | Path, batch_rows: int, rank: int = 0, processes: int = 1) -> Iterator[RowBatch]:
    """All rows of a folder in batches, as stored; of several processes each has every so-many-th batch."""
    number = 0
    for file in sorted(Path(folder).rglob("*.parquet")):
        with pq.ParquetFile(file) as parquet:
            for record_batch in parquet.iter_batches(batch_rows):
                if number % processes == rank:
                    yield arrow_batch(record_batch)
                number += 1


def _matrix(column: Any) -> np.ndarray:
    """A column as numpy has it; lists of one length as a matrix."""
    if hasattr(column, "flatten") and hasattr(column, "value_lengths"):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)
