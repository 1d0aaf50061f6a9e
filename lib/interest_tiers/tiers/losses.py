"""Losses of a tier network, one per row.

scores: (rows, 3). tier: (rows,), position of the label in TIERS. tier_weights: (3,).
"""

from __future__ import annotations

import torch
from torch import nn

from interest_tiers.config import TIERS


def brier(scores: torch.Tensor, tier: torch.Tensor, tier_weights: torch.Tensor) -> torch.Tensor:
    """Compute J of a row: the sum over tiers of weight × (y - p)², y one-hot (Brier 1950)."""
    return ((_one_hot(tier) - torch.softmax(scores, dim=1)) ** 2 * tier_weights).sum(dim=1)


def cross_entropy(scores: torch.Tensor, tier: torch.Tensor, tier_weights: torch.Tensor) -> torch.Tensor:
    """Compute -ln p of the label, times the weight of the label."""
    return nn.functional.cross_entropy(scores, tier, reduction="none") * tier_weights[tier]


def ordered(scores: torch.Tensor, tier: torch.Tensor, tier_weights: torch.Tensor) -> torch.Tensor:
    """Compute the ranked probability score (Epstein 1969), times the weight of the label.

    It is the sum over the bounds between tiers of (y - p)²: y is 1 if the label is above the bound, else 0; p is its probability.
    So predicting marginal for core costs more than predicting secondary for core.
    """
    predicted, true = (torch.cumsum(p, dim=1)[:, :-1] for p in (torch.softmax(scores, dim=1), _one_hot(tier)))
    return ((true - predicted) ** 2).sum(dim=1) * tier_weights[tier]


def _one_hot(tier: torch.Tensor) -> torch.Tensor:
    return nn.functional.one_hot(tier, len(TIERS)).float()


LOSSES = {"brier": brier, "cross_entropy": cross_entropy, "ordered": ordered}
