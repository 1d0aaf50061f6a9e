"""Losses by hand, and that they fall towards what came true."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interest_tiers.tiers.losses import LOSSES, brier, cross_entropy, ordered

P = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
SCORES, TIER = torch.log(torch.tensor(P)), torch.tensor([0, 1])
ONES = torch.ones(3, dtype=torch.float64)


def test_by_hand() -> None:
    assert brier(SCORES, TIER, ONES).tolist() == pytest.approx([0.25 + 0.09 + 0.04, 0.01 + 0.64 + 0.49])
    assert cross_entropy(SCORES, TIER, ONES).tolist() == pytest.approx([-np.log(0.5), -np.log(0.2)])
    # Above the first bound: 0.5 of 1, 0.1 of 0; above the second: 0.8 of 1, 0.3 of 1.
    assert ordered(SCORES, TIER, ONES).tolist() == pytest.approx([0.25 + 0.04, 0.01 + 0.49])


def test_weights_of_tiers() -> None:
    weights = torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64)
    assert brier(SCORES, TIER, weights).tolist() == pytest.approx([0.5 + 0.09 + 0.12, 0.02 + 0.64 + 1.47])
    assert cross_entropy(SCORES, TIER, weights).tolist() == pytest.approx([-2 * np.log(0.5), -np.log(0.2)])


def test_the_ordered_loss_tells_a_near_tier_from_a_far_one() -> None:
    """Core came true; all on secondary costs half of all on marginal, which is the same to the other two."""
    near, far = (torch.log(torch.tensor([p])) for p in ([1e-9, 1.0, 1e-9], [1e-9, 1e-9, 1.0]))
    core = torch.tensor([0])
    assert ordered(near, core, torch.ones(3)).item() == pytest.approx(1.0, abs=1e-6)
    assert ordered(far, core, torch.ones(3)).item() == pytest.approx(2.0, abs=1e-6)
    assert brier(near, core, torch.ones(3)).item() == pytest.approx(brier(far, core, torch.ones(3)).item())


@pytest.mark.parametrize("loss", LOSSES)
def test_the_best_guess_of_many_is_how_often_each_came_true(loss: str) -> None:
    """A loss that is no proper score would train probabilities that are none."""
    tier = torch.tensor([0] * 2 + [1] * 3 + [2] * 5)
    scores = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = LOSSES[loss](scores.expand(10, 3), tier, ONES).mean()
        value.backward()
        return value

    optimizer.step(closure)
    assert torch.softmax(scores, 0).tolist() == pytest.approx([0.2, 0.3, 0.5], abs=1e-3)
