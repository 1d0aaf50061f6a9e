"""The folder of a fine-tuned model: its start, the files that make it embed texts, its record."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from interest_tiers.config import GptNetwork
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.training.leakage import ENCODER_RECORD
from interest_tiers.training.record import write_json, write_model_card

#: The file that a finished model has.
RECORD = ENCODER_RECORD

END_OF_TEXT = "<|endoftext|>"

#: Least frequency of a pair of pieces that becomes a token: what one person wrote once never does.
MIN_FREQUENCY = 5

#: Files that are copied from the base model: they define tokenizer and pooling.
_COPIED = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt",
    "spiece.model", "sentencepiece.bpe.model", "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json",
)  # fmt: skip


def write_start(folder: Path, texts: Iterable[str], network: GptNetwork, seed: int) -> None:
    """Write a GPT of random weights and a byte-level BPE tokenizer trained on these texts."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        texts, vocab_size=network.vocabulary, min_frequency=MIN_FREQUENCY, special_tokens=[END_OF_TEXT], show_progress=False
    )
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), END_OF_TEXT)
    saved = GPT2TokenizerFast(tokenizer_object=tokenizer._tokenizer, model_max_length=network.positions, **special)
    saved.save_pretrained(folder)
    torch.manual_seed(seed)
    end = saved.eos_token_id
    config = GPT2Config(
        vocab_size=len(saved), n_positions=network.positions, n_embd=network.width, n_layer=network.layers, n_head=network.heads,
        bos_token_id=end, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder, safe_serialization=True)


def complete(folder: Path, start: str) -> None:
    """Add to a folder of weights what this project and sentence-transformers need to embed texts."""
    source = read_model_folder(start)
    for name in _COPIED:
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, folder / name)
    if (source.path / "modules.json").is_file():
        for pooling in source.path.glob("*_Pooling"):
            shutil.copytree(pooling, folder / pooling.name, dirs_exist_ok=True)
        return
    (folder / "1_Pooling").mkdir(exist_ok=True)
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": source.width, f"pooling_mode_{_flag(source.pooling)}": True},
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": source.max_tokens, "do_lower_case": source.lower_case})
    write_json(
        folder / "modules.json",
        [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])
        ],
    )
    (folder / "2_Normalize").mkdir(exist_ok=True)


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a training as JSON, and as a model card."""
    write_json(folder / RECORD, record)
    introduction = (
        f"Started from {record['base']}, trained before {record['as_of']} with version {record['code_version']} of interest-tiers "
        f"(run {record['run_id']}). Its vectors are of length 1; `embedding.model` may name this folder, and "
        "sentence-transformers reads it."
    )
    write_model_card(folder, f"{record['name']}: a language model trained on behaviour, {record['objective']}", introduction, record)


def _flag(pooling: str) -> str:
    return {"mean": "mean_tokens", "cls": "cls_token", "lasttoken": "lasttoken"}[pooling]
