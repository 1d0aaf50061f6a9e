"""Processes of a training that are killed outright: it says so, nothing goes on behind its back, and it goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from pyspark.sql import SparkSession

from interest_tiers.errors import TrainingError
from interest_tiers.tiers.tier_training import TierTask
from interest_tiers.training.launcher import run_training
from interest_tiers.training.loop import Trained, TrainingPlan
from tests.tiers.held_training import HELD_STEP, eventually, held_plan_in, undisturbed_plan_in
from tests.tiers.test_tier_training import weights

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def undisturbed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingPlan[TierTask], Trained]:
    plan = undisturbed_plan_in(tmp_path_factory.mktemp("undisturbed"))
    return plan, run_training(spark, plan)


@pytest.fixture(autouse=True)
def _processes_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))


def held_process(folder: Path) -> psutil.Process:
    """The process of a training that is held in mid-epoch."""
    told = folder / "held"
    eventually(told.exists, "the training comes to its step")
    return psutil.Process(int(told.read_text()))


def test_a_worker_that_is_killed_ends_the_job_which_then_goes_on(
    spark: SparkSession, tmp_path: Path, undisturbed: tuple[TrainingPlan[TierTask], Trained]
) -> None:
    plan, (undisturbed_plan, expected) = held_plan_in(tmp_path), undisturbed
    with ThreadPoolExecutor(1) as threads:
        training = threads.submit(run_training, spark, plan)
        held_process(tmp_path).kill()
        with pytest.raises(TrainingError, match=r"process 1 of 2 \(pid \d+\) was killed by SIGKILL.*Rerun to resume") as raised:
            training.result()
    assert str(plan.checkpoints) in str(raised.value)
    resumed = run_training(spark, plan)
    assert resumed.resumed_at == HELD_STEP
    assert resumed.epochs == expected.epochs
    assert weights(plan) == weights(undisturbed_plan)


def test_no_worker_outlives_a_driver_that_is_killed_and_another_driver_goes_on(
    tmp_path: Path, undisturbed: tuple[TrainingPlan[TierTask], Trained]
) -> None:
    """The driver is killed with all that stands between it and its workers: nothing but the workers themselves can end them."""
    undisturbed_plan, _ = undisturbed
    plan = held_plan_in(tmp_path)
    command = [sys.executable, "-m", "tests.tiers.held_training", str(tmp_path)]
    with (tmp_path / "driver.log").open("w") as log:
        driver = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)
        held = held_process(tmp_path)
        launcher = held.parent()
        assert launcher is not None
        workers = launcher.children()
        assert len(workers) == 2
        for process in (psutil.Process(driver.pid), launcher.parent(), launcher):
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
        driver.wait()
        _, alive = psutil.wait_procs(workers, timeout=20)
    for process in alive:
        process.kill()
    assert not alive
    assert [path.name for path in Path(plan.checkpoints).glob("step-*")] == [f"step-{HELD_STEP:09d}"]
    again = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert f"resumed at {HELD_STEP}" in again.stdout
    assert weights(plan) == weights(undisturbed_plan)
