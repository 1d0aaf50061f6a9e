"""Words for Spark NLP, and the models that it can run."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from interest_tiers.config import Embedding
from interest_tiers.embedding.backends import require_backend
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.embedding.word_pieces import explain_unfit_for_spark_nlp, list_vocabulary, split_words
from interest_tiers.errors import ConfigError
from tests.embedding.folders import MODEL, linked_model, small_gpt


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(read_model_folder(MODEL).path / "tokenizer.json"))


def test_words_are_those_of_the_model() -> None:
    assert split_words(["Crème, 全脂!", "", "  \x00 "], tokenizer()) == ["creme , 全 脂 !", "", ""]
    assert split_words(["a" * 100, "b" * 101], tokenizer()) == ["a" * 100, "b" * 202]


@pytest.mark.slow
@given(st.text(max_size=60))
def test_words_have_the_tokens_of_their_text(text: str) -> None:
    (words,) = split_words([text], tokenizer())
    if not any(special in text for special in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")):
        assert tokenizer().encode(words).ids == tokenizer().encode(text).ids


def changed(kind: str, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = json.loads((read_model_folder(MODEL).path / f"{kind}.json").read_text(encoding="utf-8"))
    change(content)
    return {kind: content}


def test_the_packaged_model_can_be_run() -> None:
    folder = read_model_folder(MODEL)
    assert explain_unfit_for_spark_nlp(folder) is None
    assert list_vocabulary(folder)[101] == "[CLS]"


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("tokenizer", lambda c: c["normalizer"].update(lowercase=False), "it distinguishes words by case or accents"),
        ("tokenizer", lambda c: c["normalizer"].update(strip_accents=False), "it distinguishes words by case or accents"),
        ("tokenizer", lambda c: c["normalizer"].update(type="Lowercase"), "other rules for words than BERT's"),
        ("tokenizer", lambda c: c["model"].update(max_input_chars_per_word=50), "50 for model.max_input_chars_per_word, not 100"),
        ("tokenizer", lambda c: c["model"].update(continuing_subword_prefix="@@"), "'@@' for model.continuing_subword_prefix, not '##'"),
        ("config", lambda c: c.update(pad_token_id=1), "its padding is token 1, not 0"),
    ],
)
def test_a_model_of_other_words_is_refused(tmp_path: Path, kind: str, change: Callable[[dict[str, Any]], object], said: str) -> None:
    folder = linked_model(tmp_path / "other", None, **changed(kind, change))
    with pytest.raises(ConfigError, match=said):
        require_backend(Embedding(model=folder, backend="sparknlp"))


def test_a_gpt_is_refused_for_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot run the model .*: it is a gpt2, not a bert\. Use torch$"):
        require_backend(Embedding(model=small_gpt(tmp_path / "gpt", "mean"), backend="sparknlp"))
