"""What of a BERT's tokenizer Spark NLP can do, and how texts must be put so that it does it as the model's own would."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from interest_tiers.embedding.model_folder import ModelFolder

#: The tokenizer of the model takes a longer word for unknown, Spark NLP one twice as long.
LONGEST_WORD = 100


def unfit_for_spark_nlp(folder: ModelFolder) -> str | None:
    """Why Spark NLP's BERT cannot run a model; None where it can."""
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
    """Spark NLP takes accents from letters always, so a model that keeps them, or the case, would get other words."""
    normalizer, pre_tokenizer = tokenizer.get("normalizer") or {}, tokenizer.get("pre_tokenizer") or {}
    if (normalizer.get("type"), pre_tokenizer.get("type")) != ("BertNormalizer", "BertPreTokenizer"):
        return "its tokenizer.json has other rules for words than BERT's (BertNormalizer, BertPreTokenizer)"
    # Accents go with the case where nothing is said of them.
    if not normalizer.get("lowercase") or normalizer.get("strip_accents") is False:
        return "it tells words apart by case or accents"
    return None


def spark_nlp_vocabulary(folder: ModelFolder) -> list[str]:
    """The vocabulary in the order of its ids, of a model that Spark NLP can run."""
    vocabulary: dict[str, int] = json.loads((folder.path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return sorted(vocabulary, key=vocabulary.__getitem__)


def as_words(texts: Sequence[str], tokenizer: Tokenizer) -> list[str]:
    """The words of each text as the tokenizer makes them, apart by blanks, which all tokenizers of BERT understand alike.

    What is unknown for its length is made twice as long, so that it is unknown to Spark NLP as well.
    """
    return [" ".join(_unknown_when_long(word) for word in _words(text, tokenizer)) for text in texts]


def _words(text: str, tokenizer: Tokenizer) -> list[str]:
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))]


def _unknown_when_long(word: str) -> str:
    return word * 2 if len(word) > LONGEST_WORD else word
