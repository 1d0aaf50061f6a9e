"""The Databricks bundle: current, accepted by Databricks' own models, and run task by task as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job
from pyspark.sql import SparkSession

from interest_tiers.stages import stage_commands
from interest_tiers.stages.command_line import run_task
from interest_tiers.stages.databricks import ENTRY_POINT, PACKAGE, render
from interest_tiers.stages.registry import STAGES
from interest_tiers.storage.schemas import RECOMMENDATIONS, RUNS, USER_TIERS
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import AS_OF, REPOSITORY, Shop

FOLDER = REPOSITORY / "conf" / "databricks"
ROOT: dict[str, Any] = yaml.safe_load((FOLDER / "databricks.yml").read_text(encoding="utf-8"))
JOB: dict[str, Any] = yaml.safe_load((FOLDER / "resources" / "interest_tiers.yml").read_text(encoding="utf-8"))["resources"]["jobs"][
    "interest_tiers"
]
TASKS: dict[str, dict[str, Any]] = {task["task_key"]: task for task in JOB["tasks"]}


def filled(text: str, variables: dict[str, str]) -> str:
    """Fill a text in as the platform does: variables of the bundle, parameters of the job, the day of the run."""
    parameters = {parameter["name"]: parameter["default"] for parameter in JOB["parameters"]}
    known = {name: str(variable["default"]) for name, variable in ROOT["variables"].items()} | variables
    while found := re.search(r"\$\{var\.(\w+)}|\{\{job\.parameters\.(\w+)}}", text):
        value = known[found[1]] if found[1] else parameters[found[2]]
        text = text.replace(found[0], value)
    return text.replace("{{job.start_time.iso_date}}", AS_OF.isoformat())


def in_order() -> list[str]:
    """Return the tasks in an order in which each begins after those that it depends on, later ones first where several could."""
    order: list[str] = []
    while len(order) < len(TASKS):
        ready = [
            key for key, task in TASKS.items() if key not in order and all(each["task_key"] in order for each in task.get("depends_on", []))
        ]
        assert ready, "tasks wait for each other"
        order.append(ready[-1])
    return order


@pytest.mark.unit
def test_the_bundle_is_that_of_the_registry() -> None:
    for name, content in render().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == content, "run make docs"


@pytest.mark.unit
def test_the_platform_s_models_accept_the_job_and_would_refuse_a_wrong_one() -> None:
    job = Job.from_dict(JOB)  # type: ignore[arg-type]
    assert [task.task_key for task in job.tasks] == [stage.name for stage in STAGES]  # type: ignore[union-attr]
    with pytest.raises((TypeError, ValueError)):
        Job.from_dict(JOB | {"schedulle": {}})  # type: ignore[arg-type]


@pytest.mark.unit
def test_tasks_wait_for_what_they_read_and_run_on_clusters_that_are_there() -> None:
    depends = {key: {each["task_key"] for each in task.get("depends_on", [])} for key, task in TASKS.items()}
    assert depends == {
        "clean": set(), "embed": {"clean"}, "build_interests": {"embed"}, "train_tiers": {"build_interests"},
        "assign_tiers": {"train_tiers"}, "cluster_users": {"build_interests"}, "recommend": {"assign_tiers", "cluster_users"},
        "evaluate": {"assign_tiers"}, "report": {"recommend", "evaluate"},
    }  # fmt: skip
    clusters = {cluster["job_cluster_key"] for cluster in JOB["job_clusters"]}
    assert {task["job_cluster_key"] for task in TASKS.values()} == clusters == {"cpu", "gpu"}


@pytest.mark.unit
def test_every_variable_that_is_used_is_declared() -> None:
    used = set(re.findall(r"\$\{var\.(\w+)}", "".join(render().values())))
    assert used == ROOT["variables"].keys()


@pytest.mark.unit
def test_the_entry_point_is_one_of_the_package_and_raises_where_a_command_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import distribution

    # The platform looks it up like this, calls it, and ignores what it returns.
    (entry,) = [each for each in distribution(PACKAGE).entry_points if each.name == ENTRY_POINT]
    monkeypatch.setattr(sys, "argv", ["run", "clean", "--config=none.yaml", "--warehouse=w"])
    with pytest.raises(RuntimeError, match="interest-tiers clean ended with exit code 2"):
        entry.load()()


@pytest.mark.unit
@pytest.mark.parametrize("key", TASKS)
def test_the_command_line_of_every_task_is_understood(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through typer and the options of stages, up to where Spark would start."""
    understood: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(stage_commands, "_open", lambda given, name: SimpleNamespace(name=name))
    monkeypatch.setattr(
        stage_commands, "_check_and_run", lambda stages, context, options, given: understood.append((stages[0].name, dict(given))) or {}
    )
    monkeypatch.setattr(sys, "argv", ["run", *(filled(each, {}) for each in TASKS[key]["python_wheel_task"]["parameters"])])
    run_task()
    ((stage, given),) = understood
    assert (stage, given["warehouse"], given["as_of"]) == (key, "main.interest_tiers", AS_OF)
    volume = "/Volumes/main/interest_tiers/files"
    assert given["config"] == f"{volume}/config.yaml"
    assert f"tiers.training.folder={volume}/models/tiers" in given["set"]
    assert given.get("report_to") == (f"{volume}/report/index.html" if key == "report" else None)


def test_every_task_runs_in_local_mode_in_the_order_of_the_bundle(
    spark: SparkSession, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"catalog": "spark_catalog", "schema": "bundle_shop", "config": str(shop.config)}
    spark.sql("CREATE SCHEMA spark_catalog.bundle_shop")
    try:
        for key in in_order():
            parameters = TASKS[key]["python_wheel_task"]["parameters"]
            arguments = [filled(each, variables).replace("/Volumes/", f"{tmp_path}/Volumes/") for each in parameters]
            monkeypatch.setattr(sys, "argv", ["run", *arguments])
            run_task()
        warehouse = Warehouse(spark, "spark_catalog.bundle_shop")
        assert {row["stage"] for row in warehouse.read(RUNS).where("status = 'done'").collect()} == set(TASKS)
        for table in (USER_TIERS, RECOMMENDATIONS):
            assert {row["as_of"] for row in warehouse.read(table).select("as_of").distinct().collect()} == {AS_OF}
        assert (tmp_path / "Volumes" / "spark_catalog" / "bundle_shop" / "files" / "report" / "index.html").is_file()
    finally:
        spark.sql("DROP SCHEMA spark_catalog.bundle_shop CASCADE")
