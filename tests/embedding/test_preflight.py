"""What stops embedding is said before a stage runs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers.config import Embedding
from interest_tiers.embedding.preflight import find_hosts_without_model, preflight, require_model_on_workers
from interest_tiers.errors import ConfigError
from tests.embedding.folders import MODEL


def test_a_model_that_all_machines_have_passes(spark: SparkSession) -> None:
    preflight(Embedding(), spark)
    assert find_hosts_without_model(MODEL, spark) == []


def test_machines_that_cannot_read_the_model_are_named_with_what_to_give(spark: SparkSession, tmp_path: Path) -> None:
    assert find_hosts_without_model(str(tmp_path), spark) == [socket.gethostname()]
    with pytest.raises(ConfigError, match=rf"workers on {socket.gethostname()} cannot read\. Give a folder at a path that every machine"):
        require_model_on_workers(str(tmp_path), spark)


def test_a_model_folder_that_is_not_there_and_missing_jars_are_refused(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="neither a folder nor an installed model package"):
        preflight(Embedding(model=str(tmp_path / "nowhere")), spark)
    monkeypatch.setattr("interest_tiers.embedding.preflight.require_backend", lambda config: None)
    with pytest.raises(ConfigError, match="this Spark session has not its jars"):
        preflight(Embedding(backend="sparknlp"), spark)
