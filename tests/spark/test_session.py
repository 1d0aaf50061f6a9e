"""The session: its settings, what it refuses, and time that does not depend on the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from py4j.java_gateway import JVMView
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.errors import ConfigError
from interest_tiers.spark import session
from interest_tiers.spark.session import build_session, packaged_settings, plain_python_settings

TIME_AS_READ = (
    "SELECT unix_timestamp(moment) AS seconds, CAST(moment AS DATE) AS day FROM (SELECT CAST('2017-01-01 00:30:00' AS TIMESTAMP) AS moment)"
)

PRINT_TIME_AS_READ = f"""
import json
from interest_tiers.spark import session
settings = session.packaged_settings() | {{"spark.master": "local[1]", "spark.ui.enabled": "false"}}
session.packaged_settings = lambda: settings
spark = session.build_session("time zone")
row = spark.sql("{TIME_AS_READ}").first()
heap = spark.sparkContext._jvm.java.lang.Runtime.getRuntime().maxMemory()
print(json.dumps([row["seconds"], str(row["day"]), heap]))
"""


@pytest.fixture(autouse=True)
def no_own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder for Spark's own configuration, empty unless a test writes it; no other settings of this shell count."""
    for name in (session.FURTHER_SETTINGS, "SPARK_DRIVER_MEMORY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "conf"
    folder.mkdir()
    monkeypatch.setenv("SPARK_CONF_DIR", str(folder))
    return folder


@pytest.fixture
def further(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file whose settings stand over the packaged ones."""
    file = tmp_path / "further.conf"
    monkeypatch.setenv(session.FURTHER_SETTINGS, str(file))
    return file


def test_settings_of_a_further_file_stand_over_the_packaged_ones(further: Path) -> None:
    further.write_text("# more memory\nspark.driver.memory 6g\nspark.plugins a.B\n", encoding="utf-8")
    settings = packaged_settings()
    assert (settings["spark.driver.memory"], settings["spark.plugins"]) == ("6g", "a.B")
    assert settings["spark.sql.session.timeZone"] == "UTC"


def test_the_driver_has_the_memory_of_the_conf() -> None:
    assert plain_python_settings()["spark.driver.memory"] == "4g"
    assert plain_python_settings()["spark.master"] == "local[*]"


def test_the_driver_has_the_memory_of_the_further_file(further: Path) -> None:
    further.write_text("spark.driver.memory=16g\nspark.master local[3]\n", encoding="utf-8")
    settings = plain_python_settings()
    assert (settings["spark.driver.memory"], settings["spark.master"]) == ("16g", "local[3]")


def test_memory_and_logging_that_spark_itself_is_told_are_left_to_it(no_own_settings: Path) -> None:
    own = "spark.driver.memory 12g\nspark.log.level ERROR\nspark.sql.session.timeZone Asia/Tokyo\nspark.no.value\n"
    (no_own_settings / "spark-defaults.conf").write_text(own, encoding="utf-8")
    settings = plain_python_settings()
    assert not {"spark.driver.memory", "spark.log.level"} & set(settings)
    # What decides on rows is the project's own.
    assert settings["spark.sql.session.timeZone"] == "UTC"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_bars_are_for_terminals(monkeypatch: pytest.MonkeyPatch, no_own_settings: Path, is_terminal: bool) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    assert plain_python_settings()["spark.ui.showConsoleProgress"] == str(is_terminal).lower()
    (no_own_settings / "spark-defaults.conf").write_text("spark.ui.showConsoleProgress true\n", encoding="utf-8")
    assert "spark.ui.showConsoleProgress" not in plain_python_settings()


def test_the_further_file_stands_over_spark_s_own(no_own_settings: Path, further: Path) -> None:
    (no_own_settings / "spark-defaults.conf").write_text("spark.driver.memory 12g\n", encoding="utf-8")
    further.write_text("spark.driver.memory 6g\n", encoding="utf-8")
    assert plain_python_settings()["spark.driver.memory"] == "6g"


def test_the_environment_may_set_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_DRIVER_MEMORY", "3g")
    assert "spark.driver.memory" not in plain_python_settings()


def test_a_further_file_that_is_not_there_is_refused(further: Path) -> None:
    with pytest.raises(ConfigError, match=r"INTEREST_TIERS_SPARK_SETTINGS is .*further\.conf: No such file"):
        packaged_settings()


def test_a_jar_that_is_not_there_is_said_before_java_misses_its_classes(further: Path) -> None:
    further.write_text("spark.driver.extraClassPath build/no.jar\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"further\.conf names build/no\.jar, which does not exist"):
        packaged_settings()


def test_comet_adds_to_the_packaged_settings_and_keeps_their_jars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(session.FURTHER_SETTINGS, raising=False)
    comet = (Path(__file__).parents[2] / "conf" / "spark-comet.conf").read_text(encoding="utf-8").splitlines()
    settings = dict(line.split(maxsplit=1) for line in comet if line and not line.startswith("#"))
    assert {"spark.plugins", "spark.shuffle.manager", "spark.memory.offHeap.size"} <= settings.keys()
    packaged = packaged_settings()
    assert settings.keys() & packaged.keys() == {"spark.jars.packages"}
    assert settings["spark.jars.packages"].startswith(f"{packaged['spark.jars.packages']},org.apache.datafusion:comet-spark-spark3.5_2.12:")


@pytest.mark.parametrize("manager", ["kubernetes", "yarn"])
def test_settings_of_cluster_managers_decide_on_no_rows(manager: str) -> None:
    text = (Path(__file__).parents[2] / "conf" / f"{manager}.conf").read_text(encoding="utf-8")
    settings = session.read_settings(text)
    assert (settings["spark.dynamicAllocation.enabled"], settings["spark.eventLog.enabled"]) == ("false", "true")
    assert settings.keys() & packaged_settings().keys() <= {"spark.driver.memory"}
    # What is commented out must hold too, once the comment sign is gone.
    commented = session.read_settings("\n".join(line[2:] for line in text.splitlines() if line.startswith("# spark.")))
    assert commented["spark.dynamicAllocation.enabled"] == "true" and all(commented.values())


def test_packaged_settings_are_the_lines_of_the_file_without_comments() -> None:
    settings = packaged_settings()
    lines = (Path(__file__).parents[2] / "conf" / "spark-defaults.conf").read_text(encoding="utf-8").splitlines()
    assert settings == dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    assert settings["spark.jars.packages"].split(",")[0] == "io.delta:delta-spark_2.12:3.3.2"
    assert settings["spark.driver.extraJavaOptions"] == "-Duser.timezone=UTC -XX:+UseParallelGC"


def test_the_jvm_is_not_asked_where_functions_are_each_time(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    of_py4j = JVMView.__getattr__
    monkeypatch.setattr(JVMView, "__getattr__", lambda view, name: (asked.append(name), of_py4j(view, name))[1])
    frame = spark.range(3).groupBy((F.col("id") > 1).alias("large")).agg(F.sum("id").alias("n"))
    assert asked == []
    assert sorted(map(tuple, frame.collect())) == [(False, 1), (True, 2)]


def test_the_session_has_the_packaged_settings(spark: SparkSession) -> None:
    assert spark.conf.get("spark.sql.extensions") == "io.delta.sql.DeltaSparkSessionExtension"
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
    assert spark.conf.get("spark.sql.legacy.timeParserPolicy") == "CORRECTED"


def test_a_running_session_is_used(spark: SparkSession) -> None:
    assert build_session("another name").sparkContext is spark.sparkContext


def test_a_value_that_somebody_set_stands(spark: SparkSession) -> None:
    assert build_session("again").conf.get("spark.sql.shuffle.partitions") == "2"


def test_executors_run_the_interpreter_of_the_driver(spark: SparkSession) -> None:
    assert spark.sparkContext.parallelize([0], 1).map(lambda _: sys.executable).first() == sys.executable


def refused(monkeypatch: pytest.MonkeyPatch, session_without: object) -> str:
    """Return the message of a session that is refused."""
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", lambda builder: session_without)
    with pytest.raises(ConfigError) as refusal:
        build_session("refused")
    return str(refusal.value)


@pytest.mark.parametrize(
    "said",
    ["[DATA_SOURCE_NOT_FOUND] Failed to find the data source: delta.", "[DELTA_CONFIGURE_SPARK_SESSION_WITH_EXTENSION_AND_CATALOG] This"],
)
def test_a_session_without_delta_is_refused(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    def load(path: str) -> None:
        raise AnalysisException(said)

    reader = SimpleNamespace(format=lambda name: SimpleNamespace(load=load))
    message = refused(monkeypatch, SimpleNamespace(_jvm=object(), read=reader))
    assert "has no Delta Lake" in message and "--properties-file conf/spark-defaults.conf" in message


def test_delta_is_found_by_trying_it_whatever_the_settings_say(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(spark.conf), "get", lambda conf, key, default=None: default)
    session._require_delta(spark)


def test_spark_connect_is_refused_before_any_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connect:
        @property
        def _jvm(self) -> None:
            raise AttributeError("[JVM_ATTRIBUTE_NOT_SUPPORTED] Attribute `_jvm` is not supported in Spark Connect")

    message = refused(monkeypatch, Connect())
    assert "shared or serverless" in message and "dedicated (single user) access" in message


def test_missing_java_is_said_before_spark_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "_is_plain_python", lambda: True)
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", lambda builder: pytest.fail("Spark was started"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ConfigError, match=r"Java 17 is not installed: apt-get install openjdk-17"):
        build_session("no java")


def test_a_time_without_a_zone_is_utc_whatever_the_machine_says_and_the_heap_is_as_set(spark: SparkSession, further: Path) -> None:
    further.write_text("spark.driver.memory 700m\n", encoding="utf-8")
    here = spark.sql(TIME_AS_READ).first()
    assert here is not None
    assert (here["seconds"], str(here["day"])) == (1483230600, "2017-01-01")
    environment = {**os.environ, "TZ": "Asia/Tokyo"}
    tokyo = subprocess.run([sys.executable, "-c", PRINT_TIME_AS_READ], env=environment, capture_output=True, text=True, check=True)
    *time, heap = json.loads(tokyo.stdout.splitlines()[-1])
    assert time == [here["seconds"], str(here["day"])]
    # The JVM leaves one survivor space out of what it reports.
    assert 500 * 2**20 < heap <= 700 * 2**20
