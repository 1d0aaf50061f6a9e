"""Batches: the same rows at a step whatever the number of processes, and every row once a turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interest_tiers.encoder_training.training_rows import Batches, Shard, padded, shards_in, validation_batches


def write_shards(folder: Path, sizes: list[int], group_rows: int = 10) -> list[Shard]:
    first = 0
    for number, size in enumerate(sizes):
        (folder / f"shard={number}").mkdir(parents=True)
        pq.write_table(pa.table({"id": range(first, first + size)}), folder / f"shard={number}" / "part.parquet", row_group_size=group_rows)
        first += size
    return shards_in(folder)


def ids(rows: pa.Table) -> list[int]:
    return rows["id"].to_pylist()


@pytest.mark.parametrize("processes", [1, 2, 3, 6, 12])
def test_processes_share_the_batch_that_one_would_have(tmp_path: Path, processes: int) -> None:
    """1,001 rows in four uneven shards; three processes and twelve split shards between them."""
    shards = write_shards(tmp_path, [250, 1, 400, 350])
    alone = Batches(shards, 12, seed=3)
    together = [Batches(shards, 12, seed=3, rank=rank, processes=processes) for rank in range(processes)]
    for step in (0, 1, 57, 200):
        parts = [ids(batches.rows(step)) for batches in together]
        assert {len(part) for part in parts} == {12 // processes}
        assert [i for part in parts for i in part] == ids(alone.rows(step))


def test_a_shard_gives_every_row_once_a_turn_and_each_turn_in_another_order(tmp_path: Path) -> None:
    batches = Batches(write_shards(tmp_path, [48]), 8, seed=3)
    turns = [[i for step in range(turn * 6, turn * 6 + 6) for i in ids(batches.rows(step))] for turn in range(2)]
    assert [sorted(turn) for turn in turns] == [list(range(48))] * 2
    assert len({tuple(turn) for turn in [*turns, range(48)]}) == 3
    assert ids(Batches(write_shards(tmp_path / "again", [48]), 8, seed=4).rows(0)) != turns[0][:8]


def test_a_position_is_found_without_the_steps_before_it(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, [37, 45])
    through = Batches(shards, 6, seed=3)
    seen = [ids(through.rows(step)) for step in range(60)]
    assert [ids(Batches(shards, 6, seed=3).rows(step)) for step in (59, 13, 30)] == [seen[59], seen[13], seen[30]]


def test_fewer_rows_than_a_batch_are_read_again(tmp_path: Path) -> None:
    assert sorted(ids(Batches(write_shards(tmp_path, [3]), 6, seed=3).rows(0))) == [0, 0, 1, 1, 2, 2]


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, [20, 20, 20])
    for given, size, processes in (([], 6, 1), (shards, 8, 1), (shards, 6, 4)):
        with pytest.raises(ValueError, match="cannot be split"):
            Batches(given, size, seed=3, processes=processes)


def test_empty_files_are_passed_over(tmp_path: Path) -> None:
    assert [shard.n_rows for shard in write_shards(tmp_path, [20, 0, 5])] == [20, 5]


def test_validation_rows_are_split_whole(tmp_path: Path) -> None:
    write_shards(tmp_path, [23])
    parts = [validation_batches(tmp_path, 5, rank, 2) for rank in (0, 1)]
    assert [[ids(batch) for batch in part] for part in parts] == [
        [[0, 1, 2, 3, 4], [10, 11, 12, 13, 14], [20, 21, 22]],
        [[5, 6, 7, 8, 9], [15, 16, 17, 18, 19]],
    ]
    assert validation_batches(tmp_path / "nothing", 5, 0, 1) == []


def test_padding_stands_on_the_right() -> None:
    tokens, mask = padded(pa.chunked_array([pa.array([[4], [5, 6, 7]]), pa.array([[8, 9]])]))
    assert np.array_equal(tokens, [[4, 0, 0], [5, 6, 7], [8, 9, 0]])
    assert np.array_equal(mask, [[1, 0, 0], [1, 1, 1], [1, 1, 0]])
