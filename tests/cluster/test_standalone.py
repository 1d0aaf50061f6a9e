"""Jobs on a standalone cluster: its workers share nothing with the driver but the network and a folder."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers.processes import process_start
from interest_tiers.storage.schemas import ITEM_INTERESTS, TEXT_EMBEDDINGS, USER_INTERESTS, USER_TIERS
from interest_tiers.storage.warehouse import Warehouse
from tests.cluster.standalone import HOST, StandaloneCluster, start_cluster, wait_until
from tests.jobs.compared import LASTING, assert_same_rows
from tests.jobs.shop import Made, Shop, command_of, require_success, submit

SETTINGS = {"spark.driver.host": HOST}
VARIABLES = {"SPARK_LOCAL_IP": HOST}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneCluster]:
    with start_cluster(tmp_path_factory.mktemp("standalone")) as started:
        yield started


def test_the_pipeline_gives_the_rows_of_local_mode(
    spark: SparkSession, shop: Shop, in_local_mode: Made, cluster: StandaloneCluster, tmp_path: Path
) -> None:
    warehouse = str(tmp_path / "warehouse")
    given = command_of(shop, warehouse)
    printed = require_success(submit("pipeline", *given, master=cluster.master, settings=SETTINGS, variables=VARIABLES))
    assert f"report     {warehouse}/report/index.html" in printed
    assert_same_rows(spark, warehouse, in_local_mode.warehouse, LASTING)
    assert not Warehouse(spark, warehouse).read(USER_TIERS).where("method = 'model'").isEmpty()
    assert (Path(warehouse) / "report" / "index.html").is_file()


def test_an_executor_that_is_killed_in_the_training_changes_no_row(
    spark: SparkSession, shop: Shop, in_local_mode: Made, cluster: StandaloneCluster, tmp_path: Path
) -> None:
    warehouse = tmp_path / "warehouse"

    def job() -> object:
        part = ["--to", "assign_tiers"]
        return submit("pipeline", *command_of(shop, str(warehouse)), *part, master=cluster.master, settings=SETTINGS, variables=VARIABLES)

    with ThreadPoolExecutor(1) as threads:
        ended = threads.submit(job)
        working = warehouse / "models" / "tiers.working"
        wait_until(lambda: True if ended.done() or list(working.glob("*/checkpoints/*")) else None, "no checkpoint", seconds=600)
        victim = cluster.list_executors()[-1]
        os.kill(victim, signal.SIGKILL)
        require_success(ended.result())
    assert process_start(victim) is None
    assert_same_rows(spark, str(warehouse), in_local_mode.warehouse, [TEXT_EMBEDDINGS, ITEM_INTERESTS, USER_INTERESTS, USER_TIERS])


def test_workers_without_the_package_are_refused_before_the_first_stage(shop: Shop, cluster: StandaloneCluster, tmp_path: Path) -> None:
    # The interpreter that the virtual environment was made from.
    warehouse, settings = tmp_path / "warehouse", {**SETTINGS, "spark.pyspark.python": sys._base_executable}  # type: ignore[attr-defined]
    ended = submit("pipeline", *command_of(shop, str(warehouse)), master=cluster.master, settings=settings, variables=VARIABLES)
    assert ended.returncode == 2, ended.stderr[-3000:]
    assert "The workers' Python has no package interest_tiers" in ended.stderr
    assert not list(warehouse.glob("*/_delta_log"))
