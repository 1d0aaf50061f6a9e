"""One measurement: one engine on one data set in a process of its own; prints its result as one line of JSON."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import data, queries
from interest_tiers import session

ENGINES = ("library", "by_hand", "duckdb")
GIBIBYTE = 1024**3

#: As the driver gets in local mode; DuckDB spills beyond the same bound.
MEMORY_GIB = 4
CORES = 2

#: What the result must be alike in, whatever the engine.
CHECKSUMS = """
count(*) AS n_rows, sum(n_days) AS n_days, sum(n_items) AS n_items, sum(n_interactions) AS n_interactions,
sum(recency_days) AS recency_days, sum(tenure_days) AS tenure_days, sum(n_days_recent) AS n_days_recent,
sum(n_days_previous) AS n_days_previous, sum(rank) AS rank, round(sum(evidence), 3) AS evidence,
round(sum(share), 3) AS share, round(sum(total_value), 1) AS total_value, round(sum(trend), 3) AS trend,
round(sum(mean_gap_days), 1) AS mean_gap_days
"""


@dataclass(frozen=True)
class Measurement:
    """seconds: the fastest of the runs; peak_gib: most resident memory of all processes together; checksums: of the rows written."""

    engine: str
    rows: int
    seconds: float
    all_seconds: list[float]
    peak_gib: float
    checksums: dict[str, float]


class PeakMemory(threading.Thread):
    """Watches the resident memory of this process and its children."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, _resident_bytes())
            time.sleep(0.2)


def _resident_bytes() -> int:
    import psutil

    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def spark_runner(engine: str, items: Path, settings: dict[str, str]) -> Callable[[Path, Path], None]:
    """A function that runs the query of the library, or the one by hand, from one folder to another."""
    packaged = session.packaged_settings()
    session.packaged_settings = lambda: packaged | {"spark.master": f"local[{CORES}]"} | settings
    spark = session.build_session(f"benchmark {engine}")
    query = {"library": queries.by_library, "by_hand": queries.by_hand}[engine]

    def run(transactions: Path, target: Path) -> None:
        query(spark, transactions, items).write.mode("overwrite").parquet(str(target))

    return run


def duckdb_runner(items: Path, spill: Path) -> Callable[[Path, Path], None]:
    """A function that runs the query in DuckDB, with as many threads and as much memory as Spark has."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET threads = {CORES}; SET memory_limit = '{MEMORY_GIB}GiB'; SET temp_directory = '{spill}'; SET TimeZone = 'UTC'")
    # Order of insertion says nothing here, and keeping it costs memory.
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"CREATE TABLE items AS SELECT * FROM '{items}/*.parquet'")

    def run(transactions: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        connection.execute(f"CREATE OR REPLACE VIEW transactions AS SELECT * FROM '{transactions}/*.parquet'")
        connection.execute(f"COPY ({queries.DUCKDB_SQL}) TO '{target}/part-0.parquet' (FORMAT parquet, COMPRESSION snappy)")

    return run


def checksums(folder: Path) -> dict[str, float]:
    """Counts and sums of the rows written, by DuckDB for all engines alike."""
    import duckdb

    result = duckdb.sql(f"SELECT {CHECKSUMS} FROM '{folder}/*.parquet'")
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
    if arguments.engine == "duckdb":
        run = duckdb_runner(arguments.items, arguments.folder / "spill")
    else:
        run = spark_runner(arguments.engine, arguments.items, dict(s.split("=", 1) for s in arguments.setting))
    target = arguments.folder / f"result-{arguments.engine}"
    run(arguments.warm_up, target)
    seconds = []
    for _ in range(arguments.runs):
        start = time.monotonic()
        run(arguments.transactions, target)
        seconds.append(round(time.monotonic() - start, 2))
    rows = data.row_count(arguments.transactions)
    peak = round(memory.peak / GIBIBYTE, 2)
    print(json.dumps(asdict(Measurement(arguments.engine, rows, min(seconds), seconds, peak, checksums(target)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
