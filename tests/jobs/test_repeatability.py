"""The same rows whichever way a stage is run: alone or not, on one JVM or several, again, after a kill, whatever came later."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.jobs import pipeline
from interest_tiers.tables import (
    DATA_QUALITY,
    FORGOTTEN_USERS,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    METRICS,
    RUNS,
    TABLES,
    TEXT_EMBEDDINGS,
    USERS,
    Table,
    Warehouse,
)
from tests.jobs.shop import Made, Shop, command_of, make_shop, require_success, submit

#: Tables that say something of the data rather than of a run, as the pipeline leaves them.
LASTING = [table for table in TABLES if table not in (RUNS, DATA_QUALITY, FORGOTTEN_USERS)]
DERIVED = [table for table in TABLES if table.has_as_of and table not in (RUNS, METRICS)]


def rows_of(spark: SparkSession, warehouse: str, table: Table) -> DataFrame:
    """A table without the names of the runs that wrote it."""
    rows = Warehouse(spark, warehouse).read(table)
    return rows.drop("run_id") if "run_id" in rows.columns else rows


def assert_same_rows(spark: SparkSession, actual: str, expected: str, tables: list[Table]) -> None:
    for table in tables:
        found, wanted = (rows_of(spark, warehouse, table) for warehouse in (actual, expected))
        if table is USERS:  # maps cannot be compared
            found, wanted = (rows.selectExpr("user_id", "to_json(attributes) AS attributes") for rows in (found, wanted))
        assertDataFrameEqual(found, wanted, rtol=1e-9, atol=1e-9)


def test_stages_one_by_one_give_the_rows_of_the_pipeline(spark: SparkSession, shop: Shop, made: Made, tmp_path: Path) -> None:
    """Each stage by its own spark-submit inside one JVM; the pipeline ran in one session on several executors."""
    warehouse = str(tmp_path / "warehouse")
    for stage in pipeline.STAGES:
        require_success(submit(stage, *command_of(shop, warehouse)))
    assert_same_rows(spark, warehouse, made.warehouse, LASTING)


def test_running_everything_again_changes_nothing(spark: SparkSession, shop: Shop, made: Made, tmp_path: Path) -> None:
    warehouse = str(tmp_path / "warehouse")
    shutil.copytree(made.warehouse, warehouse)
    before = {t.name: Warehouse(spark, warehouse).version(t) for t in (TEXT_EMBEDDINGS, METRICS, INTERACTIONS_QUARANTINE)}
    runs_before = {row["run_id"] for row in Warehouse(spark, made.warehouse).read(METRICS).collect()}
    assert pipeline.main(command_of(shop, warehouse)) == 0
    assert_same_rows(spark, warehouse, made.warehouse, LASTING)
    again = Warehouse(spark, warehouse)
    # What did not change keeps the run that found it first, and no text is embedded again.
    assert {row["run_id"] for row in again.read(METRICS).collect()} == runs_before
    assert again.version(TEXT_EMBEDDINGS) == before["text_embeddings"]
    assert again.read(RUNS).count() == 2 * len(pipeline.STAGES)


def test_nothing_after_as_of_reaches_what_is_derived(spark: SparkSession, made: Made, tmp_path: Path) -> None:
    """Every row from as_of on is another one, and every derived row is the same."""
    changed = make_shop(tmp_path / "shop", seed_after=7)
    warehouse = str(tmp_path / "warehouse")
    assert pipeline.main([*command_of(changed, warehouse), "--to", "evaluate"]) == 0
    after = f"event_date >= DATE'{command_of(changed, warehouse)[-1]}'"
    found, expected = (rows_of(spark, place, INTERACTIONS).where(after) for place in (warehouse, made.warehouse))
    assert found.join(expected, "interaction_id", "left_semi").count() == 0 < found.count()
    assert_same_rows(spark, warehouse, made.warehouse, [*DERIVED, METRICS])


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
        with pytest.raises(KeyboardInterrupt):
            pipeline.main(part)
    assert pipeline.main(part) == 0
    assert_same_rows(spark, warehouse, made.warehouse, LASTING)
