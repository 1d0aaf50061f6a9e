"""The job train_tiers and those that use its model: nothing after a day is in it, and it is made once."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.evaluation import backtest
from interest_tiers.stages import evaluate, inputs
from interest_tiers.storage.schemas import (
    INTERACTIONS,
    INTERESTS,
    ITEMS,
    METRICS,
    RUNS,
    TEXT_EMBEDDINGS,
    USER_INTERESTS,
    USER_TIERS,
    USERS,
)
from interest_tiers.storage.warehouse import Warehouse
from interest_tiers.tiers import training
from interest_tiers.tiers.choice import Comparison
from interest_tiers.tiers.model import version_of
from interest_tiers.tiers.tier_training import TierTask
from interest_tiers.training.launcher import run_training
from interest_tiers.training.loop import Trained, TrainingPlan
from tests.jobs.shop import require_success, run_command, submit

AS_OF, HORIZON = date(2024, 6, 1), 20
CATEGORIES = [f"c{n}" for n in range(6)]


def events(seed: int, first: int, last: int) -> list[tuple[object, ...]]:
    """150 users who each come to some categories by a rhythm of their own; the younger the habit, the likelier it lasts."""
    random, habits = np.random.default_rng(seed), np.random.default_rng(7)
    rows = []
    for user in range(150):
        for category in CATEGORIES:
            rate, begins = habits.choice([0.0, 0.03, 0.3], p=[0.3, 0.5, 0.2]), int(habits.integers(-100, 0))
            for day in range(max(first, begins), last):
                if random.random() < rate:
                    at = datetime.combine(AS_OF + timedelta(days=day), datetime.min.time(), UTC) + timedelta(hours=9)
                    item = f"{category}-{random.integers(3)}"
                    rows.append((f"{seed}-{user}-{item}-{day}", f"u{user}", item, "buy", at, at.date(), 2.0, None, None, "shop"))
    return rows


def write_tables(warehouse: Warehouse, seed_after: int = 2) -> None:
    spark = warehouse.spark
    every = events(1, -100, 0) + events(seed_after, 0, 25)
    warehouse.replace(INTERACTIONS, spark.createDataFrame(every, INTERACTIONS.schema))
    items = [(f"{category}-{n}", f"{category} {n}", f"hash {category} {n}", category, None) for category in CATEGORIES for n in range(3)]
    warehouse.replace(ITEMS, spark.createDataFrame(items, ITEMS.schema))
    attributes = [(f"u{user}", {"home": "town" if user % 3 else "country"}) for user in range(150)]
    warehouse.replace(USERS, spark.createDataFrame(attributes, USERS.schema))
    model = "none"
    vectors = [(item[2], model, [1.0, float(n)], None, None, None) for n, item in enumerate(items)]
    warehouse.replace(TEXT_EMBEDDINGS, spark.createDataFrame(vectors, TEXT_EMBEDDINGS.schema))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = {
        "name": "shop",
        "interactions": {
            "path": "none.csv",
            "columns": {"user_id": "u", "item_id": "i", "occurred_at": "t", "behaviour": {"literal": "buy"}, "value": "v"},
        },
        "items": {"path": "none.csv", "columns": {"item_id": "i", "text": "t", "category": "c"}},
        "users": {"path": "none.csv", "columns": {"user_id": "u"}},
        "behaviours": {"buy": 1.0},
        "tiers": {
            "horizon_days": HORIZON,
            "attributes": ["home"],
            "training": {
                "epochs": 3,
                "batch_size": 64,
                "width": 16,
                "layers": 1,
                "cuts": 1,
                "learning_rate": 0.01,
                "min_days": 2,
                "every_days": 1,
            },
        },
        "clustering": {"k": [2], "components": 2},
        "evaluation": {"bootstrap_samples": 100},
    }
    file = tmp_path_factory.mktemp("config") / "shop.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def interests_made(spark: SparkSession, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse after build_interests."""
    location = tmp_path_factory.mktemp("made") / "warehouse"
    warehouse = Warehouse(spark, str(location))
    write_tables(warehouse)
    assert run_command("build_interests", arguments(config, warehouse)) == 0
    return location


@pytest.fixture
def warehouse(spark: SparkSession, interests_made: Path, tmp_path: Path) -> Warehouse:
    """The same in a folder of its own."""
    shutil.copytree(interests_made, tmp_path / "warehouse")
    return Warehouse(spark, str(tmp_path / "warehouse"))


def arguments(config: Path, warehouse: Warehouse, *overrides: str) -> list[str]:
    given = ["--config", str(config), "--warehouse", warehouse.location, "--as-of", AS_OF.isoformat()]
    return [*given, *(part for override in overrides for part in ("--set", override))]


def last_message(warehouse: Warehouse, stage: str) -> str:
    row = warehouse.read(RUNS).where(F.col("stage") == stage).orderBy(F.desc("started_at")).first()
    assert row is not None
    return str(row["message"])


def model_of(folder: Path, day: date) -> Path:
    """The one model of a day."""
    (found,) = folder.glob(f"{day}-*")
    return found


def test_a_model_is_trained_asked_and_made_anew_only_for_other_days(warehouse: Warehouse, config: Path, spark: SparkSession) -> None:
    given = arguments(config, warehouse)
    ended = submit("train_tiers", *given)
    require_success(ended)
    folder = model_of(Path(warehouse.location) / "models" / "tiers", AS_OF)
    assert "epoch 1/3" in ended.stderr + ended.stdout
    assert sorted(path.name for path in folder.parent.parent.iterdir()) == ["tiers"]  # rows and checkpoints are gone
    record = json.loads((folder / "training.json").read_text())
    assert record["data"] == {
        "cuts": "2024-05-12",
        "labels complete by": "2024-06-01",
        "tuned on": "half of the held-out users at 2024-05-12",
        "judged on": "the other half of the held-out users at 2024-05-12",
    }
    assert record["is_chosen"]
    assert record["attributes"] == [{"key": "home", "value": "town"}, {"key": "home", "value": "country"}]
    assert record["features"][-2:] == ["attribute_0", "attribute_1"]
    assert record["metrics"]["J"] < record["metrics"]["J_of_the_calibrated_rule"]
    assert record["comparison"]["lower"] < record["metrics"]["J_minus_calibrated_rule"] < record["comparison"]["upper"]
    pointer = json.loads((folder.parent / "shop.current.json").read_text())
    assert (pointer["day"], pointer["folder"], pointer["fingerprint"]) == (AS_OF.isoformat(), folder.name, record["fingerprint"])
    assert (folder / "README.md").read_text().startswith("# shop: a network of tiers, mlp")
    before = (folder / "model.safetensors").read_bytes()

    assert run_command("assign_tiers", given) == 0
    tiers = warehouse.read(USER_TIERS, AS_OF).cache()
    pairs = warehouse.read(USER_INTERESTS, AS_OF)
    assert tiers.count() == pairs.count() == tiers.select("user_id", "interest_id").distinct().count()
    methods = {row["method"]: row["count"] for row in tiers.groupBy("method").count().collect()}
    days = warehouse.read(INTERACTIONS, AS_OF).groupBy("user_id").agg(F.countDistinct("event_date").alias("days"))
    young = pairs.join(days.where("days < 2"), "user_id").count()
    assert methods.get("rule", 0) == young
    assert methods["model"] > 400
    assert tiers.where("abs(p_core + p_secondary + p_marginal - 1) > 1e-9").isEmpty()

    # Three days later the same model serves; what few days change is above a limit that allows next to nothing.
    later = AS_OF + timedelta(days=3)
    given_later = [*given, "--as-of", later.isoformat(), "--set", "tiers.training.every_days=6"]
    given_later += ["--set", "tiers.drift.max_core_changed_share=0.0001"]
    assert run_command("build_interests", given_later) == 0
    assert run_command("assign_tiers", given_later) == 0
    assert "retrain the model, see --retrain auto" in last_message(warehouse, "assign_tiers")
    assert not list(folder.parent.glob(f"{later}-*"))
    assert run_command("assign_tiers", [*given_later, "--retrain", "auto"]) == 0
    assert last_message(warehouse, "assign_tiers").endswith(": retrained")
    anew = warehouse.read(USER_TIERS, later).localCheckpoint()
    assert {row[0] for row in anew.where("method = 'model'").select("model_version").distinct().collect()} == {
        version_of(model_of(folder.parent, later))
    }
    measured = warehouse.read(METRICS).where(f"stage = 'assign_tiers' AND as_of = DATE'{later}'").collect()
    assert {(row["metric"], row["slice"]) for row in measured} == {
        ("population_stability_index", f"since={AS_OF},of=tiers"),
        ("population_stability_index", f"since={AS_OF},of=p_core"),
        ("core_changed_share", f"since={AS_OF}"),
    }
    # Another run finds the model of that day, and gives the same rows.
    assert run_command("assign_tiers", given_later) == 0
    assertDataFrameEqual(warehouse.read(USER_TIERS, later), anew)

    # What happened from the day on is changed, and the same model is found to be there; the run record says so.
    write_tables(warehouse, seed_after=3)
    assert run_command("train_tiers", given) == 0
    assert "was trained on the same days before" in last_message(warehouse, "train_tiers")
    # Trained anew: the same weights, since nothing later is in them.
    other = config.parent / "other"
    assert run_command("train_tiers", [*given, "--set", f"tiers.training.folder={other}"]) == 0
    assert (model_of(other, AS_OF) / "model.safetensors").read_bytes() == before


def test_a_killed_search_goes_on_and_sees_nothing_after_the_day(
    warehouse: Warehouse, config: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [*arguments(config, warehouse, "tiers.training.epochs=1"), "--search", "2"]
    tried: list[TrainingPlan[TierTask]] = []

    def killed_at_the_second(session: SparkSession, plan: TrainingPlan[TierTask]) -> Trained:
        tried.append(plan)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return run_training(session, plan)

    monkeypatch.setattr(training, "run_training", killed_at_the_second)
    assert run_command("train_tiers", given) == 130  # as a shell has it for Ctrl-C
    models = Path(warehouse.location) / "models"
    # No rows are left, and a training of another day would not remove the trials.
    assert [path.name for path in models.iterdir()] == ["tiers.working"]
    (left,) = (path for path in (models / "tiers.working").iterdir() if path.is_dir())
    assert [path.name for path in left.iterdir()] == ["trials.log"]

    # The other future changes nothing: the search goes on, by the trial that was broken off, in the same place.
    write_tables(warehouse, seed_after=3)
    assert run_command("train_tiers", given) == 0
    assert len(tried) == 3
    # The folder bears the name of the command that works in it.
    folders = [Path(plan.checkpoints).parents[1] for plan in tried]
    assert folders[0] == folders[1] == left != folders[2]
    places = [Path(plan.checkpoints).relative_to(folder) for plan, folder in zip(tried, folders, strict=True)]
    assert (tried[2].settings, places[2]) == (tried[1].settings, places[1])
    assert [Path(plan.task.tuning).relative_to(folder) for plan, folder in zip(tried, folders, strict=True)] == [Path("rows/tuning")] * 3
    assert [path.name for path in models.iterdir()] == ["tiers.search"]
    found = yaml.safe_load((models / "tiers.search" / f"shop-{AS_OF}.yaml").read_text(encoding="utf-8"))
    assert found["tiers"]["training"] in [{name: plan.settings.model_dump()[name] for name in found["tiers"]["training"]} for plan in tried]
    assert tried[0].settings.width == 16  # the config's come first
    said = last_message(warehouse, "train_tiers")
    assert "best of 2 trials; with the settings of the config 0." in said
    assert f"--set tiers.training.width={found['tiers']['training']['width']}" in said


def test_a_search_without_a_network_is_for_the_half_life(warehouse: Warehouse, config: Path, spark: SparkSession) -> None:
    given = [*arguments(config, warehouse, "tiers.network=rule"), "--search", "3"]
    assert run_command("train_tiers", given) == 0
    file = Path(warehouse.location) / "models" / "tiers.search" / f"shop-{AS_OF}.yaml"
    before = file.read_text(encoding="utf-8")
    best = yaml.safe_load(before)["interests"]["half_life_days"]
    assert best in (2.0, 11.0, 80.0, 90.0)  # of 20 days a 13th, four times, and their geometric mean; and the config's
    assert f"to use the best: --set interests.half_life_days={best}" in last_message(warehouse, "train_tiers")
    write_tables(warehouse, seed_after=3)
    assert run_command("train_tiers", given) == 0
    assert file.read_text(encoding="utf-8") == before


def test_the_back_test_judges_the_network_beside_rules_and_boosting(
    warehouse: Warehouse, config: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "model_id", lambda embedding: "none")
    monkeypatch.setattr(evaluate, "judge_lists", lambda *given: {})
    monkeypatch.setattr(backtest, "cluster_users", lambda *given: None)
    monkeypatch.setattr(evaluate, "_measure_clusters", lambda test, config, context: [])
    assert run_command("evaluate", arguments(config, warehouse)) == 0
    measured = warehouse.read(METRICS).where("stage = 'evaluate'").collect()
    found = {(row["metric"], row["slice"].removeprefix("model=")): row["value"] for row in measured}
    models = {slice_ for metric, slice_ in found if metric == "J"}
    rules = {f"{name}{kind}" for name in ("rule", "rule_recent") for kind in ("", "_calibrated", "_calibrated_argmax")}
    every = {*rules, "class_prior", "user_tiers", "gradient_boosting"}
    assert models == every | {f"{model},minus=user_tiers" for model in every - {"user_tiers"}}
    bounds = {row["slice"]: (row["lower"], row["upper"]) for row in measured if row["metric"] == "J"}
    for model in every - {"user_tiers"}:
        difference = found["J", f"{model},minus=user_tiers"]
        assert difference == pytest.approx(found["J", model] - found["J", "user_tiers"], abs=1e-8)
        gap = found["macro_f1", model] - found["macro_f1", "user_tiers"]
        assert found["macro_f1", f"{model},minus=user_tiers"] == pytest.approx(gap, abs=1e-8)
        lower, upper = bounds[f"model={model},minus=user_tiers"]
        assert lower < difference < upper
    assert found["J", "user_tiers"] < found["J", "rule_calibrated"] < found["J", "rule"]
    assert found["calibration_error_core", "user_tiers"] < 0.15
    assert (model_of(Path(warehouse.location) / "models" / "tiers.backtest", AS_OF - timedelta(days=HORIZON)) / "model.json").is_file()
    assert not (Path(warehouse.location) / "models" / "tiers").exists()


def test_a_network_sees_every_level_of_a_hierarchy_and_parents_follow(
    warehouse: Warehouse, config: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With these few judging users no difference is certain; what the network predicts is looked at all the same.
    monkeypatch.setattr(Comparison, "is_network_better", property(lambda self: True))
    department = F.concat(F.lit("d"), F.floor(F.substring("category", 2, 1).cast("int") / 3).cast("string"))
    items = warehouse.read(ITEMS).withColumn("levels", F.array(department, F.col("category")))
    warehouse.replace(ITEMS, warehouse.stage("items", items))
    given = arguments(config, warehouse, "interests.source=[department, category]")
    for stage in ("build_interests", "train_tiers", "assign_tiers"):
        assert run_command(stage, given) == 0
    record = json.loads((model_of(Path(warehouse.location) / "models" / "tiers", AS_OF) / "training.json").read_text())
    assert record["features"][-3:] == ["attribute_0", "attribute_1", "level"]
    interests = warehouse.read(INTERESTS, AS_OF).select("interest_id", "level", "parent_id")
    tiers = warehouse.read(USER_TIERS, AS_OF).join(interests, "interest_id").cache()
    assert tiers.count() == warehouse.read(USER_INTERESTS, AS_OF).count()
    assert {row["level"] for row in tiers.where("method = 'model'").select("level").distinct().collect()} == {1, 2}
    below = tiers.select("user_id", F.col("parent_id").alias("interest_id"), F.col("tier").alias("child"))
    both = tiers.join(below, ["user_id", "interest_id"])
    assert both.count() == tiers.where("level = 2").count()
    assert both.where("child = 'core' AND tier != 'core' OR child = 'secondary' AND tier = 'marginal'").isEmpty()


def test_too_few_users_leave_the_rule_and_say_so(warehouse: Warehouse, config: Path, spark: SparkSession) -> None:
    few = warehouse.read(INTERACTIONS).where("user_id IN ('u1', 'u2', 'u3')")
    warehouse.replace(INTERACTIONS, warehouse.stage("few", few))
    given = arguments(config, warehouse, "tiers.label_rules=[{sql: n_days > 1, tier: core}]")
    for stage in ("build_interests", "train_tiers", "assign_tiers"):
        assert run_command(stage, given) == 0
    messages = {row["stage"]: row["message"] for row in warehouse.read(RUNS).collect()}
    assert "10 held-out users of each needed; the rule decides" in messages["train_tiers"]
    assert warehouse.read(USER_TIERS, AS_OF).where("method != 'rule'").isEmpty()


def test_a_label_rule_that_is_no_condition_is_refused(
    warehouse: Warehouse, config: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    for sql, said in (("evidense > 1", "evidense"), ("evidence", "which is a double; expected a condition")):
        assert run_command("assign_tiers", arguments(config, warehouse, f"tiers.label_rules=[{{sql: {sql}, tier: core}}]")) == 2
        printed = capsys.readouterr().err
        assert f"tiers.label_rules.0.sql is '{sql}'" in printed
        assert said in printed
