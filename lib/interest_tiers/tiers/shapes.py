"""The values that networks of tiers, their training and their predictions share. Without torch, so that the driver can load them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Channels of an event-day in a sequence: log of its age, log of the days since the event-day before it, its weight, whether it is of
#: the interest itself (1) or of a similar one (0), whether it exists (1) or pads a shorter sequence (0).
SEQUENCE_CHANNELS = 5


@dataclass(frozen=True)
class NetworkShape:
    """What a network is built from, besides its weights.

    kind: mlp, lstm, transformer or bert. n_features: before scaling. missing: positions of features that may be missing.
    width, layers, dropout: of the dense layers of each member. members: stacks of dense layers.
    sequence_length: event-days, for lstm and transformer. encoder: folder of the language model, for bert.
    """

    kind: str
    n_features: int
    missing: tuple[int, ...]
    width: int
    layers: int
    dropout: float
    members: int
    sequence_length: int = 0
    encoder: str | None = None


@dataclass(frozen=True)
class Scaling:
    """Mean, deviation and bounds of every feature after signed_log, over the training rows.

    missing: positions of features that are missing in some rows.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    missing: tuple[int, ...]


@dataclass(frozen=True)
class RowBatch:
    """Rows as a network reads them.

    features:  float32 (rows, features), nan where missing
    sequences: float32 (rows, length, SEQUENCE_CHANNELS); length 0 where the network reads none
    tokens:    int64 (rows, length); length 0 where the network reads none
    label:     int64 (rows), positions in TIERS
    weight:    float32 (rows)
    """

    features: np.ndarray
    sequences: np.ndarray
    tokens: np.ndarray
    label: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def take(self, order: np.ndarray | slice) -> RowBatch:
        """Select rows."""
        return RowBatch(self.features[order], self.sequences[order], self.tokens[order], self.label[order], self.weight[order])

    @staticmethod
    def join(parts: Sequence[RowBatch]) -> RowBatch:
        """Concatenate batches."""
        if len(parts) == 1:
            return parts[0]
        columns = ("features", "sequences", "tokens", "label", "weight")
        return RowBatch(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))
