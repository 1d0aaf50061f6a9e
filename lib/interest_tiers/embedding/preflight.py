"""Checks before any stage runs that the model, its engine and, on a cluster, every worker's copy of the model are there."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

import pandas as pd
from pyspark.sql import SparkSession

from interest_tiers.config import Embedding
from interest_tiers.embedding.backends import require_backend
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.embedding.spark_nlp import require_jars
from interest_tiers.errors import ConfigError
from interest_tiers.spark.workers import runs_locally


def preflight(config: Embedding, spark: SparkSession) -> None:
    """Raise ConfigError when the stage embed would fail: no engine, model folder or jars, or workers that cannot read the model."""
    require_backend(config)
    if config.backend == "sparknlp":
        require_jars(spark)
    if not runs_locally(spark):
        require_model_on_workers(config.model, spark)


def require_model_on_workers(model: str, spark: SparkSession) -> None:
    """Raise ConfigError when a machine that runs tasks cannot read the model; runs one short job."""
    hosts = find_hosts_without_model(model, spark)
    if hosts:
        raise ConfigError(
            f"embedding.model is {model!r}, which the workers on {', '.join(hosts)} cannot read. "
            "Give a folder at a path that every machine shares (NFS, /Volumes, /dbfs), or install the model package on every machine"
        )


def find_hosts_without_model(model: str, spark: SparkSession) -> list[str]:
    """List the machines whose workers cannot read the model, among those that run a task of this job."""

    def unread(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for _ in batches:
            try:
                read_model_folder(model)
            except ConfigError:
                yield pd.DataFrame({"host": [socket.gethostname()]})

    # A UDF because the question is what a Python worker sees.
    n_tasks = spark.sparkContext.defaultParallelism
    found = spark.range(n_tasks, numPartitions=n_tasks).mapInPandas(unread, "host string").distinct().collect()
    return sorted(row["host"] for row in found)
