"""Measures one engine on one data set in a process of its own, and prints the result as one line of JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import psutil

from benchmarks import data, queries
from interest_tiers.spark import session

#: library_native is library on Spark with Comet.
ENGINES = ("library", "library_native", "by_hand", "duckdb")
COMET = Path(__file__).parents[1] / "conf" / "spark-comet.conf"
GIBIBYTE = 1024**3

#: Memory of the driver in local mode, and the limit beyond which DuckDB spills.
MEMORY_GIB = 4
CORES = 2

#: Counts and sums that must agree between the engines.
CHECKSUMS = """
count(*) AS n_rows, sum(n_days) AS n_days, sum(n_items) AS n_items, sum(n_interactions) AS n_interactions,
sum(recency_days) AS recency_days, sum(tenure_days) AS tenure_days, sum(n_days_recent) AS n_days_recent,
sum(n_days_previous) AS n_days_previous, sum(rank) AS rank, round(sum(evidence), 3) AS evidence,
round(sum(share), 3) AS share, round(sum(total_value), 1) AS total_value, round(sum(trend), 3) AS trend,
round(sum(mean_gap_days), 1) AS mean_gap_days
"""


#: Runs the query from a folder of purchases to a folder of results.
Runner = Callable[[Path, Path], None]


@dataclass(frozen=True)
class Measurement:
    """One engine on one data set.

    seconds:     wall clock of the fastest run
    cpu_seconds: of all threads in that run
    all_seconds: wall clock of every run
    peak_gib:    peak resident memory of the driver and its JVM together
    checksums:   of the rows written
    """

    engine: str
    rows: int
    seconds: float
    cpu_seconds: float
    all_seconds: list[float]
    peak_gib: float
    checksums: dict[str, float]


class PeakMemory(threading.Thread):
    """Watches the resident memory of this process and its children: of all together, and of the largest one."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = self.largest = 0

    def run(self) -> None:
        while True:
            resident = _resident_bytes()
            self.peak, self.largest = max(self.peak, sum(resident)), max(self.largest, *resident)
            time.sleep(0.2)


def _processes() -> list[psutil.Process]:
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def _resident_bytes() -> list[int]:
    found = [0]
    for process in _processes():
        # A process may end between listing and reading it.
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(process.memory_info().rss)
    return found


def cpu_seconds() -> float:
    """Sum the CPU seconds of this process and of all its child processes."""
    times = [process.cpu_times() for process in _processes()]
    return sum(time.user + time.system for time in times)


def spark_runner(engine: str, items: Path, spill: Path, settings: dict[str, str]) -> Runner:
    """Build a runner of the library's query, or of the one by hand, on Spark."""
    if engine == "library_native":
        os.environ[session.FURTHER_SETTINGS] = str(COMET)
    own = {
        "spark.master": f"local[{CORES}]",
        "spark.local.dir": str(spill),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    packaged = session.packaged_settings() | own | settings
    session.packaged_settings = lambda: packaged
    spark = session.build_session(f"benchmark {engine}")
    query = queries.by_hand if engine == "by_hand" else queries.by_library

    def run(transactions: Path, target: Path) -> None:
        query(spark, transactions, items).write.mode("overwrite").parquet(str(target))

    return run


def duckdb_runner(items: Path, spill: Path) -> Runner:
    """Build a runner of the query in DuckDB, with the threads and memory of Spark."""
    connection = duckdb.connect()
    connection.execute(f"SET threads = {CORES}; SET memory_limit = '{MEMORY_GIB}GiB'; SET temp_directory = '{spill}'; SET TimeZone = 'UTC'")
    # The order of insertion has no meaning here, and keeping it costs memory.
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"CREATE TABLE items AS SELECT * FROM '{items}/*.parquet'")

    def run(transactions: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        connection.execute(f"CREATE OR REPLACE VIEW transactions AS SELECT * FROM '{transactions}/*.parquet'")
        connection.execute(f"COPY ({queries.DUCKDB_SQL}) TO '{target}/part-0.parquet' (FORMAT parquet, COMPRESSION snappy)")

    return run


def checksums(folder: Path) -> dict[str, float]:
    """Compute counts and sums of the rows written; DuckDB computes them for every engine."""
    result = duckdb.sql(f"SELECT {CHECKSUMS} FROM '{folder}/*.parquet'")
    assert result is not None  # a SELECT gives rows
    return {name: float(value) for name, value in zip(result.columns, result.fetchall()[0], strict=True)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--transactions", type=Path, required=True)
    parser.add_argument("--warm-up", type=Path, required=True, help="small data, run once before")
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="for results and spills")
    parser.add_argument("--runs", type=int, default=1, help="the fastest counts")
    parser.add_argument("--setting", action="append", default=[], metavar="KEY=VALUE", help="a setting of Spark")
    arguments = parser.parse_args(argv)
    memory = PeakMemory()
    memory.start()
    spill, target = arguments.folder / f"spill-{arguments.engine}", arguments.folder / f"result-{arguments.engine}"
    shutil.rmtree(spill, ignore_errors=True)
    spill.mkdir(parents=True)
    if arguments.engine == "duckdb":
        run = duckdb_runner(arguments.items, spill)
    else:
        run = spark_runner(arguments.engine, arguments.items, spill, dict(s.split("=", 1) for s in arguments.setting))
    run(arguments.warm_up, target)
    times = [_timed(run, arguments.transactions, target) for _ in range(arguments.runs)]
    seconds, cpu_seconds = min(times)
    rows = data.row_count(arguments.transactions)
    peak = round(memory.peak / GIBIBYTE, 2)
    measured = Measurement(arguments.engine, rows, seconds, cpu_seconds, [s for s, _ in times], peak, checksums(target))
    shutil.rmtree(target)
    shutil.rmtree(spill, ignore_errors=True)
    print(json.dumps(asdict(measured)))
    return 0


def _timed(run: Runner, transactions: Path, target: Path) -> tuple[float, float]:
    """Measure the seconds and CPU seconds of one run."""
    start, cpu = time.monotonic(), cpu_seconds()
    run(transactions, target)
    return round(time.monotonic() - start, 2), round(cpu_seconds() - cpu, 2)


if __name__ == "__main__":
    sys.exit(main())
