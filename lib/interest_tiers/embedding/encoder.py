"""Sentence encoders: texts to vectors of L2 norm 1, from the model folders of model_folder; here by torch.

Runs on Python workers; it knows nothing of Spark.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from interest_tiers.config import Precision
from interest_tiers.embedding.model_folder import ModelFolder, Pooling, read_model_folder

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Vectors:
    """vectors: float32 (texts, width), each of L2 norm 1. is_cut: whether a text was longer than the limit."""

    vectors: np.ndarray
    is_cut: np.ndarray


@dataclass(frozen=True)
class TokenIds:
    """ids: the tokens of each text, the special ones among them. is_cut: whether a text had more than the limit."""

    ids: list[list[int]]
    is_cut: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)


class Encoder(ABC):
    """A model and its tokenizer, loaded once; an engine says how a batch goes through the network."""

    def __init__(self, folder: ModelFolder, max_tokens: int) -> None:
        self._folder = folder
        self._tokenizer = TextTokenizer(folder, max_tokens)

    def encode(self, texts: Sequence[str], batch_tokens: int) -> Vectors:
        """Embed texts in batches of so many tokens, padding included; order is kept.

        Padding is masked in attention and in pooling, so a text's vector does not depend on its neighbours
        beyond rounding.
        """
        tokens = self._tokenizer(texts)
        vectors = np.empty((len(texts), self._folder.width), dtype=np.float32)
        for which, embedded in self._batches(tokens, batch_tokens):
            vectors[which] = embedded
        return Vectors(vectors, tokens.is_cut)

    @abstractmethod
    def _batches(self, tokens: TokenIds, batch_tokens: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Which texts, each once, and their vectors: float32 (texts, width), each of L2 norm 1."""


class PaddedEncoder(Encoder):
    """Texts of alike length meet in a batch, each in a row of its own."""

    def _batches(self, tokens: TokenIds, batch_tokens: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for which in token_batches(tokens.lengths, batch_tokens):
            yield which, self._encode_batch([tokens.ids[text] for text in which])

    @abstractmethod
    def _encode_batch(self, ids: list[list[int]]) -> np.ndarray:
        """The vectors of the token ids of texts."""


class SentenceEncoder(PaddedEncoder):
    """Embed texts by torch.

    precision: of weights and activations; decide_precision turns auto into one of them. Pooling and scaling are always in fp32.
    """

    def __init__(self, model: str, max_tokens: int, device: str, threads: int, precision: Precision = "fp32") -> None:
        import torch
        from transformers import AutoModel

        super().__init__(read_model_folder(model), max_tokens)
        torch.set_num_threads(threads)
        self._device = device
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self._model = AutoModel.from_pretrained(self._folder.path, trust_remote_code=False, use_safetensors=True, dtype=dtype)
        self._model.eval().to(device)

    def _encode_batch(self, ids: list[list[int]]) -> np.ndarray:
        """On a GPU that has not the memory, in halves: other workers may share it."""
        import torch

        try:
            return self._forward(ids)
        except torch.OutOfMemoryError:
            if len(ids) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(ids) // 2
        return np.concatenate([self._encode_batch(ids[:half]), self._encode_batch(ids[half:])])

    def _forward(self, ids: list[list[int]]) -> np.ndarray:
        import torch

        padded, mask = (torch.from_numpy(array).to(self._device) for array in self._tokenizer.padded(ids))
        with torch.inference_mode():
            hidden = self._model(input_ids=padded, attention_mask=mask).last_hidden_state
            vectors: np.ndarray = torch.nn.functional.normalize(pooled(hidden, mask, self._folder.pooling), dim=1).cpu().numpy()
        return vectors


class TextTokenizer:
    """Texts to token ids, as the model folder says, and batches of them to rectangles."""

    def __init__(self, folder: ModelFolder, max_tokens: int) -> None:
        from transformers import AutoTokenizer

        self._tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=False)
        self._folder = folder
        self.max_tokens = min(max_tokens, folder.max_tokens)
        # What fills a row is masked everywhere, so any id will do where the model has none for it, as in the GPT family.
        self._padding = next((i for i in (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id) if i is not None), 0)

    def __call__(self, texts: Sequence[str]) -> TokenIds:
        prepared = self.prepared(texts)
        # One token more than the limit tells that a text is cut, at the cost of one pass for nearly all.
        ids = self._ids(prepared, self.max_tokens + 1)
        is_cut = np.array([len(of_text) > self.max_tokens for of_text in ids], dtype=bool)
        cut = np.flatnonzero(is_cut)
        if cut.size:
            for row, shorter in zip(cut, self._ids([prepared[row] for row in cut], self.max_tokens), strict=True):
                ids[row] = shorter
        return TokenIds(ids, is_cut)

    def padded(self, ids: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of each text as right_padded has them."""
        lengths = np.array([len(of_text) for of_text in ids])
        tokens = np.fromiter(chain.from_iterable(ids), dtype=np.int64, count=int(lengths.sum()))
        return right_padded(tokens, lengths, self._padding)

    @property
    def rules(self) -> Tokenizer:
        """What the model folder says of words and tokens."""
        return self._tokenizer.backend_tokenizer

    def prepared(self, texts: Iterable[str]) -> list[str]:
        """The texts with the model's prompt, and in lower case where it asks for that."""
        return [self._prepared(text) for text in texts]

    def _prepared(self, text: str) -> str:
        stripped = text.strip()
        return self._folder.prompt + (stripped.lower() if self._folder.lower_case else stripped)

    def _ids(self, texts: list[str], limit: int) -> list[list[int]]:
        if not texts:
            return []
        ids: list[list[int]] = self._tokenizer(
            texts, truncation=True, max_length=limit, padding=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
        )["input_ids"]
        # The empty text has no token at all in the GPT family, and a vector is wanted of it too.
        return [of_text or [self._padding] for of_text in ids]


def right_padded(tokens: np.ndarray, lengths: np.ndarray, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and their mask, int64 (texts, longest); padding stands on the right, so positions stay as they are.

    tokens: of all texts, one after the other. lengths: tokens of each text.
    """
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    ids = np.full(mask.shape, padding, dtype=np.int64)
    ids[mask] = tokens
    return ids, mask.astype(np.int64)


def pooled(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """One vector per text, float32 (texts, width), from those of its tokens (texts, tokens, width); padding stands on the right."""
    import torch

    if pooling == "cls":
        return hidden[:, 0].float()
    if pooling == "lasttoken":  # by a product, which every exporter of graphs knows
        mask = torch.arange(mask.shape[1], device=mask.device) == mask.sum(dim=1, keepdim=True) - 1
    weights = mask.unsqueeze(-1).float()
    return (hidden.float() * weights).sum(dim=1) / weights.sum(dim=1)


def token_batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Positions of texts, longest first, in batches whose longest text times size stays within batch_tokens."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size
