"""A training that comes to a halt at one step until it is killed, and a driver of its own that runs it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interest_tiers.spark import session
from interest_tiers.tiers.tier_training import TierTask
from interest_tiers.training.launcher import run_training
from interest_tiers.training.loop import Rows, TrainingPlan
from tests.conftest import LIGHT_SETTINGS
from tests.tiers.test_tier_training import SETTINGS, plan_in

#: Within the second of three epochs of eight steps.
HELD_STEP = 13
PROCESSES = 2
LONGEST_WAIT = 120.0


@dataclass(frozen=True)
class HeldRows:
    """Says at one step which process this is, and goes no further; a training started again is not held."""

    of_task: Rows
    told: Path

    def rows(self, step: int) -> Any:
        if step == HELD_STEP and not self.told.exists():
            new = self.told.with_suffix(".new")
            new.write_text(str(os.getpid()), encoding="utf-8")
            new.rename(self.told)
            signal.pause()
        return self.of_task.rows(step)


@dataclass(frozen=True)
class HeldTask(TierTask):
    """A task whose last process is held."""

    def training_rows(self, rank: int, processes: int, epoch_steps: int) -> Any:
        rows = super().training_rows(rank, processes, epoch_steps)
        return HeldRows(rows, Path(self.training).with_name("held")) if rank == processes - 1 else rows


def undisturbed_plan_in(folder: Path) -> TrainingPlan[TierTask]:
    return plan_in(folder, SETTINGS.model_copy(update={"num_processes": PROCESSES, "checkpoint_steps": 1}))


def held_plan_in(folder: Path) -> TrainingPlan[TierTask]:
    plan = undisturbed_plan_in(folder)
    return replace(plan, task=HeldTask(**vars(plan.task)))


def eventually(found: Callable[[], Any], what: str) -> Any:
    """The first answer that is something."""
    end = time.monotonic() + LONGEST_WAIT
    while not (answer := found()):
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {LONGEST_WAIT:.0f} s")
        time.sleep(0.05)
    return answer


def main(folder: Path) -> None:
    """A driver that trains, and says where it started."""
    settings = session.packaged_settings() | LIGHT_SETTINGS
    session.packaged_settings = lambda: settings
    trained = run_training(session.build_session("held training"), held_plan_in(folder))
    print(f"resumed at {trained.resumed_at}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
