"""Staging tables by run: a run removes its own, and those of dead runs."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers.storage.claim_stores import LocalClaims, new_claim
from interest_tiers.storage.warehouse import Warehouse


def test_runs_stage_the_same_name_and_clear_their_own(spark: SparkSession, tmp_path: Path) -> None:
    first, second = (Warehouse(spark, str(tmp_path / "warehouse"), name) for name in ("first", "second"))
    staged = first.stage("item_days", spark.range(3))
    second.stage("item_days", spark.range(5))
    second.stage("item_days", spark.range(7))
    assert staged.count() == 3
    second.clear_stage()
    assert staged.count() == 3
    assert sorted(path.name for path in (tmp_path / "warehouse" / "_staging").iterdir()) == ["first"]
    first.clear_stage()
    assert not list((tmp_path / "warehouse").rglob("*.json"))  # no claim either


def test_only_old_staging_of_dead_runs_expires(spark: SparkSession, tmp_path: Path) -> None:
    staging = tmp_path / "warehouse" / "_staging"
    live = Warehouse(spark, str(tmp_path / "warehouse"), "live")
    live.stage("rows", spark.range(1))
    for name in ("old", "new"):
        (staging / name / "stage").mkdir(parents=True)
        (staging / name / "stage" / "part.parquet").touch()
    for run in ("live", "old"):
        for path in (staging / run).rglob("*.parquet"):
            os.utime(path, (1, 1))
    other = Warehouse(spark, str(tmp_path / "warehouse"), "other")
    assert other.remove_expired_staging() == ["old"]
    assert sorted(path.name for path in staging.iterdir()) == ["live", "new"]
    assert other.remove_expired_staging(timedelta(0)) == ["new"]


def test_a_dead_run_leaves_no_claim(spark: SparkSession, tmp_path: Path) -> None:
    store = LocalClaims(tmp_path / "warehouse" / "_claims")
    assert store.take(replace(new_claim("run@dead", "dead"), process_started="1"), None)
    assert Warehouse(spark, str(tmp_path / "warehouse")).claims.live_runs() == set()
    assert store.list() == []


def test_staging_that_may_name_users_goes_but_for_live_runs(spark: SparkSession, tmp_path: Path) -> None:
    staging = tmp_path / "warehouse" / "_staging"
    live, own = (Warehouse(spark, str(tmp_path / "warehouse"), name) for name in ("live", "own"))
    live.stage("rows", spark.range(1))
    own.stage("rows", spark.range(1))
    (staging / "dead" / "stage").mkdir(parents=True)
    assert own.delete_files_of_users() == ["live"]
    assert sorted(path.name for path in staging.iterdir()) == ["live"]
    live.clear_stage()


def test_a_run_that_is_just_starting_keeps_its_folder(spark: SparkSession, tmp_path: Path) -> None:
    """Its folder holds no file yet, and it may have registered after the live runs were looked up."""
    starting = tmp_path / "warehouse" / "_staging" / "starting" / "shared"
    starting.mkdir(parents=True)
    assert Warehouse(spark, str(tmp_path / "warehouse"), "other").remove_expired_staging(timedelta(0)) == []
    assert starting.is_dir()


def test_a_staging_table_does_not_lie_in_another(spark: SparkSession, tmp_path: Path) -> None:
    """Parquet's overwrite of a folder removes all that is in it."""
    warehouse = Warehouse(spark, str(tmp_path / "warehouse"))
    warehouse.stage("evaluate/features/own", spark.range(3))
    for name in ("evaluate/features", "evaluate/features/own/more"):
        with pytest.raises(AssertionError, match="would hold another one, or lie in it"):
            warehouse.stage(name, spark.range(1))
    assert warehouse.stage("evaluate/features_all", spark.range(2)).count() == 2
