"""What is asked of the workers of a cluster, and what a person reads where they cannot do it."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers import __version__
from interest_tiers.errors import ConfigError, WarehouseError
from interest_tiers.spark import workers
from interest_tiers.spark.workers import Worker, ask_workers, check_workers


@pytest.fixture
def on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local mode passes for a cluster."""
    monkeypatch.setattr(workers, "runs_locally", lambda spark: False)


def test_workers_say_who_they_are_and_what_they_do_not_see(spark: SparkSession, tmp_path: Path) -> None:
    there, missing = str(tmp_path), str(tmp_path / "missing")
    assert ask_workers(spark, [there, missing]) == [Worker(socket.gethostname(), sys.executable, __version__, (missing,))]


def test_a_sound_cluster_leaves_no_trace_in_its_folders(spark: SparkSession, tmp_path: Path, on_a_cluster: None) -> None:
    (tmp_path / "models").mkdir()
    folders = {"--warehouse": tmp_path / "new" / "warehouse", "tiers.training.folder": tmp_path / "models"}
    check_workers(spark, folders)
    assert [path.name for path in tmp_path.rglob("*")] == ["models"]


def test_local_mode_has_no_workers_to_ask(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(workers, "ask_workers")
    check_workers(spark, {"--warehouse": Path("/nowhere")})


@pytest.mark.parametrize(
    ("version", "blind", "said"),
    [
        ("", False, "The workers' Python has no package interest_tiers: /usr/bin/python3 on w1. Install the package there, and name"),
        ("0.0.1", False, f"The driver has interest_tiers {__version__}, the workers 0.0.1 on w1. Install the package there"),
        (__version__, True, "tiers.training.folder is {folder}, a folder of the driver that the workers on w1 do not see. Give a path"),
    ],
)
def test_a_worker_that_cannot_do_its_part_is_named(
    spark: SparkSession, tmp_path: Path, on_a_cluster: None, monkeypatch: pytest.MonkeyPatch, version: str, blind: bool, said: str
) -> None:
    def answer(spark: SparkSession, paths: list[str]) -> list[Worker]:
        return [Worker("w1", "/usr/bin/python3", version, tuple(paths) if blind else ())]

    monkeypatch.setattr(workers, "ask_workers", answer)
    with pytest.raises(ConfigError, match=re.escape(said.format(folder=tmp_path))):
        check_workers(spark, {"tiers.training.folder": tmp_path})


def test_a_warehouse_that_workers_do_not_see_may_move_to_an_object_store(
    spark: SparkSession, tmp_path: Path, on_a_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "ask_workers", lambda spark, paths: [Worker("w1", "python3", __version__, tuple(paths))])
    with pytest.raises(ConfigError, match=r"--warehouse is .* that every machine shares \(NFS, /Volumes, /dbfs\), or an object store"):
        check_workers(spark, {"--warehouse": tmp_path})


def test_a_folder_that_cannot_be_written_is_named(spark: SparkSession, tmp_path: Path, on_a_cluster: None) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WarehouseError, match=r"tiers\.training\.folder is .*/file/models: Not a directory"):
        check_workers(spark, {"tiers.training.folder": tmp_path / "file" / "models"})


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            'java.io.IOException: Cannot run program "/opt/tiers/bin/python": error=2, No such file or directory',
            "The workers have no Python '/opt/tiers/bin/python' (spark.pyspark.python, PYSPARK_PYTHON). Install the package there",
        ),
        (
            "pyspark.errors.exceptions.base.PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] Python in worker has different version "
            "(3, 10) than that in driver 3.11, PySpark cannot run with different minor versions.\nPlease check",
            "The workers run another Python than the driver: Python in worker has different version (3, 10) than that in driver 3.11",
        ),
    ],
)
def test_failures_of_python_on_workers_are_explained(failure: str, said: str) -> None:
    assert said in str(workers._explain(failure))


def test_other_failures_are_not_explained_away() -> None:
    assert workers._explain("java.lang.OutOfMemoryError: Java heap space") is None
