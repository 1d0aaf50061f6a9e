"""Reads Spark's event log: how many jobs ran, how long none did, and what the tasks used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

SHORT_SECONDS = 0.1


@dataclass(frozen=True)
class Profile:
    """Spark's work within a span of time.

    short_jobs:   jobs below SHORT_SECONDS
    idle_seconds: during which no job ran: planning, commits, training, Python
    """

    jobs: int
    short_jobs: int
    idle_seconds: float
    task_cpu_seconds: float
    gc_seconds: float
    shuffled_bytes: int


@dataclass(frozen=True)
class _Task:
    launched: float
    cpu_seconds: float
    gc_seconds: float
    shuffled_bytes: int


def read_profile(log: Path, started: Mapping[str, datetime]) -> dict[str, Profile]:
    """Profile a run, whole (all) and by stage. started: when each stage began; it ends where the next begins."""
    jobs: dict[int, tuple[float, float]] = {}
    submitted: dict[int, float] = {}
    tasks: list[_Task] = []
    last = 0.0
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            kind = event["Event"]
            if kind == "SparkListenerJobStart":
                submitted[event["Job ID"]] = event["Submission Time"] / 1000
            elif kind == "SparkListenerJobEnd":
                jobs[event["Job ID"]] = (submitted[event["Job ID"]], event["Completion Time"] / 1000)
                last = max(last, event["Completion Time"] / 1000)
            elif kind == "SparkListenerTaskEnd" and event.get("Task Metrics"):
                metrics = event["Task Metrics"]
                tasks.append(
                    _Task(
                        event["Task Info"]["Launch Time"] / 1000, metrics["Executor CPU Time"] / 1e9, metrics["JVM GC Time"] / 1e3,
                        metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"],
                    )
                )  # fmt: skip
    starts = [(name, moment.timestamp()) for name, moment in started.items()]
    ends = [start for _, start in starts[1:]] + [last]
    spans = {"all": (starts[0][1], last)} | {name: (start, end) for (name, start), end in zip(starts, ends, strict=True)}
    return {name: _profile(start, end, list(jobs.values()), tasks) for name, (start, end) in spans.items()}


def _profile(start: float, end: float, jobs: list[tuple[float, float]], tasks: list[_Task]) -> Profile:
    within = sorted(job for job in jobs if start <= job[0] < end)
    busy, reached = 0.0, start
    for begin, finish in within:
        busy += max(0.0, finish - max(begin, reached))
        reached = max(reached, finish)
    used = [task for task in tasks if start <= task.launched < end]
    short = sum(1 for begin, finish in within if finish - begin < SHORT_SECONDS)
    return Profile(
        len(within),
        short,
        round(max(0.0, end - start - busy), 1),
        round(sum(task.cpu_seconds for task in used), 1),
        round(sum(task.gc_seconds for task in used), 1),
        sum(task.shuffled_bytes for task in used),
    )
