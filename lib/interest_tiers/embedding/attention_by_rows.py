"""Attention of several short texts at once, for processors with a matrix unit (AMX).

torch computes attention in bf16 by the matrix unit only where the tokens of a row are a multiple of 16, and calls a kernel per row
and head: a row of 8 tokens costs three times as much per token as four such texts in a row of 32 with a mask between them. On other
processors and in fp32 nothing is gained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from math import gcd
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

#: Tokens of a row: a multiple of UNIT, at least SHORTEST, and at most LONGEST where texts share it, since each then meets all.
UNIT, SHORTEST, LONGEST = 16, 32, 128


def texts_per_row(tokens: int) -> int:
    """How many texts of so many tokens each share a row; 1 where they cannot."""
    texts = UNIT // gcd(tokens, UNIT)
    if texts * tokens < SHORTEST:
        texts *= 2
    return texts if texts * tokens <= LONGEST else 1


def fitting_length(tokens: int, limit: int) -> int:
    """The least length from tokens on, within limit, of which whole texts fill rows; tokens itself where there is none."""
    return next((length for length in range(tokens, limit + 1) if length * texts_per_row(length) % UNIT == 0), tokens)


def last_hidden_state(model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, limit: int) -> torch.Tensor:
    """What a model of transformers makes of token ids (texts, tokens) and a mask: (texts, tokens, width), but for rounding as by itself.

    limit: the positions that the model has.
    """
    n_texts, tokens = ids.shape
    length = fitting_length(tokens, limit)
    texts = texts_per_row(length)
    # Filled up on the right by tokens and by texts that are masked.
    filled = [pad(given, (0, length - tokens, 0, -n_texts % texts)) for given in (ids, mask)]
    with _SharedRows(texts) if texts > 1 else nullcontext():
        hidden: torch.Tensor = model(input_ids=filled[0], attention_mask=filled[1]).last_hidden_state
    return hidden[:n_texts, :tokens]


class _SharedRows(TorchFunctionMode):
    """While it is entered, torch's attention puts so many texts that follow each other into a row; only a mask is made anew."""

    def __init__(self, texts: int) -> None:
        super().__init__()
        self._texts = texts

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call = self._attention if func is scaled_dot_product_attention else func
        return call(*args, **(kwargs or {}))

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> torch.Tensor:
        """As scaled_dot_product_attention of a text with itself: (texts, heads, tokens, width)."""
        n_texts, heads, tokens, width = query.shape
        mask = self._mask(query, attn_mask, is_causal)
        rows = scaled_dot_product_attention(self._rows(query), self._rows(key), self._rows(value), mask, dropout_p, **options)
        return rows.transpose(1, 2).reshape(n_texts, tokens, heads, width).transpose(1, 2)

    def _rows(self, texts: torch.Tensor) -> torch.Tensor:
        n_texts, heads, tokens, width = texts.shape
        return texts.transpose(1, 2).reshape(n_texts // self._texts, self._texts * tokens, heads, width).transpose(1, 2)

    def _mask(self, query: torch.Tensor, given: torch.Tensor | None, is_causal: bool) -> torch.Tensor:
        """What is added to the products of a row: what is given for a text with itself, nothing passes between texts."""
        n_texts, _, tokens, _ = query.shape
        closed = torch.finfo(query.dtype).min
        own = query.new_zeros(1, 1, tokens, tokens) if given is None else given
        if own.dtype == torch.bool:
            own = query.new_zeros(own.shape).masked_fill_(~own, closed)
        if is_causal:
            own = own.masked_fill(~torch.ones(tokens, tokens, dtype=torch.bool).tril(), closed)
        own = own.expand(n_texts, -1, tokens, tokens).unflatten(0, (-1, self._texts))
        rows, _, heads = own.shape[:3]
        mask = query.new_full((rows, heads, self._texts, tokens, self._texts, tokens), closed)
        mask.diagonal(dim1=2, dim2=4).copy_(own.permute(0, 2, 3, 4, 1))
        return mask.flatten(4, 5).flatten(2, 3)
