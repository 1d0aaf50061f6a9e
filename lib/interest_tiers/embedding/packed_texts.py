"""Packs several texts into each row of a batch, with attention masked between them, so that hardly any padding is computed.

Source: Krell et al. 2021, Efficient Sequence Packing without Cross-contamination.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from interest_tiers.embedding.model_folder import Family, ModelFolder, Pooling

#: A row has SHORTEST tokens, or the next multiple of UNIT above the longest text. Longer rows compute more masked attention.
UNIT, SHORTEST = 16, 32

#: model_type of config.json with explicit positions and masks. Others count positions themselves or attend in windows.
PACKABLE: dict[Family, frozenset[str]] = {
    "BERT": frozenset({"bert", "camembert", "electra", "roberta", "xlm-roberta"}),
    "GPT": frozenset({"gemma", "gpt2", "gpt_neox", "llama", "olmo2", "opt", "phi", "qwen2", "qwen3"}),
}


@dataclass(frozen=True)
class PackedTexts:
    """Hold texts packed into rows.

    which:     positions of the packed texts in the input, in packed order
    lengths:   number of tokens of each text, in packed order
    ids:       int64 (rows, tokens), token ids, 0 in padding
    positions: int64 (rows, tokens), position of the token in its text
    texts:     int64 (rows, tokens), number of the text in its row, from 1; 0 in padding
    cells:     positions of all tokens in the flattened rows, text by text
    """

    which: np.ndarray
    lengths: np.ndarray
    ids: np.ndarray
    positions: np.ndarray
    texts: np.ndarray
    cells: np.ndarray

    def pooled(self, hidden: np.ndarray, pooling: Pooling) -> np.ndarray:
        """Pool the vectors of tokens, (rows, tokens, width), into one per text: float32 (texts, width)."""
        tokens = hidden.reshape(-1, hidden.shape[-1])
        ends = np.cumsum(self.lengths)
        if pooling == "cls":
            vectors: np.ndarray = tokens[self.cells[ends - self.lengths]]
        elif pooling == "lasttoken":
            vectors = tokens[self.cells[ends - 1]]
        else:
            vectors = np.add.reduceat(tokens[self.cells], ends - self.lengths, axis=0) / self.lengths[:, None]
        return vectors.astype(np.float32)


def pack(ids: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[PackedTexts]:
    """Pack texts of one token or more into batches of at most batch_tokens, padding included, or of one longer row."""
    for row_length, rows in _batches([len(of_text) for of_text in ids], batch_tokens):
        yield _packed(ids, rows, row_length)


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[tuple[int, list[list[int]]]]:
    """Yield per batch the length of its rows and the texts of each row: the longest that fits comes next (best fit decreasing)."""
    waiting = defaultdict(list)
    for text, length in enumerate(lengths):
        waiting[length].append(text)
    left = sorted(waiting)

    def row(room: int) -> Iterator[int]:
        while left and left[0] <= room:
            length = left[bisect_right(left, room) - 1]
            room -= length
            yield waiting[length].pop()
            if not waiting[length]:
                left.remove(length)

    while left:
        row_length = max(SHORTEST, -(-left[-1] // UNIT) * UNIT)
        rows: list[list[int]] = []
        while left and (not rows or (len(rows) + 1) * row_length <= batch_tokens):
            rows.append(list(row(row_length)))
        yield row_length, rows


def _packed(ids: Sequence[Sequence[int]], rows: list[list[int]], row_length: int) -> PackedTexts:
    which = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
    lengths = np.array([len(ids[text]) for text in which])
    per_row = np.array([len(row) for row in rows])
    firsts = np.repeat(np.cumsum(per_row) - per_row, per_row)  # the first text in the row of each text
    before = np.cumsum(lengths) - lengths
    starts = np.repeat(np.arange(len(rows)), per_row) * row_length + before - before[firsts]
    positions = np.arange(lengths.sum()) - np.repeat(before, lengths)
    cells = np.repeat(starts, lengths) + positions

    def in_rows(values: np.ndarray) -> np.ndarray:
        filled = np.zeros((len(rows), row_length), dtype=np.int64)
        filled.ravel()[cells] = values
        return filled

    tokens = np.fromiter(chain.from_iterable(ids[text] for text in which), dtype=np.int64, count=len(cells))
    numbers = np.repeat(np.arange(len(which)) - firsts + 1, lengths)
    return PackedTexts(which, lengths, in_rows(tokens), in_rows(positions), in_rows(numbers), cells)


def explain_unpackable(folder: ModelFolder) -> str | None:
    """Explain why texts of a model cannot share rows; None when they can."""
    if json.loads((folder.path / "config.json").read_text(encoding="utf-8")).get("use_sliding_window"):
        return "its config.json has use_sliding_window, and a row has no windows"
    known = PACKABLE[folder.family]
    return None if folder.model_type in known else f"it is a {folder.model_type}, not one of {', '.join(sorted(known))}"
