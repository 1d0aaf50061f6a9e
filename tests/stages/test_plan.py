"""A plan says what a run would read, replace and need, before the first hour of work."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers.config import load_config
from interest_tiers.stages.command_line import main
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.plan import format_plan, make_plan
from interest_tiers.stages.registry import STAGES, find_stage, select_stages
from interest_tiers.storage.schemas import INTERACTIONS, ITEMS, METRICS, USER_TIERS
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import AS_OF, Shop, command_of


@pytest.fixture
def context(warehouse: Warehouse, shop: Shop) -> StageContext:
    return StageContext(warehouse, requested_as_of=AS_OF, config=load_config(shop.config))


def test_a_first_run_needs_nothing_and_replaces_nothing(context: StageContext) -> None:
    plan = make_plan(STAGES, context, {})
    assert plan.faults == []
    assert plan.as_of == AS_OF
    assert not any(write.replaces for stage in plan.stages for write in stage.writes)
    embed = plan.stages[1]
    assert [(read.table, read.made_by) for read in embed.reads] == [("interactions", "clean"), ("items", "clean")]
    assert "ready to run" in format_plan(plan, context)


def test_a_part_names_the_stage_that_must_run_first(context: StageContext) -> None:
    plan = make_plan(select_stages("recommend", "recommend"), context, {})
    assert "recommend: there is no table interactions: run the stage clean first" in plan.faults
    assert "recommend: there is no table user_tiers: run the stage assign_tiers first" in plan.faults


def test_a_day_that_is_missing_and_one_that_is_replaced(context: StageContext, spark: SparkSession) -> None:
    row = ("u", "i", "core", 1.0, 0.0, 0.0, "rule", "v", False)
    columns = ", ".join(f"{name} string" for name in ("user_id", "interest_id", "tier"))
    columns += ", p_core double, p_secondary double, p_marginal double, method string, model_version string, low_evidence boolean"
    context.warehouse.replace_day(USER_TIERS, spark.createDataFrame([row], columns), date(2024, 1, 1))
    other = make_plan(select_stages("recommend", "recommend"), context, {})
    assert f"recommend: user_tiers has no rows for as_of {AS_OF}: run the stage assign_tiers first with --as-of {AS_OF}" in other.faults
    plan = make_plan(select_stages("assign_tiers", "assign_tiers"), context, {})
    assert {write.table: write.replaces for write in plan.stages[0].writes} == {"user_tiers": False, "metrics": False}
    context.requested_as_of = date(2024, 1, 1)
    context.__dict__.pop("as_of", None)
    plan = make_plan(select_stages("assign_tiers", "assign_tiers"), context, {})
    assert {write.table: write.replaces for write in plan.stages[0].writes} == {"user_tiers": True, "metrics": False}


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("embedding.model=/nowhere/model", "embed"),
        ("tiers.label_rules=[{sql: no_such_column > 1, tier: core}]", "assign_tiers"),
        ("locations.shop=null", "clean"),
    ],
)
def test_what_stops_a_run_late_is_said_before_its_first_stage(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str], spark: SparkSession, override: str, fault: str
) -> None:
    command = command_of(shop, str(tmp_path / "warehouse"))
    assert main(["plan", *command, "--set", override]) == 2
    planned = capsys.readouterr()
    assert main(["pipeline", *command, "--set", override]) == 2
    ran = capsys.readouterr()
    assert "rows in" not in ran.out
    if fault != "clean":  # a config that cannot be loaded has no plan
        assert f"\n{fault}: " in planned.out and "STOPS" in planned.out


def test_the_context_refuses_a_table_that_the_stage_did_not_declare(context: StageContext) -> None:
    context.begin(find_stage("recommend"))
    with pytest.raises(AssertionError, match="reads metrics and does not declare it"):
        context.read(METRICS)
    with pytest.raises(AssertionError, match="writes items and does not declare it"):
        context.replace_day(ITEMS, context.spark.range(1))


def test_a_stage_reads_a_table_at_the_version_of_its_first_read(context: StageContext, spark: SparkSession) -> None:
    other_run = Warehouse(spark, context.warehouse.location)
    rows = "SELECT '{}' AS interaction_id, 'u' AS user_id, 'i' AS item_id, 'view' AS behaviour, "
    rows += "TIMESTAMP'2024-01-01 10:00:00' AS occurred_at, "
    rows += "DATE'2024-01-01' AS event_date, NULL AS value, NULL AS text, NULL AS given_value, 's' AS source"
    other_run.append(INTERACTIONS, spark.sql(rows.format("first")))
    context.begin(find_stage("recommend"))
    assert context.read(INTERACTIONS).count() == 1
    version = context.input_versions["interactions"]
    other_run.append(INTERACTIONS, spark.sql(rows.format("second")))
    assert context.read(INTERACTIONS).count() == 1
    assert context.input_versions["interactions"] == version
    context.begin(find_stage("recommend"))
    assert context.read(INTERACTIONS).count() == 2


def test_a_disk_that_is_nearly_full_stops_the_run_before_its_first_stage(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_plan(STAGES, context, {}).faults == []
    monkeypatch.setattr(Warehouse, "free_bytes", lambda self: 2**29)
    [fault] = make_plan(STAGES, context, {}).faults
    assert fault.startswith("clean: --warehouse ") and "0.5 GiB of disk are free" in fault
