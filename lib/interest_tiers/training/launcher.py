"""Starts the processes of a training: on the driver's machine or on the cluster, on CPUs or GPUs."""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import signal
import sys
import time
from collections import deque
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TextIO

from pyspark.sql import SparkSession

from interest_tiers.errors import ConfigError, DivergedError, TrainingError
from interest_tiers.spark.workers import runs_locally
from interest_tiers.training.loop import LOG, Task, Trained, TrainingPlan, train

#: TorchDistributor finds a free port and releases it before the processes use it, so that another program may take it first.
PORT_TAKEN, STARTS = re.compile("EADDRINUSE|address already in use", re.IGNORECASE), 3

#: How a training on a cluster fails where an executor dies: Spark does not repeat a barrier stage whose results it collects.
#: A process that fails by itself reports that first; only one whose peer vanished fails first by its connection.
LOST_EXECUTOR = re.compile("ExecutorLostFailure|Connection closed by peer|Connection reset by peer|Broken pipe")

#: How a process reports that its settings diverge (see loop).
DIVERGED = re.compile(r"process \d+ of \d+ failed with FloatingPointError: ")

#: How torchrun reports a process that a signal killed. It ends the others by SIGTERM.
ENDED_BY_SIGNAL = re.compile(r"rank\s*: (?P<rank>\d+) \(local_rank: \d+\)\s*exitcode\s*: -(?P<signal>\d+) \(pid: (?P<pid>\d+)\)")


#: Seconds to wait for task slots: executors register after the session has started, and replace those that died.
SLOT_SECONDS = 60.0

#: How the first process reports an epoch (see loop).
EPOCH = re.compile(r"epoch \d+/\d+ ")


def check_processes(spark: SparkSession, num_processes: int, key: str) -> None:
    """Raise ConfigError where so many processes could not all run at once. Needs no data, so that a preflight can call it.

    key: of the config, that sets num_processes.
    """
    if runs_locally(spark):
        cards = _local_cards()
        if 0 < cards < num_processes:
            raise ConfigError(f"{key} is {num_processes}, and there are {cards} GPUs: two processes cannot share one")
        return
    if _is_dynamic(spark):
        if num_processes > 1:
            raise ConfigError(
                f"{key} is {num_processes}: processes that train together need their task slots at once, which "
                "spark.dynamicAllocation.enabled rules out. Set it to false, or set num_processes to 1 to train on the driver"
            )
        return
    deadline = time.monotonic() + SLOT_SECONDS
    while num_processes > (slots := spark.sparkContext.defaultParallelism):
        if time.monotonic() >= deadline:
            raise ConfigError(f"{key} is {num_processes}; the cluster has {slots} task slots: give it more, or ask for fewer")
        time.sleep(0.5)


def run_training(spark: SparkSession, plan: TrainingPlan[Task]) -> Trained:
    """Train by TorchDistributor: on the driver's machine in local mode, else one process per barrier task.

    A single process trains on the driver also where executors come and go (dynamic allocation). A process that fails ends the others.
    Where an executor is lost, the training starts again from its last checkpoint.
    Raises TrainingError with its traceback, or with the signal that killed it; DivergedError where the loss or the gradient was not a
    number.
    """
    from pyspark.ml.torch.distributor import TorchDistributor

    on_driver = runs_locally(spark) or (plan.settings.num_processes == 1 and _is_dynamic(spark))
    has_gpu = bool(_local_cards()) if on_driver else _task_gpus(spark)
    # On the driver Spark assigns no GPU; the processes find the cards themselves.
    distributor = TorchDistributor(plan.settings.num_processes, local_mode=on_driver, use_gpu=has_gpu and not on_driver)
    ready = replace(plan, device="cuda" if has_gpu else "cpu", threads=_threads(spark, plan.settings.num_processes, on_driver))
    for attempt in range(1, STARTS + 1):
        shutil.rmtree(plan.failures, ignore_errors=True)
        output = _Output(sys.stdout)
        try:
            with redirect_stdout(output):
                trained: Trained | None = distributor.run(train, ready)
            assert trained is not None  # what the first process returned
            return trained
        except Exception as error:
            reason = _find_signal(plan, output.last) or _read_failure(plan) or str(error)
            if DIVERGED.search(reason):
                raise DivergedError(reason) from error
            is_lost = not on_driver and LOST_EXECUTOR.search(reason) is not None
            if attempt == STARTS or not (is_lost or PORT_TAKEN.search(reason)):
                raise TrainingError(reason) from error
            if is_lost:
                LOG.warning("an executor was lost: the training starts again from its last checkpoint in %s", plan.checkpoints)
    raise AssertionError  # the last attempt returns or raises


class _Output(io.TextIOBase):
    """Passes on what the processes print, epochs to the log, and keeps the last of it.

    TorchDistributor prints torchrun's report, and raises an error without it.
    """

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out, self._kept, self._line = out, deque[str](maxlen=1000), ""

    def write(self, text: str) -> int:
        self._kept.append(text)
        *lines, self._line = f"{self._line}{text}".split("\n")
        for line in lines:
            # Where nobody set up a log, epochs are printed as they come.
            if EPOCH.match(line) and LOG.hasHandlers() and LOG.isEnabledFor(logging.INFO):
                LOG.info("%s", line)
            else:
                self._out.write(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        self._out.flush()

    @property
    def last(self) -> str:
        return "".join(self._kept)


def _find_signal(plan: TrainingPlan[Task], report: str) -> str | None:
    """Describe a process that was killed and could not report anything itself; None where torchrun reports none."""
    found = [match for match in ENDED_BY_SIGNAL.finditer(report) if int(match["signal"]) != signal.SIGTERM]
    if not found:
        return None
    rank, number, pid = (int(found[0][name]) for name in ("rank", "signal", "pid"))
    name = signal.Signals(number).name
    return (
        f"process {rank} of {plan.settings.num_processes} (pid {pid}) was killed by {name}. For SIGKILL the cause is usually a lack of "
        f"memory: add memory or lower batch_size. Rerun to resume from {plan.checkpoints}"
    )


def _read_failure(plan: TrainingPlan[Task]) -> str | None:
    """Read the error of the process that failed first; the others fail after it because they lost it."""
    failures = sorted(plan.failures.glob("*"), key=lambda file: file.stat().st_mtime_ns)
    return failures[0].read_text(encoding="utf-8") if failures else None


def _is_dynamic(spark: SparkSession) -> bool:
    return spark.sparkContext.getConf().get("spark.dynamicAllocation.enabled", "false") == "true"


def _local_cards() -> int:
    import torch

    return torch.cuda.device_count()


def _task_gpus(spark: SparkSession) -> bool:
    return float(spark.sparkContext.getConf().get("spark.task.resource.gpu.amount", "0") or 0) > 0


def _threads(spark: SparkSession, num_processes: int, on_driver: bool) -> int:
    if runs_locally(spark):
        return max(1, spark.sparkContext.defaultParallelism // num_processes)
    if on_driver:
        return os.cpu_count() or 1
    return max(1, int(spark.sparkContext.getConf().get("spark.task.cpus", "1") or 1))
