"""The same rows whichever way a stage is run: alone or not, in local mode or on a cluster that lost an executor, whatever came later."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.processes import process_start
from interest_tiers.storage.schemas import (
    CLUSTER_MODELS,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    ITEM_VERSIONS,
    ITEMS,
    METRICS,
    SOURCE_FILES,
    TEXT_EMBEDDINGS,
    USER_TIERS,
    USERS,
)
from tests.cluster.standalone import HOST, StandaloneCluster, start_cluster, wait_until
from tests.jobs.compared import DERIVED, LASTING, assert_same_rows, rows_of
from tests.jobs.shop import AS_OF, Made, Shop, command_of, require_success, submit

SETTINGS = {"spark.driver.host": HOST}
VARIABLES = {"SPARK_LOCAL_IP": HOST}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneCluster]:
    """A master and two workers, which share nothing with the driver but the network and a folder."""
    with start_cluster(tmp_path_factory.mktemp("standalone")) as started:
        yield started


@pytest.fixture(scope="module")
def on_a_cluster(shop: Shop, cluster: StandaloneCluster, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The warehouse of the pipeline in one session, with a network that two barrier tasks train; one of their executors dies meanwhile."""
    warehouse = tmp_path_factory.mktemp("cluster") / "warehouse"
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
    # spark-submit sends the standard error of Python to its standard output.
    assert "an executor was lost: the training starts again from its last checkpoint" in printed
    return Made(str(warehouse), printed)


def test_a_cluster_that_loses_an_executor_gives_the_rows_of_local_mode(spark: SparkSession, in_local_mode: str, on_a_cluster: Made) -> None:
    """Local mode ran stage by stage."""
    assert_same_rows(spark, on_a_cluster.warehouse, in_local_mode, [TEXT_EMBEDDINGS, CLUSTER_MODELS, *DERIVED])
    assert not rows_of(spark, on_a_cluster.warehouse, USER_TIERS).where("method = 'model'").isEmpty()


def test_a_cluster_writes_the_report_and_the_network(on_a_cluster: Made) -> None:
    warehouse = Path(on_a_cluster.warehouse)
    assert f"report     {warehouse}/report/index.html" in on_a_cluster.printed
    assert (warehouse / "report" / "index.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert list(warehouse.glob("models/tiers/*/model.safetensors"))


def test_nothing_after_as_of_reaches_what_is_derived(spark: SparkSession, in_local_mode: str, on_a_cluster: Made) -> None:
    after = f"event_date >= DATE'{AS_OF}'"
    found, expected = (rows_of(spark, place, INTERACTIONS).where(after) for place in (in_local_mode, on_a_cluster.warehouse))
    assert found.join(expected, "interaction_id", "left_semi").count() == 0 < found.count()
    assert_same_rows(spark, in_local_mode, on_a_cluster.warehouse, [METRICS])


def test_clean_on_a_machine_in_another_time_zone_gives_the_same_rows(spark: SparkSession, in_local_mode: str, on_a_cluster: Made) -> None:
    before = f"event_date < DATE'{AS_OF}'"
    found, expected = (rows_of(spark, place, INTERACTIONS).where(before) for place in (in_local_mode, on_a_cluster.warehouse))
    assertDataFrameEqual(found, expected)
    assert_same_rows(spark, in_local_mode, on_a_cluster.warehouse, [INTERACTIONS_QUARANTINE, ITEMS, USERS])


def test_every_table_is_compared() -> None:
    cleaned = (INTERACTIONS, INTERACTIONS_QUARANTINE, ITEM_VERSIONS, ITEMS, USERS, SOURCE_FILES)
    assert {table.name for table in LASTING} == {table.name for table in (*cleaned, TEXT_EMBEDDINGS, CLUSTER_MODELS, METRICS, *DERIVED)}


@pytest.mark.whole
def test_workers_without_the_package_are_refused_before_the_first_stage(shop: Shop, cluster: StandaloneCluster, tmp_path: Path) -> None:
    # The interpreter that the virtual environment was made from.
    bare = sys._base_executable  # type: ignore[attr-defined]
    warehouse, interpreters = tmp_path / "warehouse", {"spark.pyspark.python": bare, "spark.pyspark.driver.python": sys.executable}
    settings = {**SETTINGS, **interpreters}
    ended = submit("pipeline", *command_of(shop, str(warehouse)), master=cluster.master, settings=settings, variables=VARIABLES)
    assert ended.returncode == 2, ended.stderr[-3000:]
    assert "The workers' Python has no package interest_tiers" in ended.stderr
    assert not list(warehouse.glob("*/_delta_log"))
