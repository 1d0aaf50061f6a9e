"""Starting the processes of a training: where they run, on what, and whether there is room for them."""

from __future__ import annotations

import io
import re
import shutil
import signal
import sys
from collections import deque
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TextIO

from pyspark.sql import SparkSession

from interest_tiers.errors import ConfigError, DivergedError, TrainingError
from interest_tiers.training.loop import Task, Trained, TrainingPlan, train

#: The port that the processes meet at is looked for and then let go, so that a neighbour may take it first.
PORT_TAKEN, STARTS = re.compile("EADDRINUSE|address already in use", re.IGNORECASE), 3

#: How a process notes that its settings are of no use (see training).
DIVERGED = re.compile(r"process \d+ of \d+ failed with FloatingPointError: ")

#: How torchrun reports a process that a signal ended. It ends the others by SIGTERM itself.
ENDED_BY_SIGNAL = re.compile(r"rank\s*: (?P<rank>\d+) \(local_rank: \d+\)\s*exitcode\s*: -(?P<signal>\d+) \(pid: (?P<pid>\d+)\)")


def require_room(spark: SparkSession, num_processes: int, key: str) -> None:
    """Raise ConfigError where so many processes could not all run at once, before anything is computed for them.

    key: of the config, that says how many.
    """
    if _is_local(spark):
        cards = _local_cards()
        if 0 < cards < num_processes:
            raise ConfigError(f"{key} is {num_processes}, and there are {cards} GPUs: two processes cannot share one")
        return
    conf = spark.sparkContext.getConf()
    if conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        raise ConfigError("training needs all its processes at once, which spark.dynamicAllocation.enabled rules out: set it to false")
    slots = spark.sparkContext.defaultParallelism
    if num_processes > slots:
        raise ConfigError(f"{key} is {num_processes}; the cluster has {slots} task slots: give it more, or ask for fewer")


def run_training(spark: SparkSession, plan: TrainingPlan[Task]) -> Trained:
    """Train by TorchDistributor: in local mode on the driver's machine, else one process per barrier task.

    A process that fails ends the others. Raises TrainingError with its traceback, or with what killed it; DivergedError where the
    loss or the gradient was not a number.
    """
    from pyspark.ml.torch.distributor import TorchDistributor

    is_local = _is_local(spark)
    has_gpu = bool(_local_cards()) if is_local else _task_gpus(spark)
    # In local mode Spark owns no GPU; the processes find the cards themselves.
    distributor = TorchDistributor(plan.settings.num_processes, local_mode=is_local, use_gpu=has_gpu and not is_local)
    ready = replace(plan, device="cuda" if has_gpu else "cpu", threads=_threads(spark, plan.settings.num_processes, is_local))
    for attempt in range(1, STARTS + 1):
        shutil.rmtree(plan.failures, ignore_errors=True)
        printed = _Printed(sys.stdout)
        try:
            with redirect_stdout(printed):
                trained: Trained | None = distributor.run(train, ready)
            assert trained is not None  # what the first process returned
            return trained
        except Exception as error:
            reason = _what_killed(plan, printed.last) or _what_failed(plan) or str(error)
            if DIVERGED.search(reason):
                raise DivergedError(reason) from error
            if attempt == STARTS or not PORT_TAKEN.search(reason):
                raise TrainingError(reason) from error
    raise AssertionError  # the last attempt returns or raises


class _Printed(io.TextIOBase):
    """Passes on what is printed, and keeps the last of it: TorchDistributor prints torchrun's report, and raises an error without it."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out, self._kept = out, deque[str](maxlen=1000)

    def write(self, text: str) -> int:
        self._kept.append(text)
        return self._out.write(text)

    def flush(self) -> None:
        self._out.flush()

    @property
    def last(self) -> str:
        return "".join(self._kept)


def _what_killed(plan: TrainingPlan[Task], said: str) -> str | None:
    """Of a process that was killed, and could say nothing itself."""
    found = [report for report in ENDED_BY_SIGNAL.finditer(said) if int(report["signal"]) != signal.SIGTERM]
    if not found:
        return None
    rank, number, pid = (int(found[0][name]) for name in ("rank", "signal", "pid"))
    name = signal.Signals(number).name
    return (
        f"process {rank} of {plan.settings.num_processes} (pid {pid}) was killed by {name}. A machine without memory kills by SIGKILL: "
        f"if that was it, give it more, or lower batch_size. What the training had reached is in {plan.checkpoints}: start it again "
        "and it goes on from there"
    )


def _what_failed(plan: TrainingPlan[Task]) -> str | None:
    """What the first process that failed said; those that only lost their neighbour fail after it."""
    told = sorted(plan.failures.glob("*"), key=lambda file: file.stat().st_mtime_ns)
    return told[0].read_text(encoding="utf-8") if told else None


def _is_local(spark: SparkSession) -> bool:
    return re.fullmatch(r"local(\[.*\])?", spark.sparkContext.master or "") is not None


def _local_cards() -> int:
    import torch

    return torch.cuda.device_count()


def _task_gpus(spark: SparkSession) -> bool:
    return float(spark.sparkContext.getConf().get("spark.task.resource.gpu.amount", "0") or 0) > 0


def _threads(spark: SparkSession, num_processes: int, is_local: bool) -> int:
    if is_local:
        return max(1, spark.sparkContext.defaultParallelism // num_processes)
    return max(1, int(spark.sparkContext.getConf().get("spark.task.cpus", "1") or 1))
