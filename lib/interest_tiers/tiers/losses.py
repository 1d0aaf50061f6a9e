"""What a network of tiers is trained for: the loss of every row, from its scores and the place of its tier in TIERS."""

from __future__ import annotations

import torch
from torch import nn

from interest_tiers.config import TIERS


def brier(scores: torch.Tensor, tier: torch.Tensor, tier_weights: torch.Tensor) -> torch.Tensor:
    """J of a row: sum over tiers of weight × (y - p)², y one-hot (Brier 1950)."""
    return ((_one_hot(tier) - torch.softmax(scores, dim=1)) ** 2 * tier_weights).sum(dim=1)


def cross_entropy(scores: torch.Tensor, tier: torch.Tensor, tier_weights: torch.Tensor) -> torch.Tensor:
    """-ln p of the tier that came true, times its weight."""
    return nn.functional.cross_entropy(scores, tier, reduction="none") * tier_weights[tier]


def ordered(scores: torch.Tensor, tier: torch.Tensor, tier_weights: torch.Tensor) -> torch.Tensor:
    """The ranked probability score (Epstein 1969), times the weight of the tier that came true.

    Sum over the bounds between tiers of (whether it came true above the bound - the probability of that)²: core taken for marginal costs
    more than core taken for secondary.
    """
    said, true = (torch.cumsum(p, dim=1)[:, :-1] for p in (torch.softmax(scores, dim=1), _one_hot(tier)))
    return ((true - said) ** 2).sum(dim=1) * tier_weights[tier]


def _one_hot(tier: torch.Tensor) -> torch.Tensor:
    return nn.functional.one_hot(tier, len(TIERS)).float()


LOSSES = {"brier": brier, "cross_entropy": cross_entropy, "ordered": ordered}
