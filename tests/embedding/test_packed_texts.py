"""Texts that stand in one row: where their tokens are, and that each becomes what it becomes alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel

from interest_tiers.embedding import packed_texts
from interest_tiers.embedding.export import _packed
from interest_tiers.embedding.model_folder import FAMILIES, Pooling, read_model_folder
from interest_tiers.embedding.openvino_encoder import build_inputs
from interest_tiers.embedding.packed_texts import PACKABLE, SHORTEST, UNIT, explain_unpackable, pack
from tests.embedding.folders import MODEL, small_gpt, with_new_transformers

SIZE = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "intermediate_size": 64, "max_position_embeddings": 80, "pad_token_id": 1,
}  # fmt: skip
GPT2_SIZE = {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 80}


def test_each_row_takes_the_longest_text_that_fits_until_none_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_texts, "UNIT", 2)
    monkeypatch.setattr(packed_texts, "SHORTEST", 4)
    (packed,) = pack([[1], [2, 2, 2], [3, 3], [4, 4, 4, 4, 4], [5]], batch_tokens=12)
    assert packed.which.tolist() == [3, 4, 1, 2, 0]
    assert packed.lengths.tolist() == [5, 1, 3, 2, 1]
    assert packed.ids.tolist() == [[4, 4, 4, 4, 4, 5], [2, 2, 2, 3, 3, 1]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 4, 0], [0, 1, 2, 0, 1, 0]]
    assert packed.texts.tolist() == [[1, 1, 1, 1, 1, 2], [1, 1, 1, 2, 2, 3]]
    assert packed.cells.tolist() == list(range(12))


def test_a_batch_has_rows_of_one_length_and_at_most_so_many_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_texts, "UNIT", 2)
    monkeypatch.setattr(packed_texts, "SHORTEST", 4)
    batches = list(pack([[1] * 9, [2] * 3, [3] * 3, [4] * 3], batch_tokens=8))
    assert [packed.which.tolist() for packed in batches] == [[0], [3, 2], [1]]
    assert [packed.ids.tolist() for packed in batches] == [[[1] * 9 + [0]], [[4, 4, 4, 0], [3, 3, 3, 0]], [[2, 2, 2, 0]]]
    assert [packed.cells.tolist() for packed in batches] == [list(range(9)), [0, 1, 2, 4, 5, 6], [0, 1, 2]]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 900))
def test_every_text_stands_once_whole_and_by_itself(lengths: list[int], batch_tokens: int) -> None:
    ids = [[1000 * text + place + 1 for place in range(length)] for text, length in enumerate(lengths)]
    seen: list[int] = []
    for packed in pack(ids, batch_tokens):
        seen += packed.which.tolist()
        own = [ids[text] for text in packed.which]
        assert packed.ids.ravel()[packed.cells].tolist() == [token for of_text in own for token in of_text]
        assert packed.positions.ravel()[packed.cells].tolist() == [place for of_text in own for place in range(len(of_text))]
        assert (packed.texts > 0).sum() == packed.lengths.sum() == len(set(packed.cells))
        parts = {(row, int(number)) for row, numbers in enumerate(packed.texts) for number in numbers[numbers > 0]}
        assert len(parts) == len(own)
        rows, tokens = packed.ids.shape
        assert tokens % UNIT == 0
        assert tokens >= SHORTEST
        assert tokens == SHORTEST or tokens - packed.lengths.max() < UNIT
        assert rows == 1 or rows * tokens <= batch_tokens
    assert sorted(seen) == list(range(len(lengths)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_little_is_filled_up(seed: int) -> None:
    lengths = np.random.default_rng(seed).geometric(1 / 12, 2000).clip(3, 200)
    cells = sum(packed.ids.size for packed in pack([[1] * length for length in lengths], 768))
    assert cells < 1.08 * lengths.sum()


@pytest.mark.parametrize(
    ("pooling", "expected"), [("mean", [[2, 20], [4.5, 45]]), ("cls", [[1, 10], [4, 40]]), ("lasttoken", [[3, 30], [5, 50]])]
)
def test_a_text_is_pooled_from_its_own_tokens(pooling: Pooling, expected: list[list[float]]) -> None:
    (packed,) = pack([[7, 7, 7], [7, 7]], 768)
    hidden = np.full((*packed.ids.shape, 2), 1e9, dtype=np.float32)
    hidden.reshape(-1, 2)[packed.cells] = [[1, 10], [2, 20], [3, 30], [4, 40], [5, 50]]
    vectors = packed.pooled(hidden, pooling)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == expected


@with_new_transformers
@pytest.mark.parametrize("kind", sorted(PACKABLE["BERT"] | PACKABLE["GPT"]))
def test_a_text_becomes_in_a_row_what_it_becomes_alone(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(3)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **(GPT2_SIZE if kind == "gpt2" else SIZE))).eval()
    for weights in model.parameters():
        if weights.dim() > 1:  # so that attention and positions weigh something
            torch.nn.init.normal_(weights, std=0.3)
    model.save_pretrained(tmp_path, safe_serialization=True)
    shutil.copy(read_model_folder(MODEL).path / "tokenizer.json", tmp_path)
    folder = read_model_folder(str(tmp_path))
    draw = np.random.default_rng(4)
    ids = [draw.integers(3, 100, length).tolist() for length in (30, 22, 20, 17, 9, 5, 1)]
    (packed,) = pack(ids, 768)
    with torch.inference_mode():
        hidden = _packed(folder)(*(torch.from_numpy(rows) for rows in build_inputs(packed, folder.first_position).values()))
        alone = [model(input_ids=torch.tensor([ids[text]])).last_hidden_state[0] for text in packed.which]
    torch.testing.assert_close(hidden.flatten(0, 1)[packed.cells], torch.cat(alone), rtol=1e-3, atol=1e-3)
    assert packed.ids.shape[0] < len(ids)


def test_only_known_families_share_rows(tmp_path: Path) -> None:
    assert all(PACKABLE[family] < FAMILIES[family] for family in FAMILIES)
    assert explain_unpackable(read_model_folder(small_gpt(tmp_path / "gpt", "mean"))) is None
    folder = read_model_folder(small_gpt(tmp_path / "windows", "mean"))
    config = folder.path / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"gpt2"', '"mistral"'), encoding="utf-8")
    assert explain_unpackable(read_model_folder(str(folder.path))) == f"it is a mistral, not one of {', '.join(sorted(PACKABLE['GPT']))}"
    sliding = read_model_folder(small_gpt(tmp_path / "sliding", "mean"))
    said = json.loads((sliding.path / "config.json").read_text(encoding="utf-8"))
    (sliding.path / "config.json").write_text(json.dumps(said | {"use_sliding_window": True}), encoding="utf-8")
    assert explain_unpackable(sliding) == "its config.json has use_sliding_window, and a row has no windows"
