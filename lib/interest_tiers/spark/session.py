"""Builds the Spark session. Jars and settings are in conf/spark-defaults.conf alone."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import pyspark
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from interest_tiers.errors import ConfigError
from interest_tiers.spark.launch_output import hide_ivy_report

LOG = logging.getLogger("interest_tiers.spark")

#: Environment variable: a file of settings that override those of conf/spark-defaults.conf, for sessions built in Python.
FURTHER_SETTINGS = "INTEREST_TIERS_SPARK_SETTINGS"

#: Setting: whether Spark draws progress bars.
PROGRESS = "spark.ui.showConsoleProgress"

#: What errors say where a session lacks Delta's jar, or its extension and catalog.
WITHOUT_DELTA = ("DATA_SOURCE_NOT_FOUND", "Failed to find data source", "Failed to find the data source", "DELTA_CONFIGURE_SPARK_SESSION")

#: Settings that Spark's own spark-defaults.conf may change for sessions built in Python. The others decide on rows or jars.
OPERATOR_SETTINGS = ("spark.driver.memory", "spark.log.level", PROGRESS)


def build_session(app_name: str) -> SparkSession:
    """Return the running session, or build one.

    Under spark-submit and on Databricks the platform's settings apply. In a plain Python process Spark runs in local mode,
    with the settings of conf/spark-defaults.conf.
    Raises ConfigError when Java or Delta Lake is missing.
    """
    builder = SparkSession.builder.appName(app_name)
    is_plain_python = _is_plain_python()
    if is_plain_python:
        _require_java()
        settings = plain_python_settings()
        if find_missing_jars(settings):
            LOG.info("Spark starts, and fetches its jars from Maven Central once")
        for key, value in settings.items():
            builder = builder.config(key, value)
    # Workers run the interpreter at the driver's path, with the same packages, unless spark.pyspark.python names another.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    with hide_ivy_report() if is_plain_python else nullcontext():
        spark = builder.getOrCreate()
    _require_jvm(spark)
    _require_delta(spark)
    if is_plain_python:
        _quiet_plans(spark)
    _resolve_classes_once(spark)
    _fit_small_machines(spark)
    return spark


def plain_python_settings() -> dict[str, str]:
    """Return the settings of a session in a plain Python process: local mode, progress bars on a terminal, and the packaged settings."""
    progress = {} if PROGRESS in _own_settings() else {PROGRESS: str(sys.stderr.isatty()).lower()}
    return {"spark.master": "local[*]", **progress, **packaged_settings()}


def packaged_settings() -> dict[str, str]:
    """Read conf/spark-defaults.conf, without what Spark's own configuration sets, and the file of FURTHER_SETTINGS over it."""
    settings = read_settings(files("interest_tiers.conf").joinpath("spark-defaults.conf").read_text(encoding="utf-8"))
    own = _own_settings()
    settings = {key: value for key, value in settings.items() if key not in own}
    further = os.environ.get(FURTHER_SETTINGS)
    return settings | _read_further(Path(further)) if further else settings


def find_missing_jars(settings: Mapping[str, str]) -> list[str]:
    """Return the packages of spark.jars.packages whose jars are not in Ivy's cache."""
    cache = Path(settings.get("spark.jars.ivy", Path.home() / ".ivy2")) / "jars"
    named = (name for name in settings.get("spark.jars.packages", "").split(",") if name)
    return [name for name in named if not (cache / f"{name.split(':')[0]}_{'-'.join(name.split(':')[1:])}.jar").exists()]


def _own_settings() -> set[str]:
    """Return which OPERATOR_SETTINGS a person has set in Spark's own configuration. Spark reads the values itself."""
    home = os.environ.get("SPARK_HOME", str(Path(pyspark.__file__).parent))
    file = Path(os.environ.get("SPARK_CONF_DIR", f"{home}/conf")) / "spark-defaults.conf"
    own = set(read_settings(file.read_text(encoding="utf-8"))) if file.is_file() else set()
    if "SPARK_DRIVER_MEMORY" in os.environ:
        own.add("spark.driver.memory")
    return own & set(OPERATOR_SETTINGS)


def _read_further(path: Path) -> dict[str, str]:
    try:
        settings = read_settings(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{FURTHER_SETTINGS} is {path}: {error.strerror}") from error
    for jar in settings.get("spark.driver.extraClassPath", "").split(os.pathsep):
        if jar and not Path(jar).exists():
            raise ConfigError(
                f"spark.driver.extraClassPath of {path} names {jar}, which does not exist; the top of that file says how to get it"
            )
    return settings


def read_settings(properties: str) -> dict[str, str]:
    """Read the lines of a properties file, without comments."""
    lines = (line.strip() for line in properties.splitlines())
    pairs = (re.split(r"[\s=]+", line, maxsplit=1) for line in lines if line and not line.startswith("#"))
    return {key: "".join(value) for key, *value in pairs}


def _is_plain_python() -> bool:
    return "PYSPARK_GATEWAY_PORT" not in os.environ and SparkSession.getActiveSession() is None


def _require_java() -> None:
    from shutil import which

    if which("java") is None and "JAVA_HOME" not in os.environ:
        raise ConfigError("Java 17 is not installed: apt-get install openjdk-17-jre-headless, or set JAVA_HOME")


def _require_jvm(spark: SparkSession) -> None:
    """Refuse Spark Connect, at once and not after the first stage: it has no JVM to ask for files, no RDD, MLlib or barrier stage."""
    if getattr(spark, "_jvm", None) is None:
        raise ConfigError(
            "this is a Spark Connect session (Databricks shared or serverless compute), without MLlib, barrier stages and Hadoop's file "
            "systems. Run on a cluster with dedicated (single user) access, by spark-submit, or in local mode"
        )


def _require_delta(spark: SparkSession) -> None:
    """Try Delta Lake by a read of a table that is not there; platforms have it without naming it in a setting."""
    try:
        spark.read.format("delta").load(str(Path(tempfile.gettempdir(), f"no-delta-table-{uuid4()}")))
    except Exception as error:
        if any(sign in str(error) for sign in WITHOUT_DELTA):
            raise ConfigError(
                "this Spark session has no Delta Lake (its jar, its SQL extension or its catalog is missing): "
                "start it with spark-submit --properties-file conf/spark-defaults.conf"
            ) from error


def _quiet_plans(spark: SparkSession) -> None:
    """Keep Spark from warning a person that it shortened a plan in its own log."""
    log4j = spark.sparkContext._jvm.org.apache.logging.log4j  # type: ignore[union-attr]
    log4j.core.config.Configurator.setLevel("org.apache.spark.sql.catalyst.util.SparkStringUtils", log4j.Level.ERROR)


def _resolve_classes_once(spark: SparkSession) -> None:
    """Keep the JVM classes that PySpark looks up at every call of a function.

    PySpark gives their names without a package, so that the JVM searches every imported package in every jar. That is most of the
    time that building a Column takes. PySpark 4 gives the full names (SPARK-48475).
    """
    jvm = spark.sparkContext._jvm
    with suppress(Py4JError):  # platforms may allow few classes
        for name in ("functions", "PythonUtils", "PythonSQLUtils"):
            setattr(jvm, name, getattr(jvm, name))


def _fit_small_machines(spark: SparkSession) -> None:
    """Set few shuffle partitions in local mode, except where a person has set a value."""
    context = spark.sparkContext
    if not (context.master or "").startswith("local"):
        return
    cores = context.defaultParallelism
    few = {
        "spark.sql.shuffle.partitions": str(4 * cores),
        # Adaptive execution joins small partitions. The hash table of one must fit into memory, however large the data.
        "spark.sql.adaptive.coalescePartitions.initialPartitionNum": str(32 * cores),
        "spark.databricks.delta.snapshotPartitions": "2",
        # A vacuum lists its table in so many tasks; Spark's default is 10,000.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(4 * cores),
    }
    already_set = context.getConf()
    if already_set.contains("spark.sql.shuffle.partitions"):
        del few["spark.sql.adaptive.coalescePartitions.initialPartitionNum"]
    for key, value in few.items():
        if not already_set.contains(key):
            spark.conf.set(key, value)
