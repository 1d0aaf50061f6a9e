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
from tests.cluster.standalone import HOST, StandaloneCluster, start_cluster, wait_until
from tests.jobs.compared import LASTING, assert_same_rows
from tests.jobs.shop import Made, Shop, command_of, require_success, submit

pytestmark = pytest.mark.whole

SETTINGS = {"spark.driver.host": HOST}
VARIABLES = {"SPARK_LOCAL_IP": HOST}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneCluster]:
    with start_cluster(tmp_path_factory.mktemp("standalone")) as started:
        yield started


def test_the_pipeline_gives_the_rows_of_local_mode_though_an_executor_is_killed(
    spark: SparkSession, shop: Shop, in_local_mode: Made, cluster: StandaloneCluster, tmp_path: Path
) -> None:
    """From clean to report, with a network that two barrier tasks train; one of their executors dies in the middle of it."""
    warehouse = tmp_path / "warehouse"
    models = warehouse / "models"
    with ThreadPoolExecutor(1) as threads:
        given = command_of(shop, str(warehouse))
        ended = threads.submit(submit, "pipeline", *given, master=cluster.master, settings=SETTINGS, variables=VARIABLES)
        wait_until(lambda: True if ended.done() or list(models.glob("tiers.working/*/checkpoints/*")) else None, "no checkpoint", 800)
        assert not ended.done(), ended.result().stderr[-3000:]
        _, second = cluster.list_executors()
        os.kill(second, signal.SIGKILL)
        printed = require_success(ended.result())
    assert process_start(second) is None
    assert f"report     {warehouse}/report/index.html" in printed
    assert (warehouse / "report" / "index.html").is_file()
    assert list(models.glob("tiers/*/model.safetensors"))
    assert_same_rows(spark, str(warehouse), in_local_mode.warehouse, LASTING)


def test_workers_without_the_package_are_refused_before_the_first_stage(shop: Shop, cluster: StandaloneCluster, tmp_path: Path) -> None:
    # The interpreter that the virtual environment was made from.
    warehouse, settings = tmp_path / "warehouse", {**SETTINGS, "spark.pyspark.python": sys._base_executable}  # type: ignore[attr-defined]
    ended = submit("pipeline", *command_of(shop, str(warehouse)), master=cluster.master, settings=settings, variables=VARIABLES)
    assert ended.returncode == 2, ended.stderr[-3000:]
    assert "The workers' Python has no package interest_tiers" in ended.stderr
    assert not list(warehouse.glob("*/_delta_log"))
