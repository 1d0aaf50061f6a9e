"""Checks, before any stage, that the workers of a cluster can run this package and see the folders that a run shares with them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from interest_tiers import __version__
from interest_tiers.errors import ConfigError, WarehouseError

#: How Spark reports that a worker has no such interpreter, or one of another version than the driver's.
NO_INTERPRETER = re.compile(r'Cannot run program "(?P<program>[^"]+)"')
OTHER_PYTHON = re.compile(r"PYTHON_VERSION_MISMATCH\W+(?P<said>[^\n]+)")

ADVICE = (
    "Install the package there, and name its interpreter by spark.pyspark.python; or send an environment by --archives (docs/running.md)"
)


@dataclass(frozen=True)
class Worker:
    """One machine that ran a task.

    version: of this package; empty where the interpreter has none. unseen: the paths that it cannot see.
    """

    host: str
    python: str
    version: str
    unseen: tuple[str, ...]


def runs_locally(spark: SparkSession) -> bool:
    """Say whether tasks run in the driver's own process, so that there are no other workers."""
    return re.fullmatch(r"local(\[.*\])?", spark.sparkContext.master or "") is not None


def check_workers(spark: SparkSession, folders: Mapping[str, Path]) -> None:
    """Check the machines that run the tasks of one short job. Does nothing in local mode.

    folders: that every machine must share, by the setting that names each. A file is written to each for the moment.
    Raises ConfigError for a worker without the package, with another version of it, or that does not see a folder.
    """
    if runs_locally(spark):
        return
    with ExitStack() as stack:
        probes = {str(stack.enter_context(_probe_in(folder, key))): (key, folder) for key, folder in folders.items()}
        workers = ask_workers(spark, list(probes))
    without = [worker for worker in workers if not worker.version]
    if without:
        where = ", ".join(f"{worker.python} on {worker.host}" for worker in without)
        raise ConfigError(f"The workers' Python has no package interest_tiers: {where}. {ADVICE}")
    other = [f"{worker.version} on {worker.host}" for worker in workers if worker.version != __version__]
    if other:
        raise ConfigError(f"The driver has interest_tiers {__version__}, the workers {', '.join(other)}. {ADVICE}")
    for path, (key, folder) in probes.items():
        blind = sorted(worker.host for worker in workers if path in worker.unseen)
        if blind:
            raise ConfigError(
                f"{key} is {folder}, a folder of the driver that the workers on {', '.join(blind)} do not see. "
                "Give a path that every machine shares (NFS, /Volumes, /dbfs)" + ("" if key != "--warehouse" else ", or an object store")
            )


def ask_workers(spark: SparkSession, paths: list[str]) -> list[Worker]:
    """Ask the machines that run the tasks of one short job about their Python and about paths; each machine and Python once.

    Raises ConfigError where a worker cannot start Python.
    """

    # Sent by value, and without a name of this package, since the question is whether the worker has it.
    def answer(_: Iterable[int]) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
        import importlib
        import os
        import socket
        import sys

        try:
            version = importlib.import_module("interest_tiers").__version__
        except ImportError:
            version = ""
        yield socket.gethostname(), sys.executable, version, tuple(path for path in paths if not os.path.exists(path))  # noqa: PTH110

    n_tasks = spark.sparkContext.defaultParallelism
    try:
        found = spark.sparkContext.parallelize(range(n_tasks), n_tasks).mapPartitions(answer).collect()
    except Py4JJavaError as error:
        explained = _explain(str(error.java_exception))
        if explained is None:
            raise
        raise explained from error
    return [Worker(*each) for each in sorted(set(found))]


def _explain(failure: str) -> ConfigError | None:
    """Return what to tell a person about workers that could not start Python; None for any other failure."""
    missing, other = NO_INTERPRETER.search(failure), OTHER_PYTHON.search(failure)
    if missing is not None:
        return ConfigError(f"The workers have no Python {missing['program']!r} (spark.pyspark.python, PYSPARK_PYTHON). {ADVICE}")
    if other is not None:
        return ConfigError(f"The workers run another Python than the driver: {other['said']} {ADVICE}")
    return None


@contextmanager
def _probe_in(folder: Path, key: str) -> Iterator[Path]:
    """Hold a file in a folder while the block runs; afterwards the file is gone, and so are the folders made for it."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = tempfile.NamedTemporaryFile(dir=folder, prefix=".seen-by-workers-")  # noqa: SIM115
    except OSError as error:
        raise WarehouseError(f"{key} is {folder}: {error.strerror}") from error
    try:
        with probe:
            # Workers may run as another user.
            Path(probe.name).chmod(0o644)
            yield Path(probe.name)
    finally:
        for each in made:
            with suppress(OSError):  # another command works in it
                each.rmdir()
