"""Clusters over days: the recorded model serves, a refit keeps ids, and what happened is on record."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

from interest_tiers.storage.schemas import CLUSTER_MODELS, CLUSTERS, METRICS, USER_CLUSTERS
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import AS_OF, USERS_PER_GROUP, Made, Shop, command_of, run_command

REFIT = AS_OF + timedelta(days=28)


def primary(warehouse: Warehouse, day: date) -> Mapping[str, str]:
    return {row["user_id"]: row["cluster_id"] for row in warehouse.read(USER_CLUSTERS, day).where("is_primary").collect()}


def test_clusters_keep_their_ids_the_next_day_and_through_a_refit(spark: SparkSession, shop: Shop, made: Made, tmp_path: Path) -> None:
    folder = str(tmp_path / "warehouse")
    shutil.copytree(made.warehouse, folder)
    for day in (AS_OF + timedelta(days=1), REFIT):
        for stage in ("build_interests", "cluster_users"):
            assert run_command(stage, command_of(shop, folder, day)) == 0
    warehouse = Warehouse(spark, folder)
    models = warehouse.read(CLUSTER_MODELS).orderBy("fitted_as_of").collect()
    assert [row["fitted_as_of"] for row in models] == [AS_OF, REFIT]
    assert {change["change"] for change in models[1]["changes"]} == {"kept"}
    first, next_day, refitted = (primary(warehouse, day) for day in (AS_OF, AS_OF + timedelta(days=1), REFIT))
    assert len(set(first.values())) == 3
    for later, least in ((next_day, 0.98), (refitted, 0.95)):
        assert sum(first[user] == later[user] for user in first) >= least * 3 * USERS_PER_GROUP
    kept = {row["as_of"]: row["value"] for row in warehouse.read(METRICS).where("metric = 'kept_cluster_share'").collect()}
    assert kept[AS_OF + timedelta(days=1)] == sum(first[user] == next_day[user] for user in first) / len(first)
    versions = {(row["as_of"], row["model_version"]) for row in warehouse.read(CLUSTERS).collect()}
    assert versions == {
        (AS_OF, models[0]["model_version"]),
        (AS_OF + timedelta(days=1), models[0]["model_version"]),
        (REFIT, models[1]["model_version"]),
    }
    sizes = {row["cluster_id"]: row["previous_size"] for row in warehouse.read(CLUSTERS, REFIT).collect()}
    assert sizes == {cluster: list(next_day.values()).count(cluster) for cluster in set(first.values())}
