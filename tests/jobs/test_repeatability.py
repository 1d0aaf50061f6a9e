"""The same rows whichever way a stage is run: alone or not, on one JVM or several, again, after a kill, whatever came later."""

from __future__ import annotations

import shutil
import time
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
    ITEM_VERSIONS,
    ITEMS,
    METRICS,
    RUNS,
    SOURCE_FILES,
    TABLES,
    TEXT_EMBEDDINGS,
    USERS,
    Table,
    Warehouse,
)
from tests.jobs.shop import AS_OF, Made, Shop, command_of, make_shop, require_success, run_file, submit

#: Tables that say something of the data rather than of a run, as the pipeline leaves them.
LASTING = [table for table in TABLES if table not in (RUNS, DATA_QUALITY, FORGOTTEN_USERS)]
DERIVED = [table for table in TABLES if table.has_as_of and table not in (RUNS, METRICS)]

#: The stages that start processes of their own, the readers of many files and the workers of the model; the others run in this process.
BY_SPARK_SUBMIT = ("clean", "embed")


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


@pytest.fixture(scope="module")
def one_by_one(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A warehouse made by a command per stage, on a machine in Tokyo, from a shop where every row from AS_OF on is another one."""
    folder = tmp_path_factory.mktemp("one_by_one")
    changed = make_shop(folder / "shop", seed_after=7)
    arguments = command_of(changed, str(folder / "warehouse"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        for stage in pipeline.STAGES:
            if stage in BY_SPARK_SUBMIT:
                require_success(submit(stage, *arguments))
            else:
                assert run_file(stage, *arguments) == 0
    time.tzset()
    return str(folder / "warehouse")


def test_stages_one_by_one_give_the_rows_of_the_pipeline(spark: SparkSession, one_by_one: str, made: Made) -> None:
    """The pipeline ran in one session on several executors."""
    assert_same_rows(spark, one_by_one, made.warehouse, [TEXT_EMBEDDINGS, *DERIVED])


def test_nothing_after_as_of_reaches_what_is_derived(spark: SparkSession, one_by_one: str, made: Made) -> None:
    after = f"event_date >= DATE'{AS_OF}'"
    found, expected = (rows_of(spark, place, INTERACTIONS).where(after) for place in (one_by_one, made.warehouse))
    assert found.join(expected, "interaction_id", "left_semi").count() == 0 < found.count()
    assert_same_rows(spark, one_by_one, made.warehouse, [METRICS])


def test_clean_on_a_machine_in_another_time_zone_gives_the_same_rows(spark: SparkSession, one_by_one: str, made: Made) -> None:
    before = f"event_date < DATE'{AS_OF}'"
    found, expected = (rows_of(spark, place, INTERACTIONS).where(before) for place in (one_by_one, made.warehouse))
    assertDataFrameEqual(found, expected)
    assert_same_rows(spark, one_by_one, made.warehouse, [INTERACTIONS_QUARANTINE, ITEMS, USERS])


def test_every_table_is_compared() -> None:
    assert {table.name for table in LASTING} == {
        t.name
        for t in (INTERACTIONS, INTERACTIONS_QUARANTINE, ITEM_VERSIONS, ITEMS, USERS, SOURCE_FILES, TEXT_EMBEDDINGS, METRICS, *DERIVED)
    }


def test_running_everything_again_changes_nothing(spark: SparkSession, shop: Shop, made: Made, tmp_path: Path) -> None:
    warehouse = str(tmp_path / "warehouse")
    shutil.copytree(made.warehouse, warehouse)
    before = {t.name: Warehouse(spark, warehouse).version(t) for t in (TEXT_EMBEDDINGS, METRICS, INTERACTIONS_QUARANTINE)}
    runs_before = {row["run_id"] for row in Warehouse(spark, made.warehouse).read(METRICS).collect()}
    assert pipeline.main([*command_of(shop, warehouse), "--full"]) == 0
    assert_same_rows(spark, warehouse, made.warehouse, LASTING)
    again = Warehouse(spark, warehouse)
    # What did not change keeps the run that found it first, and no text is embedded again.
    assert {row["run_id"] for row in again.read(METRICS).collect()} == runs_before
    assert again.version(TEXT_EMBEDDINGS) == before["text_embeddings"]
    assert again.read(RUNS).count() == 2 * len(pipeline.STAGES)


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
