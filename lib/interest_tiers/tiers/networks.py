"""The networks that predict the tier of an interest: features, and sequences or texts, to one score per tier.

All end in a softmax over the tiers, calibrated by a scale and an offset per tier that are fitted after the training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from interest_tiers.config import TIERS
from interest_tiers.tiers.shapes import SEQUENCE_CHANNELS, NetworkShape, Scaling

#: Scaled features are clamped to this, so that a few extreme examples do not decide alone.
LARGEST_SCALED = 6.0

#: Scaled features are clamped to so many deviations outside the training range, because data grow from cutoff to cutoff.
FURTHEST_BEYOND = 1.0


class TierNetwork(nn.Module):
    """An ensemble that maps the inputs of a pair to scores, (rows, members, 3).

    features:  (rows, n_features), unscaled; the scaling, fitted on the training rows, is part of the network
    sequences: (rows, length, SEQUENCE_CHANNELS)
    tokens:    (rows, length)

    Features are clamped to one standard deviation outside the training range. Inputs that a kind does not read may be empty.
    The members are stacks of dense layers, each trained separately; their probabilities are averaged.
    Source: Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles, 2017.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    lowest: torch.Tensor
    highest: torch.Tensor
    calibration_scale: torch.Tensor
    calibration_offset: torch.Tensor

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self._shape = shape
        self.register_buffer("mean", torch.zeros(shape.n_features))
        self.register_buffer("deviation", torch.ones(shape.n_features))
        self.register_buffer("lowest", torch.full((shape.n_features,), -LARGEST_SCALED))
        self.register_buffer("highest", torch.full((shape.n_features,), LARGEST_SCALED))
        self.register_buffer("calibration_scale", torch.ones(()))
        self.register_buffer("calibration_offset", torch.zeros(len(TIERS)))
        self.reader = _reader(shape)
        n_inputs = shape.n_features + len(shape.missing) + self.reader.width
        self.members = nn.ModuleList(_dense_layers(shape, n_inputs) for _ in range(shape.members))

    def forward(self, features: torch.Tensor, sequences: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        read = torch.cat([self._scaled(features), self.reader(sequences, tokens)], dim=1)
        return torch.stack([member(read) for member in self.members], dim=1)

    @staticmethod
    def average(scores: torch.Tensor) -> torch.Tensor:
        """Compute ln of the members' mean probabilities, (rows, 3). scores: (rows, members, 3)."""
        return torch.logsumexp(torch.log_softmax(scores.float(), dim=2), dim=1) - math.log(scores.shape[1])

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Compute calibrated probabilities, (rows, 3). scores: see average."""
        return torch.softmax(scores.float() * self.calibration_scale + self.calibration_offset, dim=1)

    def set_scaling(self, scaling: Scaling) -> None:
        """Fix the scaling of the features."""
        mean, deviation, lowest, highest = (
            torch.tensor(of_all, dtype=torch.float64) for of_all in (scaling.mean, scaling.deviation, scaling.lowest, scaling.highest)
        )
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)
        # Nothing was learned from a feature that was constant in training, so it stays constant.
        beyond = ((highest - lowest) / deviation).clamp(max=FURTHEST_BEYOND)
        self.lowest.copy_(((lowest - mean) / deviation - beyond).clamp(min=-LARGEST_SCALED))
        self.highest.copy_(((highest - mean) / deviation + beyond).clamp(max=LARGEST_SCALED))

    def set_calibration(self, scale: float, offset: Sequence[float]) -> None:
        """Fix the calibration. scale: of all scores. offset: of the scores of each tier."""
        self.calibration_scale.fill_(scale)
        self.calibration_offset.copy_(torch.tensor(offset))

    def _scaled(self, features: torch.Tensor) -> torch.Tensor:
        is_missing = torch.isnan(features)
        scaled = ((signed_log(features) - self.mean) / self.deviation).clamp(self.lowest, self.highest)
        known = torch.where(is_missing, torch.zeros_like(scaled), scaled)
        return torch.cat([known, is_missing[:, list(self._shape.missing)].to(known.dtype)], dim=1)


def signed_log(numbers: torch.Tensor) -> torch.Tensor:
    """Compute sign(x) ln(1 + abs(x)), which brings counts, days and amounts to one scale."""
    return torch.sign(numbers) * torch.log1p(torch.abs(numbers))


class _Nothing(nn.Module):
    """Adds nothing to the features."""

    width = 0

    def forward(self, sequences: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return sequences.new_zeros(len(sequences), 0)


class _LstmReader(nn.Module):
    """Computes the last state of an LSTM over the event-days, oldest first (Hochreiter and Schmidhuber 1997)."""

    width = 64

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(SEQUENCE_CHANNELS, self.width, batch_first=True)

    def forward(self, sequences: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(sequences)
        return states[:, -1]


class _TransformerReader(nn.Module):
    """Computes the last position of a causal transformer over the event-days, as in GPT (Radford et al. 2018)."""

    width, layers, heads = 64, 2, 4

    def __init__(self, length: int) -> None:
        super().__init__()
        self.project = nn.Linear(SEQUENCE_CHANNELS, self.width)
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(length, self.width), std=0.02))
        layer = nn.TransformerEncoderLayer(
            self.width, self.heads, 4 * self.width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, self.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(self.width)

    def forward(self, sequences: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        length = sequences.shape[1]
        # Padding is marked by the last channel. A mask would leave rows that attend to nothing.
        causal = torch.ones(length, length, dtype=torch.bool, device=sequences.device).triu(1)
        states = self.encoder(self.project(sequences) + self.positions, mask=causal)
        return self.norm(states[:, -1])


class _TextReader(nn.Module):
    """Computes the mean output of a language model over the texts of the user's items; it is trained with the rest."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        has_weights = any(Path(folder).glob("*.safetensors"))
        arguments: dict[str, Any] = {"trust_remote_code": False}
        self.model = (
            AutoModel.from_pretrained(folder, use_safetensors=True, **arguments)
            if has_weights
            else AutoModel.from_config(config, **arguments)
        )
        self.width: int = config.hidden_size

    def forward(self, sequences: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        # Token ids are stored one higher, so that 0 is no token.
        mask = (tokens > 0).long()
        hidden = self.model(input_ids=(tokens - 1).clamp(min=0), attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(2).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def _reader(shape: NetworkShape) -> Any:
    if shape.kind == "lstm":
        return _LstmReader()
    if shape.kind == "transformer":
        return _TransformerReader(shape.sequence_length)
    if shape.kind == "bert":
        assert shape.encoder is not None  # build_shape sets one for bert
        return _TextReader(shape.encoder)
    return _Nothing()


def _dense_layers(shape: NetworkShape, n_inputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in range(shape.layers):
        size = n_inputs if layer == 0 else shape.width
        layers += [nn.Linear(size, shape.width), nn.LayerNorm(shape.width), nn.GELU(), nn.Dropout(shape.dropout)]
    return nn.Sequential(*layers, nn.Linear(shape.width, len(TIERS)))
