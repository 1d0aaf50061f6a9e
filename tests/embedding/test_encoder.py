"""The encoder against sentence-transformers, on texts that go wrong elsewhere."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from interest_tiers.embedding.encoder import SentenceEncoder, pooled, token_batches
from interest_tiers.embedding.model_folder import read_model_folder
from tests.embedding.folders import MODEL, MODULES, linked_model, small_gpt

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
    return SentenceEncoder(MODEL, SENTENCE_TRANSFORMERS_LIMIT, "cpu", threads=2, precision="fp32")


@pytest.fixture(scope="module")
def one_by_one(encoder: SentenceEncoder) -> np.ndarray:
    """The vectors of AWKWARD, each embedded alone."""
    return np.vstack([encoder.encode([text], 1024).vectors for text in AWKWARD])


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


@pytest.mark.slow
def test_vectors_are_those_of_sentence_transformers(encoder: SentenceEncoder) -> None:
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer(str(read_model_folder(MODEL).path), device="cpu")
    assert reference.max_seq_length == SENTENCE_TRANSFORMERS_LIMIT
    got = encoder.encode(AWKWARD, 1024)
    assert cosines(got.vectors, reference.encode(AWKWARD)).min() > 0.9999


def test_vectors_of_the_first_token_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer
    folder = linked_model(tmp_path / "cls", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, list(MODULES))
    texts = AWKWARD[3:9]
    got = SentenceEncoder(folder, SENTENCE_TRANSFORMERS_LIMIT, "cpu", threads=2).encode(texts, 1024)
    assert cosines(got.vectors, reference(folder, device="cpu").encode(texts)).min() > 0.9999
    assert np.linalg.norm(got.vectors, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)


def test_vectors_have_the_width_of_the_model_and_length_one(one_by_one: np.ndarray) -> None:
    assert one_by_one.dtype == np.float32
    assert one_by_one.shape == (len(AWKWARD), 384)
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


GPT_LIMIT = 64


@pytest.fixture(scope="module")
def gpt_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("gpt")
    return {pooling: small_gpt(folder / pooling, pooling) for pooling in ("mean", "lasttoken")}


def alone(folder: str, text: str, pooling: str) -> np.ndarray:
    """The vector of a text that transformers gives without any padding, by its tokens or by the one that ends texts."""
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text.strip())["input_ids"][:GPT_LIMIT] or [tokenizer.eos_token_id]
    with torch.inference_mode():
        hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    return hidden.mean(axis=0) if pooling == "mean" else hidden[-1]


@pytest.mark.parametrize("pooling", ["mean", "lasttoken"])
@pytest.mark.parametrize("batch_tokens", [8, 300, 100_000])
def test_a_gpt_gives_each_text_the_vector_that_it_has_alone(gpt_folders: dict[str, str], pooling: str, batch_tokens: int) -> None:
    folder = gpt_folders[pooling]
    got = SentenceEncoder(folder, 128, "cpu", threads=2, precision="fp32").encode(AWKWARD, batch_tokens)
    expected = np.vstack([alone(folder, text, pooling) for text in AWKWARD])
    assert cosines(got.vectors, expected).min() > 0.9999
    assert got.is_cut.tolist() == [len(text.encode()) > 200 for text in AWKWARD]  # two bytes or so are a token


def test_the_prompt_and_lower_case_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    said = {"prompts": {"document": "Passage: "}, "default_prompt_name": "document"}
    lowered = {"max_seq_length": SENTENCE_TRANSFORMERS_LIMIT, "do_lower_case": True}
    folder = linked_model(
        tmp_path / "e5", {"pooling_mode": "mean"}, list(MODULES), config_sentence_transformers=said, sentence_bert_config=lowered
    )
    texts = ["  Whole MILK ", "", "bread"]
    got = SentenceEncoder(folder, SENTENCE_TRANSFORMERS_LIMIT, "cpu", threads=2, precision="fp32").encode(texts, 1024).vectors
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer(folder, device="cpu")
    assert cosines(got, reference.encode(texts)).min() > 0.9999
    without = SentenceEncoder(MODEL, SENTENCE_TRANSFORMERS_LIMIT, "cpu", threads=2, precision="fp32").encode(texts, 1024).vectors
    assert cosines(got, without).max() < 0.999


def test_what_is_fast_is_exact_enough(encoder: SentenceEncoder) -> None:
    exact = encoder.encode(AWKWARD, 1024).vectors
    quick = SentenceEncoder(MODEL, SENTENCE_TRANSFORMERS_LIMIT, "cpu", threads=2, precision="bf16")
    for batch_tokens in (8, 1024):
        assert cosines(quick.encode(AWKWARD, batch_tokens).vectors, exact).min() > 0.999
    assert quick.encode(AWKWARD, 1024).vectors.dtype == np.float32


@pytest.mark.slow
def test_a_batch_too_large_for_the_memory_is_halved(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, sizes = encoder.encode(AWKWARD, 100_000).vectors, []
    forward = SentenceEncoder._forward

    def full_memory(self: SentenceEncoder, ids: list[list[int]]) -> np.ndarray:
        sizes.append(len(ids))
        if len(ids) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, ids)

    monkeypatch.setattr(SentenceEncoder, "_forward", full_memory)
    assert cosines(encoder.encode(AWKWARD, 100_000).vectors, whole).min() > 0.9999
    assert sizes == [15, 7, 3, 4, 8, 4, 4]
    monkeypatch.setattr(SentenceEncoder, "_forward", lambda self, ids: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(["milk"], 1024)


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[4.0, 0.0], [9.0, 9.0], [9.0, 9.0]]], dtype=torch.bfloat16)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert pooled(hidden, mask, "mean").tolist() == [[2.0, 4.0], [4.0, 0.0]]
    assert pooled(hidden, mask, "cls").tolist() == [[1.0, 2.0], [4.0, 0.0]]
    assert pooled(hidden, mask, "lasttoken").tolist() == [[3.0, 6.0], [4.0, 0.0]]


@pytest.mark.parametrize(
    ("text", "n_tokens", "n_unknown", "n_single"),
    [
        ("milk", 1, 0, 0),
        ("x ray of milk", 4, 0, 1),
        ("", 0, 0, 0),
        ("\ue000 \ufffd", 0, 0, 0),  # the tokenizer deletes both
        ("\N{SLICE OF PIZZA}", 1, 1, 0),
        ("milk \N{SLICE OF PIZZA}\N{GUITAR}", 2, 1, 0),
        ("\u3042\u3044", 2, 0, 2),  # two letters of Japanese: one token each
        ("[SEP] [CLS]", 0, 0, 0),
        ("milk " * 2000, SENTENCE_TRANSFORMERS_LIMIT - 2, 0, 0),  # cut, and without the two special tokens
    ],
)
def test_tokens_that_the_model_can_read_are_counted(
    encoder: SentenceEncoder, text: str, n_tokens: int, n_unknown: int, n_single: int
) -> None:
    counts = encoder.encode(["other", text], 1024).counts
    assert (counts.n_tokens[1], counts.n_unknown[1], counts.n_single[1]) == (n_tokens, n_unknown, n_single)


def test_a_model_of_bytes_knows_every_token_but_an_empty_text_has_none(tmp_path: Path) -> None:
    gpt = SentenceEncoder(small_gpt(tmp_path / "gpt", "mean"), 64, "cpu", threads=2, precision="fp32")
    counts = gpt.encode(["milk", "", "\N{SLICE OF PIZZA}"], 1024).counts
    assert counts.n_unknown.tolist() == [0, 0, 0]
    assert (counts.n_tokens > 0).tolist() == [True, False, True]


def test_the_tokens_of_a_prompt_are_none_of_the_text(tmp_path: Path) -> None:
    folder = linked_model(
        tmp_path / "prompt", None, list(MODULES), config_sentence_transformers={"prompts": {"q": "query: "}, "default_prompt_name": "q"}
    )
    counts = SentenceEncoder(folder, 64, "cpu", threads=2, precision="fp32").encode(["milk", "\N{SLICE OF PIZZA}", ""], 1024).counts
    assert (counts.n_tokens.tolist(), counts.n_unknown.tolist()) == ([1, 1, 0], [0, 1, 0])
