"""Rewrites texts so that Spark NLP's WordPiece tokenizer yields the model's own tokens, and checks which models allow that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from interest_tiers.embedding.model_folder import ModelFolder

#: Longer words are unknown to the model's tokenizer; the limit of Spark NLP is twice as high.
LONGEST_WORD = 100


def explain_unfit_for_spark_nlp(folder: ModelFolder) -> str | None:
    """Explain why Spark NLP's BERT cannot run a model; None when it can."""
    config, tokenizer = (json.loads((folder.path / name).read_text(encoding="utf-8")) for name in ("config.json", "tokenizer.json"))
    kind, model = config["model_type"], tokenizer["model"]
    if kind != "bert":
        return f"it is a {kind}, not a bert"
    if config.get("pad_token_id", 0) != 0:
        return f"its padding is token {config['pad_token_id']}, not 0"
    expected = {"type": "WordPiece", "continuing_subword_prefix": "##", "max_input_chars_per_word": LONGEST_WORD}
    for key, value in expected.items():
        if model.get(key) != value:
            return f"its tokenizer.json has {model.get(key)!r} for model.{key}, not {value!r}"
    return _unfit_words(tokenizer)


def _unfit_words(tokenizer: dict[str, Any]) -> str | None:
    """Explain why words would differ; None when they do not. Spark NLP always strips accents and lowers the case."""
    normalizer, pre_tokenizer = tokenizer.get("normalizer") or {}, tokenizer.get("pre_tokenizer") or {}
    if (normalizer.get("type"), pre_tokenizer.get("type")) != ("BertNormalizer", "BertPreTokenizer"):
        return "its tokenizer.json has other rules for words than BERT's (BertNormalizer, BertPreTokenizer)"
    # Without a setting of its own, strip_accents follows lowercase.
    if not normalizer.get("lowercase") or normalizer.get("strip_accents") is False:
        return "it distinguishes words by case or accents"
    return None


def list_vocabulary(folder: ModelFolder) -> list[str]:
    """List the vocabulary of a WordPiece model in the order of its ids."""
    vocabulary: dict[str, int] = json.loads((folder.path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return sorted(vocabulary, key=vocabulary.__getitem__)


def split_words(texts: Sequence[str], tokenizer: Tokenizer) -> list[str]:
    """Split each text into the tokenizer's words, joined by blanks, which every BERT tokenizer splits alike.

    A word above LONGEST_WORD is doubled, so that it is unknown to Spark NLP as well.
    """
    return [" ".join(_unknown_when_long(word) for word in _words(text, tokenizer)) for text in texts]


def _words(text: str, tokenizer: Tokenizer) -> list[str]:
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))]


def _unknown_when_long(word: str) -> str:
    return word * 2 if len(word) > LONGEST_WORD else word
