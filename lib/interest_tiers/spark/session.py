"""The Spark session. conf/spark-defaults.conf is the one place where jars and settings stand."""

from __future__ import annotations

import os
import re
import sys
from importlib.resources import files
from pathlib import Path

from pyspark import SparkConf
from pyspark.sql import SparkSession

from interest_tiers.errors import ConfigError

GIBIBYTE = 1024**3

#: Environment variable: a file of settings over those of conf/spark-defaults.conf, for sessions made in Python.
FURTHER_SETTINGS = "INTEREST_TIERS_SPARK_SETTINGS"


def build_session(app_name: str) -> SparkSession:
    """Return the running session, or make one.

    Under spark-submit and on Databricks the platform's settings stand. In a plain Python process the
    settings of conf/spark-defaults.conf apply, with a driver memory that fits the machine.
    Raises ConfigError when Java or Delta Lake is missing.
    """
    builder = SparkSession.builder.appName(app_name)
    if _is_plain_python():
        _require_java()
        for key, value in _plain_python_settings().items():
            builder = builder.config(key, value)
    if _is_local():
        # Workers must run the interpreter that runs the driver, with the same packages.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = builder.getOrCreate()
    _require_delta(spark)
    _find_classes_once(spark)
    _fit_small_machines(spark)
    return spark


def packaged_settings() -> dict[str, str]:
    """The settings of conf/spark-defaults.conf, key by key, and over them those of the file that FURTHER_SETTINGS names."""
    settings = _parsed(files("interest_tiers.conf").joinpath("spark-defaults.conf").read_text(encoding="utf-8"))
    further = os.environ.get(FURTHER_SETTINGS)
    if further:
        settings |= _further_settings(Path(further))
    return settings


def _further_settings(path: Path) -> dict[str, str]:
    try:
        settings = _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{FURTHER_SETTINGS} is {path}: {error.strerror}") from error
    for jar in settings.get("spark.driver.extraClassPath", "").split(os.pathsep):
        if jar and not Path(jar).exists():
            raise ConfigError(
                f"spark.driver.extraClassPath of {path} names {jar}, which is not there; the top of that file says how to get it"
            )
    return settings


def _parsed(properties: str) -> dict[str, str]:
    lines = (line.strip() for line in properties.splitlines())
    pairs = (re.split(r"[\s=]+", line, maxsplit=1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)


def _is_plain_python() -> bool:
    return "PYSPARK_GATEWAY_PORT" not in os.environ and SparkSession.getActiveSession() is None


def _is_local() -> bool:
    if _is_plain_python():
        return True
    return (SparkConf().get("spark.master") or "local").startswith("local")


def _plain_python_settings() -> dict[str, str]:
    settings = {"spark.master": "local[*]", **packaged_settings()}
    settings["spark.driver.memory"] = f"{_driver_memory_gib()}g"
    return settings


def _driver_memory_gib() -> int:
    """4 GiB, or half of a machine that has less than 8."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(4, machine // (2 * GIBIBYTE)))


def _require_java() -> None:
    from shutil import which

    if which("java") is None and "JAVA_HOME" not in os.environ:
        raise ConfigError("Java 17 is not installed: apt-get install openjdk-17-jre-headless, or set JAVA_HOME")


def _require_delta(spark: SparkSession) -> None:
    if "io.delta.sql.DeltaSparkSessionExtension" not in spark.conf.get("spark.sql.extensions", ""):  # type: ignore[operator]
        raise ConfigError(
            "this Spark session has no Delta Lake (spark.sql.extensions does not name io.delta.sql.DeltaSparkSessionExtension): "
            "start it with spark-submit --properties-file conf/spark-defaults.conf"
        )


def _find_classes_once(spark: SparkSession) -> None:
    """Keep what PySpark asks the JVM for at every call of a function.

    A name without its package is looked for in every package that PySpark imports, and for each in every jar: most of the time that
    building a Column takes. PySpark 4 gives the whole name (SPARK-48475).
    """
    jvm = spark.sparkContext._jvm
    for name in ("functions", "PythonUtils", "PythonSQLUtils"):
        setattr(jvm, name, getattr(jvm, name))


def _fit_small_machines(spark: SparkSession) -> None:
    """Few shuffle partitions where the cores are few; a value that somebody has set stands."""
    context = spark.sparkContext
    if not (context.master or "").startswith("local"):
        return
    cores = context.defaultParallelism
    few = {
        "spark.sql.shuffle.partitions": str(4 * cores),
        # Adaptive execution joins small ones; a hash table of a partition must fit into memory, however large the data.
        "spark.sql.adaptive.coalescePartitions.initialPartitionNum": str(32 * cores),
        "spark.databricks.delta.snapshotPartitions": "2",
        # A vacuum lists its table in so many tasks, 10,000 unless set.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(4 * cores),
    }
    already_set = context.getConf()
    if already_set.contains("spark.sql.shuffle.partitions"):
        del few["spark.sql.adaptive.coalescePartitions.initialPartitionNum"]
    for key, value in few.items():
        if not already_set.contains(key):
            spark.conf.set(key, value)
