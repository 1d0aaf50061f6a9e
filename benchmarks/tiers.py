"""Measures rows per second of training a tier network, and of predicting with it.

Training is compared with the same loop on rows in memory, prediction with the network alone.
Each measurement is a process of its own on two cores. The rows are the examples that train_tiers builds from Complete Journey.
For more rows, the same files are linked under further names.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from benchmarks.measure import CORES, GIBIBYTE, MEMORY_GIB, cpu_seconds
from interest_tiers.config import TierTraining
from interest_tiers.spark import session
from interest_tiers.tiers.model import BATCH_ROWS, RECORD, load_network, predict_pairs, save_network, score_batches
from interest_tiers.tiers.tier_training import Scaling, TierTask, build_shape
from interest_tiers.tiers.training_rows import RowBatch, TrainingRows, stored_batches
from interest_tiers.training.loop import Rows, TrainingPlan, train

PROJECT = Path(__file__).parents[1]
CONFIG = PROJECT / "conf" / "complete_journey.yaml"

#: Names in the folder: the warehouse, training examples built from it, pairs to predict, a network, the scaling of its features.
WAREHOUSE, EXAMPLES, PAIRS, MODEL, SCALING = "tiers-warehouse", "tiers-examples", "tiers-pairs", "tiers-model", "tiers-scaling.json"

#: Steps that are not timed, while the first row groups are read and threads start.
WARM_UP_STEPS = 50

#: Rows that the loop in memory cycles through.
ROWS_IN_MEMORY = 500_000

WAYS = ("training in memory", "training", "forward in memory", "scoring")

#: Goals: least share of the speed in memory, and most growth of memory from the second tenth of the steps to the last.
LEAST_SHARE = {"training": 0.8, "scoring": 0.6}
MOST_GROWTH = 1.05


@dataclass(frozen=True)
class Measurement:
    """One way to train or predict.

    rows:            timed rows
    seconds:         wall clock
    cpu_seconds:     of all threads and processes
    waiting_seconds: time that the loop waited for rows
    first_gib:       peak resident memory in the second tenth of the steps
    last_gib:        peak resident memory in the last tenth of the steps
    """

    way: str
    rows: int
    seconds: float
    cpu_seconds: float
    waiting_seconds: float = 0.0
    first_gib: float = 0.0
    last_gib: float = 0.0

    @property
    def speed(self) -> float:
        return self.rows / self.seconds


@dataclass
class TimedRows:
    """Rows that record when each step requested them, how long it waited, and the resident memory."""

    rows_of_step: Rows
    asked: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def rows(self, step: int) -> Any:
        times = psutil.Process().cpu_times()
        self.cpu.append(times.user + times.system)
        self.resident.append(psutil.Process().memory_info().rss)
        self.asked.append(time.perf_counter())
        found = self.rows_of_step.rows(step)
        self.waited.append(time.perf_counter() - self.asked[-1])
        return found


@dataclass(frozen=True)
class RowsInMemory:
    """Rows from one matrix, which the steps cycle through."""

    all_rows: RowBatch
    n_rows: int

    def rows(self, step: int) -> RowBatch:
        start = step % (len(self.all_rows) // self.n_rows) * self.n_rows
        return self.all_rows.take(slice(start, start + self.n_rows))


@dataclass(frozen=True)
class TimedTask(TierTask):
    """A training whose rows are timed. in_memory: whether they are read before the first step, and kept."""

    in_memory: bool = False
    timed: list[TimedRows] = field(default_factory=list)

    def training_rows(self, rank: int, processes: int, epoch_steps: int) -> Any:
        rows: Any = super().training_rows(rank, processes, epoch_steps)
        if self.in_memory:
            rows = RowsInMemory(_in_memory(rows, self.settings.batch_size), self.settings.batch_size)
        self.timed.append(TimedRows(rows))
        return self.timed[-1]


def _in_memory(rows: TrainingRows, batch_size: int) -> RowBatch:
    """Read the first ROWS_IN_MEMORY rows into one matrix."""
    return RowBatch.join([rows.rows(step) for step in range(ROWS_IN_MEMORY // batch_size)])


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    folder = arguments.folder.resolve()
    if arguments.prepare:
        prepare(folder)
        return 0
    if arguments.measure:
        print(json.dumps(asdict(measure(arguments.measure, folder, arguments))))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / SCALING).exists():
        _run(["--prepare"], folder, arguments)
    print(f"{'way':<22}{'rows':>12}{'seconds':>9}{'CPU s':>9}{'waiting s':>11}{'rows/s':>11}{'first GiB':>11}{'last GiB':>10}", flush=True)
    measured = {}
    for way in arguments.ways:
        found = Measurement(**json.loads(_run(["--measure", way], folder, arguments).splitlines()[-1]))
        measured[way] = found
        numbers = f"{found.rows:>12,}{found.seconds:>9.1f}{found.cpu_seconds:>9.1f}{found.waiting_seconds:>11.1f}{found.speed:>11,.0f}"
        print(f"{way:<22}{numbers}{found.first_gib:>11.2f}{found.last_gib:>10.2f}", flush=True)
    for line in judge_goals(measured):
        print(line)
    return 0


def judge_goals(measured: dict[str, Measurement]) -> list[str]:
    """Write one line per goal: met, not met or not measured."""
    lines = []
    for way, reference in (("training", "training in memory"), ("scoring", "forward in memory")):
        goal = f"(goal: at least {LEAST_SHARE[way]:g})"
        if way not in measured or reference not in measured:
            lines.append(f"no data {way} over {reference}, rows/s {goal}")
            continue
        share = measured[way].speed / measured[reference].speed
        lines.append(f"{'met    ' if share >= LEAST_SHARE[way] else 'NOT MET'} {way} over {reference}, rows/s: {share:.2f} {goal}")
    if "training" in measured:
        growth = measured["training"].last_gib / measured["training"].first_gib
        met = "met    " if growth <= MOST_GROWTH else "NOT MET"
        lines.append(f"{met} memory of the training, last tenth over second: {growth:.2f} (goal: at most {MOST_GROWTH:g})")
    return lines


def _run(given: Sequence[str], folder: Path, arguments: argparse.Namespace) -> str:
    sizes = ["--millions", str(arguments.millions), "--steps", str(arguments.steps), "--scored-millions", str(arguments.scored_millions)]
    command = [sys.executable, "-m", "benchmarks.tiers", "--folder", str(folder), *sizes, *given]
    with (folder / "tiers.log").open("a") as errors:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=PROJECT, check=True).stdout  # noqa: S603 our own module


def prepare(folder: Path) -> None:
    """Write the training examples of Complete Journey, as train_tiers builds them, and the pairs to predict."""
    from interest_tiers.config import load_config
    from interest_tiers.stages.command_line import main as run_command
    from interest_tiers.stages.context import StageContext
    from interest_tiers.stages.registry import find_stage
    from interest_tiers.storage.warehouse import Warehouse

    _spark_settings()
    warehouse = folder / WAREHOUSE
    stages = () if (warehouse / "user_interests").exists() else ("clean", "embed", "build_interests")
    for stage in stages:
        if run_command([stage, "--config", str(CONFIG), "--warehouse", str(warehouse)]) != 0:
            raise SystemExit(f"{stage} failed")
    # One cutoff is enough: its examples are repeated.
    config = load_config(CONFIG, ["tiers.training.cuts=1"])
    context = StageContext(Warehouse(session.build_session("benchmark tiers"), str(warehouse)), config=config)
    context.begin(find_stage("train_tiers"))
    try:
        _write_examples(context, folder)
    finally:
        context.warehouse.clear_stage()


def _write_examples(context: Any, folder: Path) -> None:
    from interest_tiers.stages.inputs import read_tier_inputs, tier_inputs_at
    from interest_tiers.stages.models import tier_models
    from interest_tiers.stages.train_tiers import set_up_training
    from interest_tiers.tiers.examples import TRAINING, fit_scaling, spread, to_numbers
    from interest_tiers.tiers.training import ROWS_PER_FILE, SCALING_BATCH, TierModelTraining, model_day
    from interest_tiers.tiers.training_rows import stored_batches

    setup = set_up_training(context, tier_inputs_at(context, read_tier_inputs(context)), tier_models(context))
    training = TierModelTraining(setup, model_day(context.as_of, context.config.tiers.training))
    examples, size = training.examples_of(TRAINING), training.parts[TRAINING]
    numbers = spread(to_numbers(examples, [], size.mean_weight), -(-size.rows // ROWS_PER_FILE))
    context.warehouse.write_parquet((folder / EXAMPLES).as_uri(), numbers)
    examples.select("user_id", "interest_id", "features").coalesce(CORES).write.mode("overwrite").parquet(str(folder / PAIRS))
    batches = (rows.features for rows in stored_batches(folder / EXAMPLES, SCALING_BATCH))
    described = {"features": training.features, "scaling": asdict(fit_scaling(batches, len(training.features)))}
    (folder / SCALING).write_text(json.dumps(described), encoding="utf-8")


def measure(way: str, folder: Path, arguments: argparse.Namespace) -> Measurement:
    if way in ("training", "training in memory"):
        return _measure_training(way, folder, arguments)
    _write_model(folder)
    if way == "scoring":
        return _measure_scoring(folder, int(arguments.scored_millions * 1e6))
    return _measure_forward(folder, int(arguments.scored_millions * 1e6))


def _measure_training(way: str, folder: Path, arguments: argparse.Namespace) -> Measurement:
    """Measure an epoch of training the default network, or its first steps, in this process with a thread per core."""
    rows, n_rows = _repeated(folder / EXAMPLES, folder / "tiers-repeated", int(arguments.millions * 1e6))
    settings = TierTraining(epochs=1, max_epoch_steps=arguments.steps or 10**9)
    workplace = folder / "tiers-training"
    shutil.rmtree(workplace, ignore_errors=True)
    (workplace / "tuning").mkdir(parents=True)
    task = _task(folder, settings, str(rows), str(workplace / "tuning"))
    task = replace(task, in_memory=way == "training in memory")
    train(TrainingPlan(settings, task, n_rows, str(workplace / "checkpoints"), str(workplace / "model"), threads=CORES))
    (timed,) = task.timed
    tenth = max(1, len(timed.resident) // 10)
    seconds = timed.asked[-1] - timed.asked[WARM_UP_STEPS]
    return Measurement(
        way,
        (len(timed.asked) - 1 - WARM_UP_STEPS) * settings.batch_size,
        seconds,
        timed.cpu[-1] - timed.cpu[WARM_UP_STEPS],
        sum(timed.waited[WARM_UP_STEPS:-1]),
        max(timed.resident[tenth : 2 * tenth]) / GIBIBYTE,
        max(timed.resident[-tenth:]) / GIBIBYTE,
    )


def _task(folder: Path, settings: TierTraining, training: str, tuning: str) -> TimedTask:
    described = json.loads((folder / SCALING).read_text(encoding="utf-8"))
    scaling = Scaling(**{name: tuple(values) for name, values in described["scaling"].items()})
    shape = build_shape("mlp", settings, len(described["features"]), scaling, None)
    return TimedTask(settings, shape, tuple(described["features"]), scaling, training, tuning)


def _repeated(examples: Path, target: Path, n_rows: int) -> tuple[Path, int]:
    """Link the same files under further names until there are n_rows; returns the folder and its number of rows."""
    files = sorted(examples.glob("*.parquet"))
    rows_of_file = [pq.read_metadata(file).num_rows for file in files]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    found = number = 0
    while found < n_rows:
        os.link(files[number % len(files)], target / f"part-{number:05d}.parquet")
        found += rows_of_file[number % len(files)]
        number += 1
    return target, found


def _write_model(folder: Path) -> None:
    """Write a network of random weights, which takes as long as a trained one."""
    from interest_tiers.tiers.networks import TierNetwork
    from interest_tiers.training.record import write_json

    task = _task(folder, TierTraining(), "", "")
    network = TierNetwork(task.shape)
    network.set_scaling(task.scaling)
    save_network(folder / MODEL, network, task.shape, task.features)
    write_json(folder / MODEL / RECORD, {"fingerprint": "random", "decision": {"prior": [0.1, 0.2, 0.7], "strength": 0.3}})


def _measure_forward(folder: Path, n_rows: int) -> Measurement:
    """Measure the network alone on rows in memory, with the batch size of the stage and a thread per core."""
    import torch

    network = load_network(folder / MODEL)
    n_batches = n_rows // CORES // BATCH_ROWS
    batches = [rows for rows, _ in zip(stored_batches(folder / EXAMPLES, BATCH_ROWS), range(20), strict=False)]

    def forward(n: int) -> None:
        torch.set_num_threads(1)
        for _ in score_batches(network, (batches[place % len(batches)] for place in range(n))):
            pass

    with ThreadPoolExecutor(CORES) as threads:
        list(threads.map(forward, [20] * CORES))
        start, cpu = time.perf_counter(), time.process_time()
        list(threads.map(forward, [n_batches] * CORES))
        seconds = time.perf_counter() - start
    return Measurement("forward in memory", n_batches * CORES * BATCH_ROWS, seconds, time.process_time() - cpu)


def _measure_scoring(folder: Path, n_rows: int) -> Measurement:
    """Measure prediction as in assign_tiers: from Parquet through predict_pairs to a sink that drops the rows, a task per core."""
    _spark_settings()
    spark = session.build_session("benchmark tiers")
    pairs, found = _repeated(folder / PAIRS, folder / "tiers-repeated-pairs", n_rows)
    # An untimed run first: it starts the workers, which load the model.
    predict_pairs(spark.read.parquet(str(folder / PAIRS)), str(folder / MODEL)).write.format("noop").mode("overwrite").save()
    start, cpu = time.perf_counter(), cpu_seconds()
    predict_pairs(spark.read.parquet(str(pairs)), str(folder / MODEL)).write.format("noop").mode("overwrite").save()
    return Measurement("scoring", found, time.perf_counter() - start, cpu_seconds() - cpu)


def _spark_settings() -> None:
    """Set the Spark settings of all sessions of this process."""
    own = {"spark.master": f"local[{CORES}]", "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
    settings = session.packaged_settings() | own | {"spark.driver.memory": f"{MEMORY_GIB}g"}
    session.packaged_settings = lambda: settings


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, default=50, help="rows of the training")
    parser.add_argument("--steps", type=int, default=0, help="steps of its epoch; 0: all")
    parser.add_argument("--scored-millions", type=float, default=10, help="rows that are asked for")
    parser.add_argument("--folder", type=Path, default=PROJECT / "build" / "bench", help="for examples and the network")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
