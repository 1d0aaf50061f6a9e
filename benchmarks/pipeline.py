"""Measures the whole pipeline on copies of Complete Journey with new households, beside a script that does the same without Spark.

Prints seconds by stage, peak memory of driver and workers, Spark jobs, and how every stage grows with the rows.
`make bench-pipeline` runs it. Each run is a process of its own on a warehouse of its own, networks and back-test included.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks import data
from benchmarks.event_log import Profile, read_profile
from benchmarks.measure import GIBIBYTE
from interest_tiers.spark import session

PROJECT = Path(__file__).parents[1]
CONFIG = PROJECT / "conf" / "complete_journey.yaml"
RESULTS = PROJECT / "benchmarks" / "results" / "pipeline.json"
SECONDS_BETWEEN_SAMPLES = 0.5

#: Goals at a size in million rows: pipeline over the script, wall clock; and of the driver at every size.
RATIO_GOALS = {1.47: 9.0, 14.7: 3.0, 44.0: 1.2}
DRIVER_GIB = 6.0


@dataclass(frozen=True)
class PipelineRun:
    """One run of the pipeline.

    seconds:     from the start of the process to its end
    stages:      seconds by stage
    driver_gib:  peak resident memory of the Python process and its JVM; executors are threads of the JVM in local mode
    workers_gib: peak of all Python workers and training processes together
    profile:     of Spark's event log, whole and by stage
    """

    rows: int
    seconds: float
    stages: dict[str, float]
    driver_gib: float
    workers_gib: float
    profile: dict[str, Profile]


class ProcessTreeMemory(threading.Thread):
    """Watches the resident memory of a process: of itself with its JVM, and of all its other children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root, self.driver, self.workers = psutil.Process(pid), 0, 0

    def run(self) -> None:
        while True:
            driver = workers = 0
            try:
                for process in [self._root, *self._root.children(recursive=True)]:
                    is_driver = process == self._root or process.name().startswith("java")
                    used = process.memory_info().rss
                    driver, workers = (driver + used, workers) if is_driver else (driver, workers + used)
            except psutil.NoSuchProcess:
                if not self._root.is_running():
                    return
                continue  # a worker ended between listing and reading it
            self.driver, self.workers = max(self.driver, driver), max(self.workers, workers)
            time.sleep(SECONDS_BETWEEN_SAMPLES)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    folder = arguments.folder.resolve()
    runs: dict[float, PipelineRun] = {}
    scripts: dict[float, float | None] = {}
    for millions in arguments.sizes:
        transactions = data.transactions(folder, millions)
        if arguments.script is not None:
            scripts[millions] = _run_script(arguments.script.resolve(), transactions, folder)
            print(f"{millions:g} M: the script took {_seconds(scripts[millions])}", flush=True)
        run = _run_pipeline(transactions, folder, arguments.overrides)
        if run is None:
            return 1
        runs[millions] = run
        _print_run(millions, run)
    _write_results(runs, scripts, arguments.overrides)
    print("\n".join([*_growth_lines(runs), *judge_goals(runs, scripts)]))
    print(f"measurements are in {RESULTS.relative_to(PROJECT)}")
    return 0


def judge_goals(runs: dict[float, PipelineRun], scripts: dict[float, float | None]) -> list[str]:
    """Write one line per goal: met or not met. scripts: seconds by size, None where the script did not finish."""
    lines = []
    for millions, run in runs.items():
        seconds, goal = scripts.get(millions), RATIO_GOALS.get(millions)
        if seconds is not None:
            met = "" if goal is None else "met     " if run.seconds / seconds <= goal else "NOT MET "
            bound = "" if goal is None else f" (goal: at most {goal:g})"
            lines.append(f"{met}pipeline over script at {millions:g} M: {run.seconds / seconds:.1f}{bound}")
        met = "met     " if run.driver_gib <= DRIVER_GIB else "NOT MET "
        lines.append(f"{met}driver at {millions:g} M: {run.driver_gib:.1f} GiB (goal: at most {DRIVER_GIB:g})")
    return lines


def growth_exponent(rows: tuple[int, int], seconds: tuple[float, float]) -> float:
    """Compute log(time ratio) / log(row ratio): 0 for a fixed cost, 1 for a cost that grows with the rows."""
    return math.log(seconds[1] / seconds[0]) / math.log(rows[1] / rows[0])


def _run_pipeline(transactions: Path, folder: Path, overrides: Sequence[str]) -> PipelineRun | None:
    """Run every stage in a process of its own; None where it fails."""
    warehouse, events = folder / f"pipeline-{transactions.name}", folder / f"events-{transactions.name}"
    for old in (warehouse, events):
        shutil.rmtree(old, ignore_errors=True)
    events.mkdir()
    settings = folder / "event-log.conf"
    settings.write_text(f"spark.eventLog.enabled true\nspark.eventLog.dir {events.as_uri()}\n", encoding="utf-8")
    command = [str(Path(sys.executable).parent / "interest-tiers"), "pipeline", "--config", str(CONFIG), "--warehouse", str(warehouse)]
    command += ["--log-format", "json", "--set", f"interactions.path={transactions}/*.parquet", *(f"--set={o}" for o in overrides)]
    log = folder / f"pipeline-{transactions.name}.log"
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as target:
        environment = os.environ | {session.FURTHER_SETTINGS: str(settings)}
        process = subprocess.Popen(command, stdout=target, stderr=subprocess.STDOUT, env=environment)  # noqa: S603 our own command
        memory = ProcessTreeMemory(process.pid)
        memory.start()
        status = process.wait()
    seconds = time.monotonic() - start
    if status != 0:
        print(f"the pipeline failed on {transactions.name}; see {log}", flush=True)
        return None
    started, stages = _read_log(log)
    profile = read_profile(next(events.iterdir()), started)
    return PipelineRun(
        data.row_count(transactions),
        round(seconds, 1),
        stages,
        round(memory.driver / GIBIBYTE, 2),
        round(memory.workers / GIBIBYTE, 2),
        profile,
    )


def _read_log(log: Path) -> tuple[dict[str, datetime], dict[str, float]]:
    """Read when each stage started, and how many seconds it took, from the log records of the pipeline."""
    started: dict[str, datetime] = {}
    seconds: dict[str, float] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        if not line.startswith("{"):
            continue
        record = json.loads(line)
        stage = record.get("stage")
        if record["message"].startswith(f"{stage} started"):
            started[stage] = datetime.fromisoformat(record["time"])
        elif record["message"] == f"{stage} done":
            seconds[stage] = record["seconds"]
    return started, seconds


def _run_script(script: Path, transactions: Path, folder: Path) -> float | None:
    """Run the script on the same files, two threads; its seconds, or None where it fails, as for want of memory."""
    target = folder / f"script-{transactions.name}"
    command = [sys.executable, str(script), "--transactions", str(transactions), "--products", str(data.products()), "--out", str(target)]
    start = time.monotonic()
    with (folder / f"script-{transactions.name}.log").open("w", encoding="utf-8") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603 a script that the caller names
    return round(time.monotonic() - start, 1) if done.returncode == 0 else None


def _print_run(millions: float, run: PipelineRun) -> None:
    whole = run.profile["all"]
    print(f"{millions:g} M: {run.seconds:.0f} s, driver {run.driver_gib} GiB, workers {run.workers_gib} GiB", flush=True)
    print(f"{'':<18}{'seconds':>9}{'jobs':>7}{'< 0.1 s':>9}{'no job':>9}{'task CPU':>10}")
    for stage, part in run.profile.items():
        seconds = run.stages.get(stage, run.seconds if part is whole else float("nan"))
        print(
            f"{stage:<18}{seconds:>9.1f}{part.jobs:>7}{part.short_jobs:>9}{part.idle_seconds:>9.1f}{part.task_cpu_seconds:>10.1f}",
            flush=True,
        )


def _growth_lines(runs: dict[float, PipelineRun]) -> list[str]:
    if len(runs) < 2:
        return []
    smallest, largest = runs[min(runs)], runs[max(runs)]
    rows = (smallest.rows, largest.rows)
    exponents = {
        stage: growth_exponent(rows, (seconds, largest.stages[stage]))
        for stage, seconds in smallest.stages.items()
        if seconds > 0 and largest.stages.get(stage, 0) > 0
    }
    return [f"growth of {stage}: rows to the {exponent:.2f}" for stage, exponent in exponents.items()]


def _write_results(runs: dict[float, PipelineRun], scripts: dict[float, float | None], overrides: Sequence[str]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    measured = {f"{millions:g}": {**asdict(run), "script_seconds": scripts.get(millions)} for millions, run in runs.items()}
    described = {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "cores": os.cpu_count(), "overrides": list(overrides)}
    RESULTS.write_text(json.dumps(described | {"runs": measured}, indent=1), encoding="utf-8")


def _seconds(seconds: float | None) -> str:
    return "no end: see its log" if seconds is None else f"{seconds:.0f} s"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1.47, 14.7, 44.0], help="millions of rows")
    parser.add_argument(
        "--script",
        type=Path,
        help="a Python script that does the same without Spark; takes --transactions FOLDER --products FILE --out FOLDER",
    )
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="a.b=value", help="override one key of the config")
    parser.add_argument("--folder", type=Path, default=PROJECT / "build" / "bench", help="for data, warehouses and logs")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
