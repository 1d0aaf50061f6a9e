"""The search for settings, on a J that has one smallest place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from interest_tiers.config import TierTraining
from interest_tiers.errors import DivergedError, TrainingError
from interest_tiers.tiers.search import search_settings, write_result

SETTINGS = TierTraining(num_processes=2, batch_size=4096, learning_rate=0.001, dropout=0.5)
LARGEST = 4096


def judged(settings: TierTraining) -> float:
    return 0.3 + (settings.dropout - 0.2) ** 2 + 0.01 * abs(settings.layers - 2)


def test_the_settings_of_the_config_come_first_and_better_ones_are_found(tmp_path: Path) -> None:
    seen: list[TierTraining] = []
    found = search_settings(SETTINGS, LARGEST, 12, tmp_path / "trials.log", lambda settings: (seen.append(settings), judged(settings))[1])
    assert seen[0] == SETTINGS
    assert len(seen) == found.n_trials == 12
    assert found.configured_j == pytest.approx(0.3 + 0.09 + 0.01)
    assert found.best_j == pytest.approx(min(judged(settings) for settings in seen))
    assert found.configured_j is not None and found.best_j < found.configured_j
    assert all(settings.batch_size % settings.num_processes == 0 for settings in seen)
    # What is told to a person is a config, with those settings.
    write_result(tmp_path / "found" / "day.yaml", found)
    said = yaml.safe_load((tmp_path / "found" / "day.yaml").read_text(encoding="utf-8"))
    assert judged(TierTraining(num_processes=2, **said["tiers"]["training"])) == pytest.approx(found.best_j)
    assert f"--set tiers.training.layers={found.best['layers']}" in found.overrides()


def test_batches_that_the_training_would_not_take_are_not_tried(tmp_path: Path) -> None:
    seen: list[TierTraining] = []
    given = SETTINGS.model_copy(update={"batch_size": 600})
    search_settings(given, 1100, 12, tmp_path / "trials.log", lambda settings: (seen.append(settings), judged(settings))[1])
    assert {settings.batch_size for settings in seen} == {512, 600, 1024}


def test_one_seed_tries_the_same(tmp_path: Path) -> None:
    one, other = (search_settings(SETTINGS, LARGEST, 5, tmp_path / name, judged) for name in ("one.log", "other.log"))
    assert one == other


def test_a_search_that_was_killed_goes_on(tmp_path: Path) -> None:
    tried: list[dict[str, object]] = []

    def breaks(settings: TierTraining) -> float:
        if len(tried) == 3:
            tried.append(settings.model_dump())
            raise KeyboardInterrupt
        tried.append(settings.model_dump())
        return judged(settings)

    with pytest.raises(KeyboardInterrupt):
        search_settings(SETTINGS, LARGEST, 6, tmp_path / "trials.log", breaks)
    again: list[dict[str, object]] = []
    found = search_settings(SETTINGS, LARGEST, 6, tmp_path / "trials.log", lambda s: (again.append(s.model_dump()), judged(s))[1])
    assert found.n_trials == 6
    assert len(again) == 3
    assert again[0] == tried[3]  # what was broken off is tried again


def test_settings_that_diverge_are_no_end_of_the_search(tmp_path: Path) -> None:
    tried: list[float] = []

    def diverges(settings: TierTraining) -> float:
        tried.append(settings.learning_rate)
        if settings.learning_rate >= 0.001:
            raise DivergedError("the loss is not a number")
        return judged(settings)

    found = search_settings(SETTINGS, LARGEST, 12, tmp_path / "trials.log", diverges)
    assert len(tried) == found.n_trials == 12
    assert found.n_diverged == sum(rate >= 0.001 for rate in tried)
    assert 1 <= found.n_diverged < 12
    assert found.best["learning_rate"] < 0.001
    assert found.configured_j is None
    summary = f"best of 12 trials, of which {found.n_diverged} diverged; with the settings of the config diverged"
    assert found.summary() == f"J of held-out users {found.best_j:.4f}, {summary}"
    # Asked again, what is over is not tried again.
    assert search_settings(SETTINGS, LARGEST, 12, tmp_path / "trials.log", diverges) == found
    assert len(tried) == 12


def test_a_search_in_which_all_diverges_says_so(tmp_path: Path) -> None:
    def diverges(settings: TierTraining) -> float:
        raise DivergedError("the loss is not a number")

    with pytest.raises(TrainingError, match="all 2 trials diverged: lower"):
        search_settings(SETTINGS, LARGEST, 2, tmp_path / "trials.log", diverges)


def test_a_fault_ends_the_search(tmp_path: Path) -> None:
    def fails(settings: TierTraining) -> float:
        raise TrainingError("process 0 of 1 was killed")

    with pytest.raises(TrainingError, match="was killed"):
        search_settings(SETTINGS, LARGEST, 2, tmp_path / "trials.log", fails)


def test_a_killed_search_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    search_settings(SETTINGS, LARGEST, 3, tmp_path / "trials.log", judged)
    three = SETTINGS.model_copy(update={"num_processes": 3, "batch_size": 3072})
    found = search_settings(three, LARGEST, 3, tmp_path / "trials.log", judged)
    assert found.best["batch_size"] % 3 == 0
