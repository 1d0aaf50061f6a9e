"""Sentence encoders, which turn texts into vectors of L2 norm 1: the interface, the tokenizer, and the encoder by torch.

Runs on Python workers and uses no Spark.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from packaging.version import Version

from interest_tiers.config import Precision
from interest_tiers.embedding.model_folder import ModelFolder, Pooling, read_model_folder

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class TokenCounts:
    """Count the tokens of texts, int64 (texts,) each; special tokens and those of the model's prompt are left out.

    n_tokens:  all that were read, at most the limit
    n_unknown: those that the model has no vector for ([UNK])
    n_single:  single letters, into which a tokenizer splits words of scripts and languages that it does not know
    """

    n_tokens: np.ndarray
    n_unknown: np.ndarray
    n_single: np.ndarray


@dataclass(frozen=True)
class Vectors:
    """Hold the vectors of texts.

    vectors: float32 (texts, width), each of L2 norm 1
    is_cut:  bool (texts,), true where a text was longer than the limit
    counts:  of the tokens of each text
    """

    vectors: np.ndarray
    is_cut: np.ndarray
    counts: TokenCounts


@dataclass(frozen=True)
class TokenIds:
    """Hold the tokens of texts.

    ids:    token ids of each text, special tokens included
    is_cut: bool (texts,), true where a text had more tokens than the limit
    """

    ids: list[list[int]]
    is_cut: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)


class Encoder(ABC):
    """Embed texts by a model and its tokenizer, loaded once; a subclass runs the network by its engine."""

    def __init__(self, folder: ModelFolder, max_tokens: int) -> None:
        self._folder = folder
        self._tokenizer = TextTokenizer(folder, max_tokens)

    def encode(self, texts: Sequence[str], batch_tokens: int) -> Vectors:
        """Embed texts in batches of at most batch_tokens tokens, padding included, and keep their order.

        Padding is masked in attention and in pooling, so other texts of a batch change a vector by rounding only.
        """
        tokens = self._tokenizer(texts)
        vectors = np.empty((len(texts), self._folder.width), dtype=np.float32)
        for which, embedded in self._batches(tokens, batch_tokens):
            vectors[which] = embedded
        return Vectors(vectors, tokens.is_cut, self._tokenizer.count(tokens))

    @abstractmethod
    def _batches(self, tokens: TokenIds, batch_tokens: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield positions of texts and their vectors, float32 (texts, width) of L2 norm 1; each text occurs once."""


class SentenceEncoder(Encoder):
    """Embed texts by torch, in padded batches of texts of similar length.

    precision: of weights and activations; decide_precision replaces auto. Pooling and scaling are always in fp32.
    """

    def __init__(self, model: str, max_tokens: int, device: str, threads: int, precision: Precision = "fp32") -> None:
        import torch
        from transformers import AutoModel

        super().__init__(read_model_folder(model), max_tokens)
        torch.set_num_threads(threads)
        self._device = device
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self._model = AutoModel.from_pretrained(self._folder.path, trust_remote_code=False, use_safetensors=True, **_dtype_argument(dtype))
        self._model.eval().to(device)

    def _batches(self, tokens: TokenIds, batch_tokens: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for which in token_batches(tokens.lengths, batch_tokens):
            yield which, self._encode_batch([tokens.ids[text] for text in which])

    def _encode_batch(self, ids: list[list[int]]) -> np.ndarray:
        """Embed a batch, in halves when GPU memory runs out: other workers may share the GPU."""
        import torch

        try:
            return self._forward(ids)
        except torch.cuda.OutOfMemoryError:
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


def _dtype_argument(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Return the argument of from_pretrained that sets the type of the weights; its name changed with transformers 4.56."""
    import transformers

    return {"dtype" if Version(transformers.__version__) >= Version("4.56") else "torch_dtype": dtype}


class TextTokenizer:
    """Tokenise texts by the rules of a model folder, and pad batches of tokens."""

    def __init__(self, folder: ModelFolder, max_tokens: int) -> None:
        from transformers import AutoTokenizer

        self._tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=False)
        self._folder = folder
        self.max_tokens = min(max_tokens, folder.max_tokens)
        # Padding is masked everywhere, so any id works for models without a padding token, as in the GPT family.
        self._padding = next((i for i in (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id) if i is not None), 0)

    def __call__(self, texts: Sequence[str]) -> TokenIds:
        prepared = self.prepared(texts)
        # One token above the limit shows that a text is too long; nearly all texts need a single pass.
        ids = self._ids(prepared, self.max_tokens + 1)
        is_cut = np.array([len(of_text) > self.max_tokens for of_text in ids], dtype=bool)
        cut = np.flatnonzero(is_cut)
        if cut.size:
            for row, shorter in zip(cut, self._ids([prepared[row] for row in cut], self.max_tokens), strict=True):
                ids[row] = shorter
        return TokenIds(ids, is_cut)

    def count(self, tokens: TokenIds) -> TokenCounts:
        """Count what the model can read of each text. tokens: of texts, see __call__."""
        ends = np.cumsum(tokens.lengths)
        ids = np.fromiter(chain.from_iterable(tokens.ids), dtype=np.int64, count=int(tokens.lengths.sum()))

        def of_texts(kind: np.ndarray) -> np.ndarray:
            running = np.concatenate([[0], np.cumsum(kind[ids])])
            return running[ends] - running[ends - tokens.lengths]

        is_word, is_unknown, is_single = self._kinds_of_tokens
        n_tokens = np.maximum(of_texts(is_word) - self._prompt_length, 0)
        return TokenCounts(n_tokens, np.minimum(of_texts(is_unknown), n_tokens), np.minimum(of_texts(is_single), n_tokens))

    @cached_property
    def _kinds_of_tokens(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Say of every id whether it is no special token, whether it is unknown, and whether it is a single letter."""
        vocabulary = self._tokenizer.get_vocab()
        size = max([*vocabulary.values(), self._padding]) + 1
        is_word, is_unknown, is_single = np.ones(size, dtype=np.int64), np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        # In the GPT family the unknown token is the end of a text: there no text has an unknown token.
        ends = {i for i in (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id) if i is not None}
        unknown = {self._tokenizer.unk_token_id} - {None} - ends
        is_word[[i for i in {*self._tokenizer.all_special_ids, self._padding} - unknown if i < size]] = 0
        is_unknown[list(unknown)] = 1
        is_single[[i for token, i in vocabulary.items() if _is_letter(token)]] = 1
        return is_word, is_unknown, is_single * is_word

    @cached_property
    def _prompt_length(self) -> int:
        """The number of tokens of the model's prompt."""
        if not self._folder.prompt:
            return 0
        is_word = self._kinds_of_tokens[0]
        return int(is_word[self._ids([self._folder.prompt], self.max_tokens)[0]].sum())

    def padded(self, ids: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Pad the tokens of each text to the longest; returns ids and mask, see right_padded."""
        lengths = np.array([len(of_text) for of_text in ids])
        tokens = np.fromiter(chain.from_iterable(ids), dtype=np.int64, count=int(lengths.sum()))
        return right_padded(tokens, lengths, self._padding)

    @property
    def rules(self) -> Tokenizer:
        """Return the tokenizer's rules for words and tokens."""
        return self._tokenizer.backend_tokenizer

    def prepared(self, texts: Iterable[str]) -> list[str]:
        """Prepend the model's prompt, and lower the case where the model requires it."""
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
        # In the GPT family an empty text has no token, and it needs a vector too.
        return [of_text or [self._padding] for of_text in ids]


def _is_letter(token: str) -> bool:
    """Say whether a token is one letter, but for the marks of a word's start or continuation."""
    letter = token.removeprefix("##").lstrip("\N{LOWER ONE EIGHTH BLOCK}\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}")
    return len(letter) == 1 and letter.isalpha()


def right_padded(tokens: np.ndarray, lengths: np.ndarray, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad on the right, so that positions do not change.

    tokens:  ids of all texts, concatenated
    lengths: number of tokens of each text
    Returns: ids and mask, both int64 (texts, longest)
    """
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    ids = np.full(mask.shape, padding, dtype=np.int64)
    ids[mask] = tokens
    return ids, mask.astype(np.int64)


def pooled(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pool the vectors of tokens into one vector per text.

    hidden:  (texts, tokens, width), padded on the right
    mask:    (texts, tokens), 1 for tokens and 0 for padding
    Returns: float32 (texts, width)
    """
    import torch

    if pooling == "cls":
        return hidden[:, 0].float()
    if pooling == "lasttoken":  # as a product, which graphs can be exported from
        mask = torch.arange(mask.shape[1], device=mask.device) == mask.sum(dim=1, keepdim=True) - 1
    weights = mask.unsqueeze(-1).float()
    return (hidden.float() * weights).sum(dim=1) / weights.sum(dim=1)


def token_batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Yield positions of texts, longest first, in batches whose size times longest text is at most batch_tokens."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size
