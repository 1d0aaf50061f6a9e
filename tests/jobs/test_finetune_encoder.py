"""The job finetune_encoder: from a warehouse to a model folder, and nothing from the cut on in it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from interest_tiers.config import Embedding
from interest_tiers.embedding.encoder import SentenceEncoder
from interest_tiers.embedding.model_folder import model_id, read_model_folder
from interest_tiers.encoder_training import job
from interest_tiers.encoder_training.task import LanguageTraining
from interest_tiers.storage.schemas import INTERACTIONS, ITEMS, METRICS, RUNS
from interest_tiers.storage.warehouse import Warehouse
from interest_tiers.training import loop as training
from interest_tiers.training.loop import TrainingPlan, train
from tests.embedding.folders import bert_of_words
from tests.jobs.shop import require_success, run_command, submit

CUT = date(2024, 6, 1)
TOPICS = {"garden": "rose seed soil spade", "kitchen": "pan knife salt spice", "games": "dice card board puzzle"}
WORDS = [word for topic, words in TOPICS.items() for word in (topic, *words.split())]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config whose model is a small BERT of the words of the items."""
    model = bert_of_words(tmp_path / "bert", WORDS)
    tree: dict[str, Any] = {
        "name": "shop",
        "interactions": {"path": "e.csv", "columns": {"user_id": "u", "item_id": "i", "occurred_at": "t", "behaviour": {"literal": "buy"}}},
        "items": {"path": "i.csv", "columns": {"item_id": "i", "text": "t", "category": "c"}},
        "behaviours": {"buy": 1.0, "return": -1.0},
        "embedding": {"model": model, "max_tokens": 16, "precision": "fp32"},
        "fine_tuning": {"batch_size": 16, "epochs": 3, "max_epoch_steps": 10, "learning_rate": 0.003, "checkpoint_steps": 4},
        "tiers": {"horizon_days": 30},
    }
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return tmp_path / "shop.yaml"


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Its items and events stay as they are; a training adds to its metrics and runs."""
    return made_shop(Warehouse(spark, str(tmp_path_factory.mktemp("shop") / "warehouse")), seed_after=0)


@pytest.fixture(scope="module")
def other_shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """The same up to the cut, and something else from it on."""
    return made_shop(Warehouse(spark, str(tmp_path_factory.mktemp("other") / "warehouse")), seed_after=1)


def made_shop(warehouse: Warehouse, seed_after: int) -> Warehouse:
    items = [(f"{topic}{n}", f"{topic} {word}", topic) for topic, words in TOPICS.items() for n, word in enumerate(words.split())]
    items += [(f"new {topic}", f"{topic} {topic}", topic) for topic in TOPICS]
    rows = [(item, text, hashlib.sha256(text.encode()).hexdigest(), topic, None) for item, text, topic in items]
    warehouse.replace(ITEMS, warehouse.spark.createDataFrame(rows, ITEMS.schema))
    write_events(warehouse, seed_after)
    return warehouse


def write_events(warehouse: Warehouse, seed_after: int) -> None:
    """Forty days of each user up to the cut, and twenty from it on; the seed changes those alone. New items come after the cut."""
    random, later = np.random.default_rng(1), np.random.default_rng([2, seed_after])
    touched_later = 3 - seed_after
    rows = []
    for user in range(12):
        topic = list(TOPICS)[user % 3]
        for day in range(-40, 20, 2):
            draws = random if day < 0 else later
            at = datetime.combine(CUT + timedelta(days=day), datetime.min.time(), UTC) + timedelta(hours=9)
            touched = [f"{topic}{n}" for n in draws.permutation(4)[: 3 if day < 0 else touched_later]]
            touched += [f"new {topic}"] if day >= 0 else []
            said = "later " + "xyzzy"[: draws.integers(1, 6)] if day >= 0 else f"my {topic} needs {draws.choice(WORDS)}"
            for item in touched:
                rows.append((f"{user}-{day}-{item}", f"u{user}", item, "buy", at, at.date(), None, f"{said} {item}", None, "shop"))
    warehouse.replace(INTERACTIONS, warehouse.spark.createDataFrame(rows, INTERACTIONS.schema))


def last_run(warehouse: Warehouse) -> Row:
    return warehouse.read(RUNS).orderBy(F.desc("started_at")).first()


def arguments(config: Path, warehouse: Warehouse, *overrides: str) -> list[str]:
    given = ["--config", str(config), "--warehouse", warehouse.location, "--as-of", CUT.isoformat()]
    return [*given, *(part for override in overrides for part in ("--set", override))]


NEXT_TOKEN = (
    "fine_tuning.objective=next_token",
    "fine_tuning.base=scratch",
    "fine_tuning.network={layers: 1, heads: 2, width: 16, positions: 16, vocabulary: 300}",
)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without processes of its own a training starts at once."""

    def here(spark: SparkSession, plan: TrainingPlan[LanguageTraining]) -> Any:
        return train(plan)

    monkeypatch.setattr(job, "run_training", here)


def test_a_model_is_trained_by_two_processes_judged_and_recorded(shop: Warehouse, config: Path) -> None:
    ended = submit("finetune_encoder", *arguments(config, shop, "fine_tuning.num_processes=2"))
    require_success(ended)
    models = Path(shop.location) / "models"
    assert [path.name for path in models.iterdir()] == ["shop-contrastive"]  # rows and checkpoints are gone
    folder = model_in(models / "shop-contrastive")
    assert "epoch 1/3  step 10  loss" in ended.stderr + ended.stdout
    record = json.loads((folder / "fine_tuning.json").read_text())
    # 12 users, 13 days before 2024-05-18 with three texts each: three pairs a day with two partners. 7 days validate.
    assert record["examples"] == {"training": 12 * 13 * 3, "validation": 12 * 7 * 3, "training_rows": 12 * 13 * 3}
    assert record["data"] == {
        "trained on": "before 2024-05-18",
        "validated on": "2024-05-18 to before 2024-06-01",
        "judged on": "2024-06-01 to before 2024-07-01",
        "first event": "2024-04-22",
    }
    assert record["tables"] == {"interactions": shop.version(INTERACTIONS), "items": shop.version(ITEMS)}
    assert [epoch["step"] for epoch in record["epochs"]] == [10, 20, 30]
    assert record["epochs"][-1]["validation_loss"] < record["epochs"][0]["validation_loss"]
    assert record["model_id"] == model_id(Embedding(model=str(folder), max_tokens=16))
    measured = {(row["metric"], row["slice"]): row["value"] for row in shop.read(METRICS).where("stage = 'finetune_encoder'").collect()}
    # Each of the 360 texts of the 120 baskets after the cut seeks its two others among the twelve known: all are near.
    assert measured[("n_queries", "all")] == 12 * 10 * 3
    assert measured[("n_candidates", "all")] == 12
    assert measured[("recall@100", "model=fine_tuned")] == measured[("recall@100", "model=most_frequent")] == 1.0
    run = last_run(shop)
    assert (run["status"], run["rows_in"], run["rows_out"]) == ("done", 12 * 20 * 3, 10 * record["best_epoch"])
    vectors = SentenceEncoder(str(folder), 16, "cpu", 1, "fp32").encode(["garden rose", "garden soil", "games dice"], 100).vectors
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def model_in(folder: Path) -> Path:
    """The one model of a folder, which its pointer names."""
    (found,) = (path for path in folder.iterdir() if path.is_dir())
    assert json.loads((folder / "shop.current.json").read_text())["folder"] == found.name
    return found


@pytest.mark.parametrize("objective", ["contrastive", "next_token"])
def test_nothing_from_the_cut_on_is_in_a_model_and_a_kill_changes_nothing(
    shop: Warehouse,
    other_shop: Warehouse,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_this_process: None,
    objective: str,
) -> None:
    """One run, of next_token, is killed after its sixth step and run again; the other sees something else happen from the cut on."""
    overrides = NEXT_TOKEN if objective == "next_token" else ()
    step = training._Training._step

    def dies(self: Any, number: int) -> float:
        if number == 6:
            raise KeyboardInterrupt
        return step(self, number)

    killed = arguments(config, shop, *overrides, f"fine_tuning.folder={tmp_path}/killed")
    if objective == "next_token":
        with monkeypatch.context() as patch:
            patch.setattr(training._Training, "_step", dies)
            assert run_command("finetune_encoder", killed) == 130  # as a shell has it for Ctrl-C
        (left,) = (path for path in (tmp_path / "killed.working").iterdir() if path.is_dir())
        assert not (left / "rows").exists()  # what users wrote
        assert len(list((left / "checkpoints").glob("step-*"))) == 1
    assert run_command("finetune_encoder", killed) == 0
    assert run_command("finetune_encoder", arguments(config, other_shop, *overrides, f"fine_tuning.folder={tmp_path}/other")) == 0
    folders = [model_in(tmp_path / "killed"), model_in(tmp_path / "other")]
    for name in ("model.safetensors", "tokenizer.json"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second
    records = [json.loads((folder / "fine_tuning.json").read_text()) for folder in folders]
    assert records[0]["epochs"] == records[1]["epochs"]
    assert records[0]["examples"] == records[1]["examples"]
    assert records[0]["metrics"] != records[1]["metrics"]  # what judges it has changed
    if objective == "next_token":
        assert "xyzzy" not in (folders[0] / "tokenizer.json").read_text()
        assert records[0]["metrics"]["perplexity, model=fine_tuned"] < records[0]["metrics"]["perplexity, model=base"]
        assert read_model_folder(str(folders[0])).family == "GPT"


def test_a_day_without_a_future_is_not_judged(shop: Warehouse, config: Path, tmp_path: Path, in_this_process: None) -> None:
    overrides = (f"fine_tuning.folder={tmp_path}/model", "fine_tuning.epochs=1")
    given = [part for part in arguments(config, shop, *overrides) if part not in ("--as-of", CUT.isoformat())]
    assert run_command("finetune_encoder", given) == 0
    record = json.loads((model_in(tmp_path / "model") / "fine_tuning.json").read_text())
    assert (record["as_of"], record["metrics"]) == ("2024-06-20", {})
    assert "not judged" in last_run(shop)["message"]


@pytest.mark.parametrize(
    ("overrides", "pieces"),
    [
        (
            ["fine_tuning.objective=next_token"],
            ["fine_tuning.objective is 'next_token'", "is of the BERT family", "set fine_tuning.base to scratch"],
        ),
        (["embedding.model=no-such-model"], ["embedding.model is 'no-such-model'"]),
        (["fine_tuning.base=scratch"], ["base is 'scratch'", "objective next_token"]),
        (["fine_tuning.num_processes=3"], ["batch_size (16) must be a multiple of num_processes (3)"]),
        (["fine_tuning.folder=s3a://bucket/model"], ["s3a://bucket/model", "every machine shares"]),
        (["fine_tuning.validation_days=60"], ["there are no two item texts of one basket before 2024-04-02"]),
    ],
    ids=lambda value: value[0].partition("=")[0] if "=" in value[0] else None,
)
def test_what_cannot_be_trained_is_told(
    shop: Warehouse, config: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], pieces: list[str]
) -> None:
    assert run_command("finetune_encoder", arguments(config, shop, *overrides)) == 2
    told = capsys.readouterr().err
    for piece in pieces:
        assert piece in told


def test_a_warehouse_without_interactions_names_the_stage_to_run(
    warehouse: Warehouse, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("finetune_encoder", arguments(config, warehouse)) == 2
    assert "run the stage clean first" in capsys.readouterr().err


def test_a_model_of_the_same_data_is_trained_once_and_a_later_one_is_refused_as_a_base(
    shop: Warehouse, config: Path, tmp_path: Path, in_this_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = (f"fine_tuning.folder={tmp_path}/model", "fine_tuning.epochs=1")
    for _ in range(2):
        assert run_command("finetune_encoder", arguments(config, shop, *overrides)) == 0
    assert last_run(shop)["message"].startswith(f"the model as of {CUT} was trained on the same data before")
    folder = model_in(tmp_path / "model")
    earlier = [*arguments(config, shop, f"embedding.model={folder}"), "--as-of", (CUT - timedelta(days=5)).isoformat()]
    assert run_command("finetune_encoder", earlier) == 2
    assert f"fine-tuned on days before {CUT}. Fine-tuning as of 2024-05-27 may see only days before 2024-05-27" in capsys.readouterr().err
    # Whoever names the folder of the models is told which one to name.
    assert run_command("finetune_encoder", arguments(config, shop, f"embedding.model={tmp_path}/model")) == 2
    assert f"It holds trained models; name one of them: {folder}" in capsys.readouterr().err
