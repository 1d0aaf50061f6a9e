"""Networks of tiers: they learn, alike with one seed, and go on where they were killed; what is chosen after the training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyspark.sql import SparkSession
from sklearn.metrics import f1_score, log_loss

from interest_tiers.config import TierTraining
from interest_tiers.errors import DivergedError
from interest_tiers.tiers import training_rows
from interest_tiers.tiers.model import MODEL, Decision, load_network, score_batches
from interest_tiers.tiers.networks import TierNetwork, signed_log
from interest_tiers.tiers.objective import objective_j
from interest_tiers.tiers.shapes import SEQUENCE_CHANNELS, RowBatch, Scaling
from interest_tiers.tiers.tier_training import TierTask, build_shape, limit_batch
from interest_tiers.tiers.training_rows import TrainingRows, reads_by_petastorm, stored_batches
from interest_tiers.tiers.tuning import choose_decision, expected_macro_f1, fit_calibration
from interest_tiers.training.launcher import run_training
from interest_tiers.training.loop import TrainingPlan, train
from tests.embedding.folders import bert_of_words
from tests.killed import killed_before

#: Marks what needs petastorm, which cannot read with the pyarrow of newer platforms.
with_petastorm = pytest.mark.skipif(not reads_by_petastorm(), reason="petastorm is missing, or pyarrow is too new for it")

FEATURES = ("days", "gap")
LENGTH = 4
SETTINGS = TierTraining(
    batch_size=60,
    epochs=3,
    max_epoch_steps=8,
    learning_rate=0.02,
    checkpoint_steps=3,
    width=8,
    members=2,
    layers=1,
    dropout=0.2,
    sequence_length=LENGTH,
)  # fmt: skip
SCALING = Scaling(mean=(1.0, 0.5), deviation=(1.0, 0.5), lowest=(-9.0, -9.0), highest=(9.0, 9.0), missing=(1,))


def write_rows(folder: Path, n_rows: int, seed: int) -> None:
    """Tiers follow from days, and for who reads more from the last channel of a sequence and from a token; a third has no gap."""
    random = np.random.default_rng(seed)
    label = random.integers(3, size=n_rows)
    days = (2 - label) * 4 + random.random(n_rows) * 2
    gap = np.where(random.random(n_rows) < 1 / 3, np.nan, random.random(n_rows))
    sequence = np.repeat(label[:, None], LENGTH * SEQUENCE_CHANNELS, axis=1)
    rows = pa.table(
        {
            "features": pa.array(list(np.stack([days, gap], axis=1)), pa.list_(pa.float32())),
            "label": pa.array(label, pa.int32()),
            "weight": pa.array(np.ones(n_rows), pa.float32()),
            "sequence": pa.array(list(sequence), pa.list_(pa.float32())),
            "tokens": pa.array([[3, 6 + place, 4, 0] for place in label], pa.list_(pa.int32())),
        }
    )
    folder.mkdir(parents=True)
    for part in range(3):
        pq.write_table(rows.slice(part * n_rows // 3, n_rows // 3), folder / f"part-{part}.parquet", row_group_size=80)


def plan_in(folder: Path, settings: TierTraining = SETTINGS, network: str = "mlp") -> TrainingPlan[TierTask]:
    if not (folder / "training").exists():
        write_rows(folder / "training", 600, seed=1)
        write_rows(folder / "tuning", 150, seed=2)
    encoder = str(bert_of_words(folder / "bert", ["core", "secondary", "marginal"])) if network == "bert" else None
    shape = build_shape(network, settings, len(FEATURES), SCALING, encoder)
    task = TierTask(settings, shape, FEATURES, SCALING, str(folder / "training"), str(folder / "tuning"))
    return TrainingPlan(settings, task, 600, str(folder / "checkpoints"), str(folder / "model"))


def weights(plan: TrainingPlan[TierTask]) -> bytes:
    return (Path(plan.result) / "model.safetensors").read_bytes()


@pytest.mark.parametrize("network", ["mlp", "lstm", "transformer", "bert"])
def test_every_network_trains_by_two_processes_and_is_read_back(spark: SparkSession, tmp_path: Path, network: str) -> None:
    plan = plan_in(tmp_path, SETTINGS.model_copy(update={"num_processes": 2}), network)
    trained = run_training(spark, plan)
    assert [epoch.step for epoch in trained.epochs] == [8, 16, 24]
    assert trained.best.validation_loss is not None
    assert trained.best.validation_loss < 0.5 < 2 / 3  # two thirds is J of a guess
    assert json.loads((Path(plan.result) / MODEL).read_text())["features"] == list(FEATURES)
    said = list(score_batches(load_network(Path(plan.result)), stored_batches(plan.task.tuning, 1000)))
    scores, rows = torch.cat([part for part, _ in said]), RowBatch.join([part for _, part in said])
    assert objective_j(torch.softmax(scores, 1).numpy(), rows.label, rows.weight) == pytest.approx(trained.best.validation_loss, abs=1e-5)


@pytest.mark.parametrize(
    ("n_examples", "processes", "expected"),
    [(10**6, 1, 2048), (2048 * 64, 1, 2048), (6400, 1, 100), (6400, 3, 99), (600, 1, 9), (600, 3, 9), (300, 1, 8), (10, 64, 64)],
)
def test_few_examples_come_in_small_batches(n_examples: int, processes: int, expected: int) -> None:
    settings = TierTraining(num_processes=processes, batch_size=2048 // processes * processes)
    assert limit_batch(settings, n_examples).batch_size == expected


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "steps", "decay"),
    # Once through; not quite twice through; no more than max_epoch_steps. The decay is that of 1,000 examples over those there are.
    [(1_000_000, 2048, 489, 0.001), (300, 8, 64, 10 / 3), (10**9, 2048, 10_000, 1e-6)],
)
def test_few_examples_are_gone_over_again_and_hold_weights_near_zero(n_rows: int, batch_size: int, steps: int, decay: float) -> None:
    plan = TrainingPlan(TierTraining(batch_size=batch_size, prior_examples=1000), None, n_rows, "checkpoints", "model")
    assert (plan.epoch_steps, plan.prior_decay) == (steps, pytest.approx(decay, rel=1e-12))


def test_a_prior_takes_no_more_than_the_whole_of_a_weight() -> None:
    plan = TrainingPlan(TierTraining(learning_rate=0.02, prior_examples=1000), None, 10, "checkpoints", "model")
    assert plan.prior_decay == 50


def test_an_epoch_goes_over_few_examples_again(tmp_path: Path) -> None:
    """600 examples are 10 batches: the later 4 steps of an epoch of 14 see examples of the earlier again."""
    plan = plan_in(tmp_path, SETTINGS.model_copy(update={"min_epoch_steps": 14, "max_epoch_steps": 100}))
    rows = plan.task.training_rows(0, 1, plan.epoch_steps)
    days = [set(rows.rows(step).features[:, 0]) for step in range(plan.epoch_steps)]
    assert len(set.union(*days[:10])) == len(set.union(*days)) == 600
    assert [epoch.step for epoch in train(plan).epochs] == [14, 28, 42]


def test_a_prior_of_many_examples_leaves_nothing_but_a_guess(tmp_path: Path) -> None:
    """Half of every weight goes at each step, the scales of normalisations among them: all rows have nearly the same probabilities."""
    plan = plan_in(tmp_path, SETTINGS.model_copy(update={"prior_examples": 600 * 0.5 / SETTINGS.learning_rate, "warmup": 0.0}))
    assert train(plan).best.validation_loss == pytest.approx(2 / 3, abs=0.01)
    free = plan_in(tmp_path / "free", SETTINGS.model_copy(update={"prior_examples": 0.0}))
    found = train(free).best.validation_loss
    assert found is not None and found < 0.4


def test_one_seed_gives_the_same_weights_and_another_gives_others(tmp_path: Path) -> None:
    first, second = plan_in(tmp_path / "first"), plan_in(tmp_path / "second")
    other = plan_in(tmp_path / "other", SETTINGS.model_copy(update={"seed": 18}))
    for plan in (first, second, other):
        train(plan)
    assert weights(first) == weights(second) != weights(other)


@pytest.mark.parametrize("killed_at", [5, 8, 13])
def test_a_training_killed_in_mid_epoch_ends_as_the_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    undisturbed, killed = plan_in(tmp_path / "undisturbed"), plan_in(tmp_path / "killed")
    expected = train(undisturbed)
    killed_before(killed_at, killed, monkeypatch)
    resumed = train(killed)
    assert resumed.resumed_at == {5: 3, 8: 8, 13: 12}[killed_at]
    assert resumed.epochs == expected.epochs
    assert weights(killed) == weights(undisturbed)


def test_a_training_that_diverges_is_told_from_one_that_fails(spark: SparkSession, tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    for file in (tmp_path / "training").glob("*.parquet"):
        rows = pq.read_table(file)
        endless = pa.array(np.full(len(rows), np.inf), pa.float32())
        pq.write_table(rows.set_column(rows.schema.get_field_index("weight"), "weight", endless), file)
    with pytest.raises(DivergedError, match="the loss is not a number: lower"):
        run_training(spark, plan)


@pytest.mark.parametrize("by_petastorm", [pytest.param(True, marks=with_petastorm), False])
def test_an_epoch_of_two_processes_holds_every_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_petastorm: bool) -> None:
    """600 rows in nine row groups of unequal size: what both see of the first turn is all that there is."""
    monkeypatch.setattr(training_rows, "reads_by_petastorm", lambda: by_petastorm)
    write_rows(tmp_path / "rows", 600, seed=1)
    every = np.concatenate([rows.features[:, 0] for rows in stored_batches(tmp_path / "rows", 100)])
    readers = [TrainingRows(str(tmp_path / "rows"), 20, 17, rank, 2, 10) for rank in (0, 1)]
    seen = [np.concatenate([reader.rows(step).features[:, 0] for step in range(10)]) for reader in readers]
    assert not set(seen[0]) & set(seen[1])
    assert set(np.concatenate(seen)) <= set(every)
    again = TrainingRows(str(tmp_path / "rows"), 20, 17, 0, 2, 10)
    assert np.array_equal(again.rows(13).features, readers[0].rows(13).features, equal_nan=True)
    alone = TrainingRows(str(tmp_path / "rows"), 60, 17, 0, 1, 10)
    turn = np.concatenate([alone.rows(step).features[:, 0] for step in range(10)])
    assert sorted(turn) == sorted(every)
    assert not np.array_equal(turn[:60], alone.rows(10).features[:, 0])


def test_more_processes_than_row_groups_are_refused_without_petastorm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_rows, "reads_by_petastorm", lambda: False)
    write_rows(tmp_path / "rows", 600, seed=1)
    with pytest.raises(ValueError, match="9 row groups for 10 processes: use fewer"):
        TrainingRows(str(tmp_path / "rows"), 1, 17, 9, 10, 10).rows(0)


@with_petastorm
def test_rows_are_the_same_where_a_gpu_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "rows", 600, seed=1)

    def features_of_steps() -> np.ndarray:
        rows = TrainingRows(str(tmp_path / "rows"), 60, 17, 0, 1, 10)
        return np.concatenate([rows.rows(step).features for step in range(25)])

    import petastorm

    pools: list[str] = []
    petastorm_reader = petastorm.make_batch_reader
    monkeypatch.setattr(petastorm, "make_batch_reader", lambda *a, **k: (pools.append(k["reader_pool_type"]), petastorm_reader(*a, **k))[1])
    on_cpu = features_of_steps()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert np.array_equal(on_cpu, features_of_steps(), equal_nan=True)
    assert pools == ["dummy"] * 3 + ["thread"] * 3


def test_what_is_missing_is_told_and_what_is_far_away_is_cut() -> None:
    network = TierNetwork(build_shape("mlp", SETTINGS, 2, SCALING, None))
    network.set_scaling(SCALING)
    scaled = network._scaled(torch.tensor([[np.e - 1, float("nan")], [1e30, -1.0]]))
    assert torch.allclose(scaled, torch.tensor([[0.0, 0.0, 1.0], [6.0, float(-np.log(2) - 0.5) / 0.5, 0.0]]))
    assert signed_log(torch.tensor([-3.0, 0.0, 3.0])).tolist() == pytest.approx([-np.log(4), 0, np.log(4)])


def test_what_is_far_beyond_the_training_counts_as_a_little_beyond() -> None:
    network = TierNetwork(build_shape("mlp", SETTINGS, 2, SCALING, None))
    network.set_scaling(replace(SCALING, lowest=(0.0, 0.5), highest=(1.5, 0.5)))
    near, far, least = [np.expm1(2.0), 1.0], [1e9, 1e9], [-1e9, -1e9]
    # A deviation beyond the bounds of the first; the second was the same everywhere.
    expected = torch.tensor([[1.0, 0.0, 0.0], [1.5, 0.0, 0.0], [-2.0, 0.0, 0.0]])
    assert torch.allclose(network._scaled(torch.tensor([near, far, least], dtype=torch.float32)), expected)


def test_members_say_together_the_mean_of_their_probabilities() -> None:
    scores = torch.tensor([[[2.0, 0.0, -1.0], [0.0, 1.0, 5.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    joined = TierNetwork.average(scores)
    assert joined.shape == (2, 3)
    assert torch.allclose(joined.exp(), torch.softmax(scores, dim=2).mean(dim=1))
    assert torch.allclose(joined.exp().sum(dim=1), torch.ones(2))


def test_members_differ_and_each_learns_for_itself(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    train(plan)
    network = load_network(Path(plan.result))
    rows = RowBatch.join(list(stored_batches(plan.task.tuning, 1000)))
    with torch.inference_mode():
        scores = network(*(torch.from_numpy(part) for part in (rows.features, rows.sequences, rows.tokens)))
    assert scores.shape == (len(rows), SETTINGS.members, 3)
    js = [objective_j(torch.softmax(scores[:, member], 1).numpy(), rows.label, rows.weight) for member in range(SETTINGS.members)]
    assert max(js) < 0.5
    assert js[0] != js[1]
    # The error of a mean is at most the mean of the errors.
    assert objective_j(TierNetwork.average(scores).exp().numpy(), rows.label, rows.weight) <= np.mean(js)


def test_calibration_takes_back_what_makes_scores_too_sure() -> None:
    """Tiers are drawn from known probabilities; scores three times too large, and one tier too high, come back to them."""
    random = np.random.default_rng(4)
    logits = random.normal(size=(20_000, 3))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    tiers = (random.random((20_000, 1)) > p.cumsum(1)).sum(1)
    scores = 3 * logits + np.array([2.0, 0.0, 0.0])
    calibration = fit_calibration(scores, tiers)
    assert calibration.scale == pytest.approx(1 / 3, abs=0.03)
    found = calibration.probabilities(scores)
    assert np.allclose(found.sum(1), 1)
    assert np.abs(found - p).mean() < 0.01
    assert log_loss(tiers, found) < log_loss(tiers, p) + 1e-3


def test_the_decision_has_the_best_macro_f1_over_what_may_come_true() -> None:
    random = np.random.default_rng(5)
    p = random.dirichlet([0.3, 0.4, 2.0], size=3000)
    decision = choose_decision(p)
    said = {s: Decision(decision.prior, s).tiers(p) for s in np.linspace(0, 1, 21)}
    drawn = [(random.random((3000, 1)) > p.cumsum(1)).sum(1) for _ in range(50)]
    scores = {s: np.mean([f1_score(tiers, tier, average="macro") for tiers in drawn]) for s, tier in said.items()}
    # Three standard errors of the draws.
    assert {s: expected_macro_f1(p, tier) for s, tier in said.items()} == pytest.approx(scores, abs=0.005)
    assert max(scores.values()) - 0.001 < scores[decision.strength] > scores[0.0] + 0.04
    assert Decision((0.2, 0.3, 0.5), 0.0).tiers(p).tolist() == p.argmax(1).tolist()
    assert Decision((0.1, 0.1, 0.8), 1.0).tiers(np.array([[0.15, 0.05, 0.8]])).tolist() == [0]
