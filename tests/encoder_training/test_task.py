"""The loop of a training: one process and two, resuming, early stopping, and folders that embed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from interest_tiers.config import FineTuning
from interest_tiers.embedding.encoder import SentenceEncoder
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.encoder_training.task import LanguageTraining
from interest_tiers.encoder_training.trained_folder import complete
from interest_tiers.errors import ConfigError, TrainingError
from interest_tiers.training import launcher as distribution
from interest_tiers.training import loop as training
from interest_tiers.training.launcher import check_processes, run_training
from interest_tiers.training.loop import Epoch, Progress, Trained, TrainingPlan, learning_rate, train
from tests.embedding.folders import bert_of_words, small_language_model
from tests.killed import killed_before

WORDS = [f"w{n}" for n in range(40)]
SETTINGS = FineTuning(batch_size=8, epochs=4, max_epoch_steps=5, learning_rate=1e-3, checkpoint_steps=2, frequency_correction=0.5)


def write_rows(folder: Path, n_rows: int, seed: int) -> None:
    """Pairs of texts of one of four topics, each of ten words; in two files."""
    random = np.random.default_rng(seed)
    topics = random.integers(4, size=n_rows)
    texts = [[[2, *(5 + topic * 10 + random.integers(10, size=random.integers(1, 5))), 3] for topic in topics] for _ in "ab"]
    rows = pa.table(
        {
            "anchor": pa.array(texts[0], pa.list_(pa.int32())),
            "positive": pa.array(texts[1], pa.list_(pa.int32())),
            "anchor_text": random.integers(1000, size=n_rows),
            "positive_text": random.integers(1000, size=n_rows),
            "basket": np.arange(n_rows),
            "log_frequency": random.random(n_rows).astype(np.float32),
        }
    )
    for shard, part in enumerate((rows.slice(0, n_rows // 3), rows.slice(n_rows // 3))):
        (folder / f"shard={shard}").mkdir(parents=True)
        pq.write_table(part, folder / f"shard={shard}" / "part.parquet", row_group_size=50)


def plan_in(folder: Path, settings: FineTuning = SETTINGS, n_rows: int = 1001) -> TrainingPlan[LanguageTraining]:
    if not (folder / "start").exists():
        bert_of_words(folder / "start", WORDS)
        write_rows(folder / "training", n_rows, seed=1)
        write_rows(folder / "validation", 30, seed=2)
    task = LanguageTraining(settings, *(str(folder / name) for name in ("start", "training", "validation")))
    return TrainingPlan(settings, task, n_rows, str(folder / "checkpoints"), str(folder / "model"))


def weights(plan: TrainingPlan[LanguageTraining]) -> bytes:
    return (Path(plan.result) / "model.safetensors").read_bytes()


def vectors(plan: TrainingPlan[LanguageTraining]) -> np.ndarray:
    return SentenceEncoder(plan.result, 16, "cpu", 1, "fp32").encode(["w1 w2", "w11 w12 w13", ""], 100).vectors


def test_two_processes_train_what_one_does(spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """1,001 rows in two uneven files, 20 steps of the same 8 pairs: the losses agree, and so do the vectors."""
    alone, together = plan_in(tmp_path / "one"), plan_in(tmp_path / "two", SETTINGS.model_copy(update={"num_processes": 2}))
    one, two = train(alone), run_training(spark, together)
    assert len(one.losses) == len(two.losses) == 20
    assert np.abs(np.subtract(one.losses, two.losses)).max() < 1e-3
    assert [epoch.validation_loss for epoch in two.epochs] == pytest.approx([epoch.validation_loss for epoch in one.epochs], abs=1e-3)
    assert one.epochs[-1].loss < one.epochs[0].loss
    for plan in (alone, together):
        complete(Path(plan.result), plan.task.start)
    assert np.allclose(vectors(alone), vectors(together), atol=1e-3)
    assert not np.allclose(vectors(alone), vectors(replace(alone, result=alone.task.start)), atol=1e-2)
    printed = capfd.readouterr().out
    assert "epoch 4/4  step 20  loss" in printed


def test_a_process_that_fails_ends_the_training_with_its_own_words(spark: SparkSession, tmp_path: Path) -> None:
    plan = plan_in(tmp_path, SETTINGS.model_copy(update={"num_processes": 2}))
    (tmp_path / "start" / "config.json").unlink()
    with pytest.raises(
        TrainingError, match=r"(?s)process [01] of 2 failed with ConfigError: .* has no config.json.*Traceback.*read_model_folder"
    ):
        run_training(spark, plan)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tmp_path: Path) -> None:
    first, second = plan_in(tmp_path / "first"), plan_in(tmp_path / "second")
    other = plan_in(tmp_path / "other", SETTINGS.model_copy(update={"seed": 18}))
    for plan in (first, second, other):
        train(plan)
    assert weights(first) == weights(second) != weights(other)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "dropout"])
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingPlan[LanguageTraining], Trained]:
    """A training without and with dropout, whose masks must come again when another is killed."""
    plan = plan_in(tmp_path_factory.mktemp("undisturbed"), SETTINGS.model_copy(update={"dropout": request.param}))
    return plan, train(plan)


@pytest.mark.parametrize("killed_at", [1, 5, 9, 15])
def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(
    undisturbed: tuple[TrainingPlan[LanguageTraining], Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """Before the first checkpoint, at the end of an epoch, within one."""
    plan, expected = undisturbed
    killed = plan_in(tmp_path, plan.settings)
    killed_before(killed_at, killed, monkeypatch)
    resumed = train(killed)
    assert resumed.resumed_at == {1: 0, 5: 5, 9: 9 - 1 if SETTINGS.checkpoint_steps == 2 else 0, 15: 15}[killed_at]
    assert resumed.losses == expected.losses[resumed.resumed_at :]
    assert resumed.epochs == expected.epochs
    assert weights(killed) == weights(plan)


def test_one_checkpoint_is_kept_and_one_set_of_best_weights(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    trained = train(plan)
    kept = sorted(path.name for path in Path(plan.checkpoints).iterdir())
    assert kept == [f"best-{trained.best.epoch:05d}.safetensors", f"step-{5 * len(trained.epochs):09d}"]
    state = json.loads((Path(plan.checkpoints) / kept[1] / "state.json").read_text())
    assert state["step"] == 5 * len(trained.epochs)


def test_training_stops_when_validation_gets_no_better_and_the_best_weights_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation losses 3, 2, 5, 4: two epochs after the second bring nothing, and its weights are the result."""
    settings = SETTINGS.model_copy(update={"epochs": 9, "patience": 2})
    plan = plan_in(tmp_path / "stopped", settings)
    given = iter([3.0, 2.0, 5.0, 4.0])
    monkeypatch.setattr(training._Training, "_validation_loss", lambda self: next(given))
    trained = train(plan)
    assert ([epoch.validation_loss for epoch in trained.epochs], trained.best.epoch) == ([3.0, 2.0, 5.0, 4.0], 2)
    # The same two epochs of the same schedule, the last of them the best.
    monkeypatch.setattr(Progress, "is_over", lambda self, settings: len(self.epochs) == 2)
    given = iter([3.0, 2.0])
    two = plan_in(tmp_path / "two", settings)
    train(two)
    assert weights(plan) == weights(two)


def test_the_best_epoch_is_the_earliest_with_the_smallest_loss() -> None:
    def progress(*losses: float | None) -> Progress:
        return Progress(epochs=[Epoch(n + 1, n, 1.0, loss) for n, loss in enumerate(losses)])

    assert progress().best is None
    assert [progress(*losses).best.epoch for losses in ((None, None), (2.0, 1.0, 1.0), (1.0, 2.0))] == [2, 2, 1]  # type: ignore[union-attr]
    patient = FineTuning(patience=2, epochs=5)
    assert [progress(*losses).is_over(patient) for losses in ((1.0, 2.0), (1.0, 2.0, 2.0), (None,) * 4, (None,) * 5, ())] == [
        False, True, False, True, False,
    ]  # fmt: skip


def test_the_rate_rises_over_the_warmup_and_falls_to_nothing() -> None:
    settings = FineTuning(learning_rate=0.8, warmup=0.2)
    assert [learning_rate(step, settings, 10) for step in range(10)] == pytest.approx([0.4, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_a_language_model_learns_and_its_folder_embeds(tmp_path: Path) -> None:
    """Whoever sees the same eight tokens again and again foretells them; the folder is read here and by sentence-transformers."""
    start = small_language_model(tmp_path / "start", ["milk and bread and rye"] * 9)
    block = [0, 70, 71, 72, 73, 74, 75, 76]
    for name in ("training", "validation"):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"tokens": pa.array([block] * 32, pa.list_(pa.int32()))}), tmp_path / name / "part.parquet")
    settings = FineTuning(objective="next_token", base="scratch", batch_size=4, epochs=10, max_epoch_steps=8, learning_rate=1e-2)
    folders = [str(tmp_path / name) for name in ("training", "validation", "checkpoints", "model")]
    trained = train(TrainingPlan(settings, LanguageTraining(settings, start, *folders[:2]), 32, *folders[2:]))
    losses = [epoch.validation_loss for epoch in trained.epochs]
    assert losses[0] is not None
    assert losses[-1] is not None
    assert losses[-1] < 0.5 < 4 < np.log(300)
    assert losses[0] > losses[-1]
    complete(tmp_path / "model", start)
    folder = read_model_folder(str(tmp_path / "model"))
    assert (folder.family, folder.pooling, folder.max_tokens) == ("GPT", "mean", 32)
    texts = ["milk and bread", "", "rye " * 50]
    ours = SentenceEncoder(str(tmp_path / "model"), 32, "cpu", 1, "fp32").encode(texts, 100)
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer(str(tmp_path / "model"), device="cpu")
    theirs = reference.encode([texts[0], texts[2]], batch_size=2)
    assert np.allclose(ours.vectors[[0, 2]], theirs, atol=1e-5)


def test_processes_that_could_not_run_together_are_refused(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    check_processes(spark, 8, "fine_tuning.num_processes")  # in local mode they are processes of the driver's machine
    monkeypatch.setattr(distribution, "_local_cards", lambda: 1)
    with pytest.raises(ConfigError, match="num_processes is 2, and there are 1 GPUs"):
        check_processes(spark, 2, "fine_tuning.num_processes")
    monkeypatch.setattr(distribution, "runs_locally", lambda spark: False)
    check_processes(spark, 2, "fine_tuning.num_processes")
    monkeypatch.setattr(distribution, "SLOT_SECONDS", 0.0)
    with pytest.raises(ConfigError, match="num_processes is 3; the cluster has 2 task slots"):
        check_processes(spark, 3, "fine_tuning.num_processes")


def test_slots_of_executors_that_register_late_are_waited_for(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    registered = iter([2, 2, 4])
    monkeypatch.setattr(distribution, "runs_locally", lambda spark: False)
    monkeypatch.setattr(type(spark.sparkContext), "defaultParallelism", property(lambda self: next(registered)))
    check_processes(spark, 4, "tiers.training.num_processes")
    assert list(registered) == []


@pytest.mark.parametrize("on_a_cluster", [True, False])
def test_a_lost_executor_starts_the_training_again_from_its_checkpoint(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_a_cluster: bool
) -> None:
    starts: list[int] = []

    def run(self: TorchDistributor, function: Callable[..., Trained], ready: TrainingPlan[LanguageTraining]) -> Trained:
        starts.append(len(starts))
        if len(starts) == 1:
            raise RuntimeError("Could not recover from a failed barrier ResultStage. [...] ExecutorLostFailure (executor 1 exited)")
        return function(ready)

    monkeypatch.setattr(distribution, "runs_locally", lambda spark: not on_a_cluster)
    monkeypatch.setattr(TorchDistributor, "run", run)
    plan = plan_in(tmp_path, SETTINGS.model_copy(update={"epochs": 1}))
    if on_a_cluster:
        assert [epoch.step for epoch in run_training(spark, plan).epochs] == [5]
        assert len(starts) == 2
    else:
        with pytest.raises(TrainingError, match="ExecutorLostFailure"):
            run_training(spark, plan)


def test_with_dynamic_allocation_a_single_process_trains_on_the_driver(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "runs_locally", lambda spark: False)
    monkeypatch.setattr(distribution, "_is_dynamic", lambda spark: True)
    check_processes(spark, 1, "fine_tuning.num_processes")
    with pytest.raises(ConfigError, match=r"num_processes is 2: .*spark.dynamicAllocation.enabled rules out. Set it to false"):
        check_processes(spark, 2, "fine_tuning.num_processes")
    plan = plan_in(tmp_path, SETTINGS.model_copy(update={"epochs": 1}))
    modes: list[bool] = []
    monkeypatch.setattr(TorchDistributor, "run", lambda self, function, ready: (modes.append(self.local_mode), function(ready))[1])
    assert [epoch.step for epoch in run_training(spark, plan).epochs] == [5]
    assert modes == [True]
