"""The search for settings, on a J that has one smallest place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from interest_tiers.config import TierTraining
from interest_tiers.tiers.search import searched, write_found

SETTINGS = TierTraining(num_processes=2, batch_size=4096, learning_rate=0.001, dropout=0.5)


def judged(settings: TierTraining, number: int) -> float:
    return 0.3 + (settings.dropout - 0.2) ** 2 + 0.01 * abs(settings.layers - 2)


def test_the_settings_of_the_config_come_first_and_better_ones_are_found(tmp_path: Path) -> None:
    seen: list[TierTraining] = []
    found = searched(SETTINGS, 12, tmp_path / "trials.log", lambda settings, number: (seen.append(settings), judged(settings, number))[1])
    assert seen[0] == SETTINGS
    assert len(seen) == found.n_trials == 12
    assert found.given_j == pytest.approx(0.3 + 0.09 + 0.01)
    assert found.best_j == pytest.approx(min(judged(settings, 0) for settings in seen))
    assert found.best_j < found.given_j
    assert all(settings.batch_size % settings.num_processes == 0 for settings in seen)
    # What is told to a person is a config, with those settings.
    write_found(tmp_path / "found" / "day.yaml", found)
    said = yaml.safe_load((tmp_path / "found" / "day.yaml").read_text(encoding="utf-8"))
    assert judged(TierTraining(num_processes=2, **said["tiers"]["training"]), 0) == pytest.approx(found.best_j)
    assert f"--set tiers.training.layers={found.best['layers']}" in found.overrides()


def test_one_seed_tries_the_same(tmp_path: Path) -> None:
    assert searched(SETTINGS, 5, tmp_path / "one.log", judged) == searched(SETTINGS, 5, tmp_path / "other.log", judged)


def test_a_search_that_was_killed_goes_on(tmp_path: Path) -> None:
    tried: list[dict[str, object]] = []

    def breaks(settings: TierTraining, number: int) -> float:
        if len(tried) == 3:
            tried.append(settings.model_dump())
            raise KeyboardInterrupt
        tried.append(settings.model_dump())
        return judged(settings, number)

    with pytest.raises(KeyboardInterrupt):
        searched(SETTINGS, 6, tmp_path / "trials.log", breaks)
    again: list[dict[str, object]] = []
    found = searched(SETTINGS, 6, tmp_path / "trials.log", lambda s, number: (again.append(s.model_dump()), judged(s, number))[1])
    assert found.n_trials == 6
    assert len(again) == 3
    assert again[0] == tried[3]  # what was broken off is tried again
