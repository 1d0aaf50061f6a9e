"""A training that is broken off before one of its steps."""

from __future__ import annotations

from typing import Any

import pytest

from interest_tiers.training import loop as training
from interest_tiers.training.loop import TrainingPlan, train


def killed_before(step: int, plan: TrainingPlan[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until a step is due."""
    of_training = training._Training._step

    def dies(self: Any, number: int) -> float:
        if number == step:
            raise KeyboardInterrupt
        return of_training(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "_step", dies)
        with pytest.raises(KeyboardInterrupt):
            train(plan)
