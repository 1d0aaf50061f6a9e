"""The registry: what stages declare holds, and what follows from it."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

from interest_tiers.config import Config
from interest_tiers.errors import ConfigError
from interest_tiers.stages.declaration import Stage
from interest_tiers.stages.registry import COMMANDS, STAGES, find_stage, select_stages
from interest_tiers.storage.schemas import METRICS, RUNS, TABLES, USER_TIERS

REPOSITORY = Path(__file__).parents[2]


def test_the_stages_stand_in_an_order_in_which_each_finds_its_tables() -> None:
    made = {RUNS.name}
    for stage in STAGES:
        assert {table.name for table in stage.reads} <= made, stage.name
        made |= {table.name for table in stage.writes}


def test_every_table_but_the_records_has_one_stage_that_writes_it() -> None:
    for table in TABLES:
        writers = [stage.name for stage in STAGES if table in stage.writes]
        if table not in (RUNS, METRICS) and table.name != "forgotten_users":
            assert writers == [table.stage], table.name


@pytest.mark.parametrize("stage", [*STAGES, *COMMANDS], ids=lambda stage: stage.name)
def test_functions_take_the_options_that_are_declared(stage: Stage) -> None:
    module = import_module(f"interest_tiers.stages.{stage.name}")
    options = {option.name for option in stage.options}
    assert list(signature(module.run).parameters)[1:] == [option.name for option in stage.options]
    if hasattr(module, "preflight"):
        parameters = signature(module.preflight).parameters
        assert options <= set(parameters) or "options" in parameters


def test_names_are_unique_and_each_has_a_job() -> None:
    names = [stage.name for stage in (*STAGES, *COMMANDS)]
    assert len(names) == len(set(names))
    jobs = {path.stem for path in (REPOSITORY / "jobs").glob("*.py")} - {"__init__"}
    assert set(names) | {"pipeline", "plan", "show", "similar", "cluster", "history", "export_encoder"} == jobs


@pytest.mark.parametrize("stage", [stage for stage in (*STAGES, *COMMANDS) if stage.has_config], ids=lambda stage: stage.name)
def test_sections_are_keys_of_the_config(stage: Stage) -> None:
    assert set(stage.sections) <= set(Config.model_fields)


def test_options_of_the_pipeline_mean_one_thing() -> None:
    names = [option.name for stage in STAGES for option in stage.options if option.in_pipeline]
    assert len(names) == len(set(names))


def test_part_of_the_pipeline() -> None:
    assert [stage.name for stage in select_stages("recommend", "report")] == ["recommend", "evaluate", "report"]
    with pytest.raises(ConfigError, match="clean comes before report"):
        select_stages("report", "clean")


def test_what_a_stage_may_access() -> None:
    stage = find_stage("recommend")
    assert stage.may_access(USER_TIERS, to_write=False) and not stage.may_access(USER_TIERS, to_write=True)
    assert stage.may_access(RUNS, to_write=True)
    assert METRICS not in find_stage("assign_tiers").claimed and USER_TIERS in find_stage("assign_tiers").claimed
