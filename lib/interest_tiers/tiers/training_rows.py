"""Reads the rows of a training from Parquet, in the processes of the training: by petastorm, or by pyarrow where petastorm cannot.

Rows hold only numbers.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from packaging.version import Version

from interest_tiers.tiers.shapes import SEQUENCE_CHANNELS, RowBatch

#: Columns: all features in one list, the tier's position in TIERS, the row's weight, and what some networks read besides features.
FEATURES, LABEL, WEIGHT, SEQUENCE, TOKENS = "features", "label", "weight", "sequence", "tokens"

#: petastorm calls parts of pyarrow that this version no longer has.
TOO_NEW_FOR_PETASTORM = Version("15")

#: Row groups that are prefetched for a training on a GPU.
READ_AHEAD = 4


def reads_by_petastorm() -> bool:
    """Say whether petastorm is installed, and can read with the installed pyarrow."""
    return importlib.util.find_spec("petastorm") is not None and Version(pa.__version__) < TOO_NEW_FOR_PETASTORM


def batch_of(columns: Mapping[str, np.ndarray]) -> RowBatch:
    """Build a batch from columns, lists as matrices. Rows to predict have no label and no weight: both are 0."""
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
    """Copy an array that is read-only or of another type: torch warns of read-only ones."""
    return np.require(array, dtype, ["W"])


def arrow_batch(record_batch: Any) -> RowBatch:
    """Build a batch from an Arrow batch; other columns are ignored."""
    names = [name for name in (FEATURES, SEQUENCE, TOKENS, LABEL, WEIGHT) if name in record_batch.schema.names]
    return batch_of({name: _matrix(record_batch.column(name)) for name in names})


class TrainingRows:
    """The training rows of one process, epoch by epoch: row groups in an order of the epoch, each shuffled.

    Every epoch opens a new reader, so that a resumed training sees the same rows as an uninterrupted one. Rows were written in an
    order by hash, so that a row group is a sample of all rows.
    """

    def __init__(self, folder: str, n_rows: int, seed: int, rank: int, processes: int, epoch_steps: int) -> None:
        """n_rows: rows of this process at every step."""
        self._folder, self._n_rows, self._seed = folder, n_rows, seed
        self._rank, self._processes, self._epoch_steps = rank, processes, epoch_steps
        self._epoch: Iterator[RowBatch] | None = None
        self._next_step = -1

    def rows(self, step: int) -> RowBatch:
        """Return the rows of this process at a step, 0 for the first; consecutive steps share a reader."""
        epoch, step_in_epoch = divmod(step, self._epoch_steps)
        if self._epoch is None or step != self._next_step or step_in_epoch == 0:
            self._epoch = self._batches(epoch)
            for _ in range(step_in_epoch):
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
            rows = RowBatch.join(held)
            for start in range(0, n_held - self._n_rows + 1, self._n_rows):
                yield rows.take(slice(start, start + self._n_rows))
            held = [rows.take(slice(n_held - n_held % self._n_rows, n_held))]
            n_held %= self._n_rows

    def _groups(self, epoch: int) -> Iterator[RowBatch]:
        """Yield row groups without end, each shuffled."""
        order = np.random.default_rng([self._seed, epoch, self._rank])
        for group in self._by_petastorm(epoch) if reads_by_petastorm() else self._by_arrow(epoch):
            yield group.take(order.permutation(len(group)))

    def _by_arrow(self, epoch: int) -> Iterator[RowBatch]:
        """Yield every n-th row group, n processes, turn by turn in an order of its own."""
        files = sorted(Path(self._folder).rglob("*.parquet"))
        every = [(file, group) for file in files for group in range(pq.read_metadata(file).num_row_groups)]
        own = every[self._rank :: self._processes]
        if not own:
            raise ValueError(f"{self._folder} has {len(every)} row groups for {self._processes} processes: use fewer processes")
        order = np.random.default_rng([self._seed, epoch])
        while True:
            for place in order.permutation(len(own)):
                file, group = own[place]
                with pq.ParquetFile(file) as parquet:
                    yield arrow_batch(parquet.read_row_group(group).combine_chunks().to_batches()[0])

    def _by_petastorm(self, epoch: int) -> Iterator[RowBatch]:
        from petastorm import make_batch_reader

        # petastorm calls functions that the pinned pyarrow deprecates but has.
        warnings.filterwarnings("ignore", category=FutureWarning, module="petastorm")
        # petastorm takes 0 for no seed.
        seed = 1 + self._seed + 1000 * epoch
        reader = make_batch_reader(
            Path(self._folder).as_uri(),
            # One worker: several would deliver row groups in the order in which they finish.
            workers_count=1,
            # On a CPU a reading thread would take cores from the training; the dummy pool reads between steps.
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
                yield batch_of(group._asdict())
        finally:
            reader.stop()
            reader.join()


def stored_batches(folder: str | Path, batch_rows: int, rank: int = 0, processes: int = 1) -> Iterator[RowBatch]:
    """Yield all rows of a folder in batches, in stored order; with several processes, every n-th batch."""
    number = 0
    for file in sorted(Path(folder).rglob("*.parquet")):
        with pq.ParquetFile(file) as parquet:
            for record_batch in parquet.iter_batches(batch_rows):
                if number % processes == rank:
                    yield arrow_batch(record_batch)
                number += 1


def stored_columns(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read columns of numbers, in the order of stored_batches."""
    tables = [pq.read_table(file, columns=list(names)) for file in sorted(folder.rglob("*.parquet"))]
    return {name: np.concatenate([table.column(name).to_numpy() for table in tables]) for name in names}


def _matrix(column: Any) -> np.ndarray:
    """Convert a column to numpy, lists of equal length to a matrix."""
    if hasattr(column, "flatten") and hasattr(column, "value_lengths"):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)
