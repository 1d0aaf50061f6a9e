"""Texts that share rows attend to themselves alone, and become what they become by themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModel

from interest_tiers.embedding import attention_by_rows, encoder
from interest_tiers.embedding.attention_by_rows import LONGEST, UNIT, fitting_length, last_hidden_state, texts_per_row
from interest_tiers.embedding.encoder import SentenceEncoder
from interest_tiers.embedding.model_folder import read_model_folder
from tests.embedding.folders import MODEL, small_gpt

TEXTS, HEADS, TOKENS, WIDTH = 6, 2, 5, 4


def products(seed: int) -> list[torch.Tensor]:
    """query, key and value, laid out in memory as models have them."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(TEXTS, TOKENS, HEADS, WIDTH, generator=draw).transpose(1, 2) for _ in range(3)]


def masks() -> dict[str, torch.Tensor | None]:
    """Of texts of one to five tokens, the last of which has none, as models give them."""
    lengths = torch.tensor([5, 3, 1, 4, 2, 0])
    is_open = (torch.arange(TOKENS) < lengths[:, None])[:, None, None, :]
    added = torch.zeros(is_open.shape).masked_fill(~is_open, torch.finfo(torch.float32).min)
    by_head = added + torch.arange(HEADS)[:, None, None] * torch.eye(TOKENS)
    return {"none": None, "bool": is_open, "added": added.expand(TEXTS, 1, TOKENS, TOKENS), "one by head": by_head}


@pytest.mark.parametrize("texts", [1, 2, 3, 6])
@pytest.mark.parametrize("given_mask", ["none", "bool", "added", "one by head"])
def test_attention_of_texts_that_share_a_row_is_that_of_each_alone(texts: int, given_mask: str) -> None:
    mask = masks()[given_mask]
    expected = scaled_dot_product_attention(*products(1), attn_mask=mask)
    with attention_by_rows._SharedRows(texts):
        got = torch.nn.functional.scaled_dot_product_attention(*products(1), attn_mask=mask)
    has_tokens = slice(None) if mask is None else slice(-1)  # of a text without tokens nothing is asked
    torch.testing.assert_close(got[has_tokens], expected[has_tokens])
    assert got.shape == expected.shape


def test_a_text_that_looks_back_only_does_so_in_a_row_too() -> None:
    query, key, value = products(2)
    expected = scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3)
    with attention_by_rows._SharedRows(3):
        got = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3)
    torch.testing.assert_close(got, expected)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 600), st.integers(0, 600))
def test_rows_are_multiples_of_what_the_unit_takes(tokens: int, further: int) -> None:
    limit = tokens + further
    length = fitting_length(tokens, limit)
    row = length * texts_per_row(length)
    assert tokens <= length <= limit
    assert texts_per_row(length) == 1 or row <= LONGEST
    if limit >= -(-tokens // UNIT) * UNIT:  # there is room to fill up
        assert row % UNIT == 0
        assert length - tokens < UNIT
    else:
        assert row % UNIT == 0 or length == tokens


@pytest.mark.parametrize(
    ("tokens", "length", "texts"), [(1, 1, 32), (7, 7, 16), (8, 8, 4), (9, 10, 8), (16, 16, 2), (20, 20, 4), (90, 96, 1), (250, 256, 1)]
)
def test_how_texts_fill_rows(tokens: int, length: int, texts: int) -> None:
    assert (fitting_length(tokens, 512), texts_per_row(length)) == (length, texts)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"bert": str(read_model_folder(MODEL).path), "gpt": small_gpt(tmp_path_factory.mktemp("gpt") / "mean", "mean")}


@pytest.mark.parametrize("family", ["bert", "gpt"])
@pytest.mark.parametrize("longest", [1, 3, 9, 17, 64])
@pytest.mark.parametrize("is_padded", [True, False])
def test_a_model_makes_the_same_of_texts_that_share_rows(folders: dict[str, str], family: str, longest: int, is_padded: bool) -> None:
    model = AutoModel.from_pretrained(folders[family], use_safetensors=True).eval()
    lengths = np.array([longest, longest, max(1, longest - 2), 1, longest] if is_padded else [longest] * 5)
    ids = torch.from_numpy(np.random.default_rng(3).integers(1, 200, (5, longest)))
    mask = torch.from_numpy((np.arange(longest) < lengths[:, None]).astype(np.int64))
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
        got = last_hidden_state(model, ids, mask, limit=64)
    assert got.shape == expected.shape
    torch.testing.assert_close(got[mask.bool()], expected[mask.bool()], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("has_unit", [True, False])
def test_vectors_of_a_processor_with_a_matrix_unit_are_exact_enough(monkeypatch: pytest.MonkeyPatch, has_unit: bool) -> None:
    texts = ["milk", "", "whole milk 2 %", "word " * 40, "a cordless power drill with two batteries", "\u5168\u8102\u725b\u4e73"] * 3
    exact = SentenceEncoder(MODEL, 256, "cpu", threads=2, precision="fp32").encode(texts, 1024).vectors
    asked: list[torch.Size] = []
    monkeypatch.setattr(encoder, "has_matrix_unit", lambda: has_unit)
    monkeypatch.setattr(attention_by_rows, "last_hidden_state", lambda *of: asked.append(of[1].shape) or last_hidden_state(*of))
    for batch_tokens in (8, 100, 1024):
        quick = SentenceEncoder(MODEL, 256, "cpu", threads=2, precision="bf16").encode(texts, batch_tokens).vectors
        assert (quick * exact).sum(axis=1).min() > 0.999
    assert bool(asked) == has_unit
