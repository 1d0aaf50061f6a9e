"""Measures every engine on data of every size, prints a table, and checks every goal. `make bench` runs it.

Measurements are kept in benchmarks/results/measurements.json. They are not repeated while the code is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import duckdb
import pyspark

from benchmarks import data, queries
from benchmarks.measure import CORES, ENGINES, MEMORY_GIB, Measurement
from interest_tiers.spark import session

PROJECT = Path(__file__).parents[1]
RESULTS = PROJECT / "benchmarks" / "results" / "measurements.json"
WARM_UP_MILLIONS = 1.5

#: The times of short runs vary, so the fastest of several counts.
RUNS_OF_SHORT = 3
SHORT_MILLIONS = 5

#: Suffix of the name of a skewed data set.
SKEWED = " skewed"

#: By (size, engine), the size in million rows, as text.
Measured = dict[tuple[str, str], Measurement]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    folder = arguments.folder.resolve()
    kept = {} if arguments.fresh else _read_kept()
    measured: Measured = {}
    failed = []
    print(f"{'million rows':<14}{'engine':<16}{'seconds':>9}{'CPU s':>9}{'rows/s':>12}{'peak GiB':>10}", flush=True)
    for size, millions, is_skewed in _data_sets(arguments):
        for engine in arguments.engines:
            key = _key(size, engine, arguments.setting)
            if key not in kept:
                found = _measure(engine, millions, is_skewed, folder, arguments.setting)
                if found is None:
                    failed.append(f"{engine} on {size} M")
                    continue
                kept[key] = _described(size, found, arguments.setting)
                _write_kept(kept)
            measured[size, engine] = Measurement(**kept[key]["measurement"])
            print(_line(size, measured[size, engine]), flush=True)
    print()
    agree = _say_whether_results_agree(measured)
    for line in [*judge_goals(measured), *(f"failed  {name}" for name in failed)]:
        print(line)
    print(f"measurements are in {RESULTS.relative_to(PROJECT)}")
    # An alternative that does not finish is a result too, so only the library's failures count.
    return 0 if agree and not any(name.startswith("library") for name in failed) else 1


def judge_goals(measured: Measured) -> list[str]:
    """Write one line per goal: met, not met or not measured. measured: (size, engine) to measurement."""
    lines = []

    def judge(text: str, value: float | None, bound: float, at_least: bool = False) -> None:
        goal = f"(goal: at {'least' if at_least else 'most'} {bound:g})"
        if value is None:
            lines.append(f"no data {text} {goal}")
        else:
            met = value >= bound if at_least else value <= bound
            lines.append(f"{'met    ' if met else 'NOT MET'} {text}: {value:.2f} {goal}")

    def faster(one: tuple[str, str], other: tuple[str, str]) -> float | None:
        """Divide the rows per second of one by those of the other; None where one is missing."""
        return _rate(measured[one]) / _rate(measured[other]) if one in measured and other in measured else None

    def largest_peak(engine: str) -> float | None:
        return max((m.peak_gib for (_, of), m in measured.items() if of == engine), default=None)

    engines = [engine for engine in ENGINES if engine.startswith("library") and any(of == engine for _, of in measured)]
    sizes = list(dict.fromkeys(size for size, _ in measured))
    for engine in engines:
        judge(f"{engine}: rows/s at 150 M over those at 15 M", faster(("150", engine), ("15", engine)), 0.9, at_least=True)
        judge(f"{engine}: peak memory in GiB", largest_peak(engine), 8)
        for size in sizes:
            judge(f"by hand over {engine} at {size} M", faster((size, "by_hand"), (size, engine)), 1.3)
        for size, bound in (("1.5", 10), ("15", 3)):
            judge(f"DuckDB over {engine} at {size} M", faster((size, "duckdb"), (size, engine)), bound)
        for size in [size for size in sizes if size.endswith(SKEWED)]:
            even = size.removesuffix(SKEWED)
            judge(f"{engine}: even over skewed, rows/s at {even} M", faster((even, engine), (size, engine)), 1.25)
    return lines


def _data_sets(arguments: argparse.Namespace) -> Iterator[tuple[str, float, bool]]:
    """List data sets as name, million rows and whether skewed: smallest first, skewed after even of the same size."""
    sizes = [(f"{size:g}", size, False) for size in arguments.sizes]
    skewed = [(f"{size:g}{SKEWED}", size, True) for size in arguments.skew]
    yield from sorted(sizes + skewed, key=lambda data_set: data_set[1:])


def _line(size: str, found: Measurement) -> str:
    numbers = f"{found.seconds:>9.1f}{found.cpu_seconds:>9.1f}{_rate(found):>12,.0f}{found.peak_gib:>10.1f}"
    return f"{size:<14}{found.engine:<16}{numbers}"


def _rate(measurement: Measurement) -> float:
    return measurement.rows / measurement.seconds


def _measure(engine: str, millions: float, is_skewed: bool, folder: Path, settings: Sequence[str]) -> Measurement | None:
    """Measure in a process of its own; None if it fails. The data are written first, which is not timed."""
    items = _prepare_items(folder)
    warm_up = data.transactions(folder, WARM_UP_MILLIONS)
    transactions = data.transactions(folder, millions, is_skewed)
    runs = RUNS_OF_SHORT if millions < SHORT_MILLIONS else 1
    command = [sys.executable, "-m", "benchmarks.measure", "--engine", engine, "--runs", str(runs)]
    for option, path in (("transactions", transactions), ("warm-up", warm_up), ("items", items), ("folder", folder)):
        command += [f"--{option}", str(path)]
    command += [f"--setting={setting}" for setting in settings]
    log = folder / f"{transactions.name}-{engine}.log"
    with log.open("w") as errors:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=PROJECT)  # noqa: S603 our own module
    if done.returncode != 0:
        print(f"{engine} failed on {transactions.name}; see {log}", flush=True)
        return None
    return Measurement(**json.loads(done.stdout.splitlines()[-1]))


def _say_whether_results_agree(measured: Measured) -> bool:
    agree = True
    for size in dict.fromkeys(size for size, _ in measured):
        sums = {engine: m.checksums for (of, engine), m in measured.items() if of == size}
        first = next(iter(sums.values()))
        unlike = [engine for engine, found in sums.items() if not _alike(first, found)]
        if len(sums) > 1:
            print(f"{size} M: " + (f"RESULTS DIFFER: {', '.join(unlike)}" if unlike else "all engines wrote the same counts and sums"))
        agree = agree and not unlike
    return agree


def _alike(one: dict[str, float], other: dict[str, float]) -> bool:
    # Counts are exact; sums of doubles depend on their order, and the last digit of a power on the engine.
    return one.keys() == other.keys() and all(abs(one[k] - other[k]) <= 1e-9 * max(1.0, abs(one[k])) for k in one)


def _prepare_items(folder: Path) -> Path:
    items = folder / "items"
    if not (items / "_SUCCESS").exists():
        spark = session.build_session("benchmark items")
        queries.items_of(spark, data.products()).coalesce(1).write.mode("overwrite").parquet(str(items))
        spark.stop()
    return items


def _key(size: str, engine: str, settings: Sequence[str]) -> str:
    return " ".join([size, engine, *settings, _code()])


def _code() -> str:
    """Compute the fingerprint of the code and configuration that a measurement depends on."""
    sources = [
        path for folder in ("lib", "benchmarks", "conf") for path in (PROJECT / folder).rglob("*") if path.suffix in (".py", ".conf")
    ]
    return sha256(b"".join(path.read_bytes() for path in sorted(sources) if path != Path(__file__))).hexdigest()[:16]


def _described(size: str, found: Measurement, settings: Sequence[str]) -> dict:
    return {
        "size": size,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "load": os.getloadavg(), "system": platform.platform()},
        "limits": {"cores": CORES, "memory_gib": MEMORY_GIB},
        "versions": {"python": platform.python_version(), "pyspark": pyspark.__version__, "duckdb": duckdb.__version__},
        "settings": list(settings),
        "measurement": found.__dict__,
    }


def _read_kept() -> dict[str, dict]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def _write_kept(kept: dict[str, dict]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    temporary = RESULTS.with_suffix(".tmp")
    temporary.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    temporary.replace(RESULTS)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="*", default=[1.5, 15, 75, 150], help="millions of rows")
    parser.add_argument("--skew", type=float, nargs="*", default=[15], help="millions of rows, a fifth of them of one user; a size as well")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--setting", action="append", default=[], metavar="KEY=VALUE", help="a setting of Spark")
    parser.add_argument("--folder", type=Path, default=PROJECT / "build" / "bench", help="for data, results and spills")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
