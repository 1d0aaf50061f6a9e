"""The folder of a trained model: complete, with its record, and put in place of the one before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from interest_tiers.config import GptNetwork
from interest_tiers.embedding.encoder import SentenceEncoder
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.encoder_training.trained_folder import RECORD, complete, write_record, write_start
from tests.embedding.folders import MODEL, small_gpt

RECORDED = {
    "name": "shop", "objective": "contrastive", "base": "model-1", "as_of": "2024-06-01", "data": {"trained on": "before 2024-05-18"},
    "tables": {"items": 3}, "examples": {"training": 10}, "metrics": {"recall@100, model=base": 0.25}, "parameters": {"seed": 17},
    "epochs": [{"epoch": 1, "step": 5, "loss": 2.5, "validation_loss": None}], "best_epoch": 1, "code_version": "0.1.0", "run_id": "r1",
}  # fmt: skip


def weights_of(model: str, folder: Path) -> Path:
    """A folder that has the weights alone, as a training writes it."""
    folder.mkdir()
    source = read_model_folder(model).path
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


def test_a_folder_takes_tokens_and_pooling_over(tmp_path: Path) -> None:
    folder = weights_of(MODEL, tmp_path / "model")
    complete(folder, MODEL)
    texts = ["whole milk", "", "word " * 400]
    found, expected = (SentenceEncoder(model, 128, "cpu", 1, "fp32").encode(texts, 1000).vectors for model in (str(folder), MODEL))
    assert np.array_equal(found, expected)
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    assert np.allclose(reference.encode(texts[:1])[0], expected[0], atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "lasttoken"])
def test_a_pooling_is_kept(tmp_path: Path, pooling: str) -> None:
    (tmp_path / "start").mkdir()
    start = small_gpt(tmp_path / "start", pooling)
    folder = weights_of(start, tmp_path / "model")
    complete(folder, start)
    assert read_model_folder(str(folder)).pooling == pooling


def test_tokens_are_learnt_from_the_given_texts_alone(tmp_path: Path) -> None:
    network = GptNetwork(layers=1, heads=2, width=16, positions=24, vocabulary=400)
    write_start(tmp_path / "gpt", ["strawberry jam"] * 20 + ["coding"] * 4, network, seed=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "gpt")
    assert tokenizer.tokenize("strawberry jam") == ["strawberry", "Ġjam"]
    assert len(tokenizer.tokenize("coding")) == 6  # stands four times, and makes no token
    config = json.loads((tmp_path / "gpt" / "config.json").read_text())
    assert (config["vocab_size"], config["n_layer"], config["n_head"], config["n_embd"], config["n_positions"]) == (
        len(tokenizer),
        1,
        2,
        16,
        24,
    )
    assert read_model_folder(str(tmp_path / "gpt")).max_tokens == 24
    write_start(tmp_path / "again", ["strawberry jam"] * 20 + ["coding"] * 4, network, seed=1)
    for name in ("tokenizer.json", "model.safetensors"):
        assert (tmp_path / "gpt" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_record_is_kept_whole_and_told_to_a_person(tmp_path: Path) -> None:
    write_record(tmp_path, RECORDED)
    assert json.loads((tmp_path / RECORD).read_text()) == RECORDED
    card = (tmp_path / "README.md").read_text()
    for line in ("| recall@100, model=base | 0.2500 |", "| 1 | 5 | 2.5000 | none |", "| trained on | before 2024-05-18 |", "| items | 3 |"):
        assert line in card.splitlines()
