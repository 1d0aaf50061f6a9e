"""What all tests share: one light Spark session, and an empty warehouse each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers import session
from interest_tiers.tables import Warehouse

LIGHT_SETTINGS = {
    "spark.master": "local[2]",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}

#: Short runs gain more from a quick compiler than from a good one.
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=512m -XX:+UseSerialGC"


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The session that users get, with the settings of conf/spark-defaults.conf, made light."""
    settings = session.packaged_settings() | LIGHT_SETTINGS
    settings["spark.driver.extraJavaOptions"] += f" {QUICK_START}"
    settings["spark.sql.warehouse.dir"] = str(tmp_path_factory.mktemp("catalog"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "packaged_settings", lambda: settings)
        running = session.build_session("tests")
    yield running
    running.stop()


@pytest.fixture
def warehouse(spark: SparkSession, tmp_path: Path) -> Warehouse:
    """A warehouse in a folder that is not there yet."""
    return Warehouse(spark, str(tmp_path / "warehouse"))
