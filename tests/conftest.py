"""What the tests of one worker share: a light Spark session, and an empty warehouse each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings as hypothesis_settings
from pyspark.sql import SparkSession

from interest_tiers.spark import session
from interest_tiers.storage.warehouse import Warehouse

#: With a few rows nothing is gained by compiling a plan, nor by planning again in its middle. The fixture made runs with both.
PLAIN_PLANS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}

LIGHT_SETTINGS = PLAIN_PLANS | {
    "spark.master": "local[2]",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # Thousands of queries and hundreds of warehouses in one session: their plans and snapshots would fill its heap.
    "spark.databricks.delta.delta.log.cacheSize": "64",
    "spark.sql.ui.retainedExecutions": "10",
    "spark.ui.retainedJobs": "10",
    "spark.ui.retainedStages": "10",
    "spark.ui.retainedTasks": "100",
}

#: Short runs gain more from a quick compiler than from a good one.
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=512m -XX:+UseSerialGC"


# Read by torch when it is loaded: two trainings at once on two cores would wait for their threads by keeping them from running.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples on every machine: a build fails for what was changed. pytest --hypothesis-profile=default draws others.
hypothesis_settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis_settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it starts: a job (tests/jobs, tests/cluster), a Spark session, or neither (unit)."""
    for item in items:
        if "cluster" in item.path.parts:
            item.add_marker("cluster")
        if any(item.get_closest_marker(mark) is not None for mark in ("spark", "unit")):
            continue
        in_jobs, in_session = not {"jobs", "cluster"}.isdisjoint(item.path.parts), "spark" in getattr(item, "fixturenames", ())
        item.add_marker("jobs" if in_jobs else "spark" if in_session else "unit")


@pytest.fixture(autouse=True)
def no_jvm_in_unit_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a unit test that starts a JVM: it takes the fixture spark, or the mark spark."""
    if request.node.get_closest_marker("unit") is not None:

        def refuse(*args: object, **kwargs: object) -> None:
            raise AssertionError("a unit test starts no JVM: use the fixture spark, or mark the test with pytest.mark.spark")

        monkeypatch.setattr("pyspark.context.launch_gateway", refuse)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory, shared_folder: Path) -> Iterator[SparkSession]:
    """The session that users get, with the settings of conf/spark-defaults.conf, made light."""
    settings = session.packaged_settings() | LIGHT_SETTINGS
    settings["spark.driver.extraJavaOptions"] = f"-Duser.timezone=UTC {QUICK_START}"
    settings["spark.sql.warehouse.dir"] = str(tmp_path_factory.mktemp("catalog"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "packaged_settings", lambda: settings)
        # On a fresh machine the first session fetches the jars, and Ivy does not lock its cache.
        with FileLock(shared_folder / "jars.lock"):
            running = session.build_session("tests")
    yield running
    running.stop()


@pytest.fixture
def warehouse(spark: SparkSession, tmp_path: Path) -> Warehouse:
    """A warehouse in a folder that is not there yet."""
    return Warehouse(spark, str(tmp_path / "warehouse"))
