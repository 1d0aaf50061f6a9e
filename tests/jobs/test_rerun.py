"""Run again, after all went well or after a kill: the same rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers.stages.registry import STAGES
from interest_tiers.storage.schemas import INTERACTIONS_QUARANTINE, METRICS, RUNS, TEXT_EMBEDDINGS, Table
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.compared import LASTING, assert_same_rows
from tests.jobs.shop import Made, Shop, command_of, run_command


def test_running_everything_again_changes_nothing(spark: SparkSession, shop: Shop, made: Made, tmp_path: Path) -> None:
    warehouse = str(tmp_path / "warehouse")
    shutil.copytree(made.warehouse, warehouse)
    before = {t.name: Warehouse(spark, warehouse).version(t) for t in (TEXT_EMBEDDINGS, METRICS, INTERACTIONS_QUARANTINE)}
    runs_before = {row["run_id"] for row in Warehouse(spark, made.warehouse).read(METRICS).collect()}
    assert run_command("pipeline", [*command_of(shop, warehouse), "--full"]) == 0
    assert_same_rows(spark, warehouse, made.warehouse, LASTING)
    again = Warehouse(spark, warehouse)
    # What did not change keeps the run that found it first, and no text is embedded again.
    assert {row["run_id"] for row in again.read(METRICS).collect()} == runs_before
    assert again.version(TEXT_EMBEDDINGS) == before["text_embeddings"]
    assert again.read(RUNS).count() == 2 * len(STAGES)


@pytest.mark.parametrize("fails_at", ["clusters", "user_clusters"])
def test_a_stage_killed_half_way_gives_the_same_rows_when_run_again(
    spark: SparkSession, shop: Shop, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    warehouse = str(tmp_path / "warehouse")
    shutil.copytree(made.warehouse, warehouse)
    part = [*command_of(shop, warehouse), "--from", "cluster_users", "--to", "cluster_users"]
    replace_day = Warehouse.replace_day

    def killed(self: Warehouse, table: Table, *arguments: object) -> int:
        if table.name == fails_at:
            raise KeyboardInterrupt
        return replace_day(self, table, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Warehouse, "replace_day", killed)
        assert run_command("pipeline", part) == 130  # as a shell has it for Ctrl-C
    assert run_command("pipeline", part) == 0
    assert_same_rows(spark, warehouse, made.warehouse, LASTING)
