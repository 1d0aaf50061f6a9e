"""Fine-tuning of the language model as of a cutoff: from frames and settings to a published model folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers import __version__
from interest_tiers.config import Embedding, FineTuning
from interest_tiers.embedding.model_folder import model_id, read_model_folder
from interest_tiers.encoder_training import examples as fine_tuning
from interest_tiers.encoder_training import trained_folder
from interest_tiers.encoder_training.quality import Measure, QualityData, measure_language, measure_retrieval
from interest_tiers.encoder_training.task import LanguageTraining
from interest_tiers.encoder_training.training_rows import shards_in
from interest_tiers.errors import ConfigError
from interest_tiers.spark.materialise import Materialise
from interest_tiers.spark.sampling import sample_by_hash
from interest_tiers.training.experiment_log import log_training
from interest_tiers.training.launcher import run_training
from interest_tiers.training.leakage import encoder_cutoff, require_encoder_before
from interest_tiers.training.loop import Trained, TrainingPlan
from interest_tiers.training.model_store import ModelStore
from interest_tiers.training.record import MODEL_CARD, Lineage
from interest_tiers.training.working_folder import WorkingFolder

Plan = TrainingPlan[LanguageTraining]

#: Texts, sampled by hash, from which a model from scratch learns its tokens.
VOCABULARY_TEXTS = 100_000


@dataclass(frozen=True)
class EncoderInputs:
    """The frames of a fine-tuning.

    interactions: (interaction_id, user_id, item_id, behaviour, occurred_at, event_date, text), from every day
    items:        (item_id, text_hash, text, category)
    behaviours:   those that touch an item
    """

    interactions: DataFrame
    items: DataFrame
    behaviours: Sequence[str]


@dataclass(frozen=True)
class TrainedEncoder:
    """A published model. rows: training and validation examples. step: that of the best epoch."""

    folder: Path
    rows: int
    step: int
    trained: Trained
    measures: list[Measure]


@dataclass(frozen=True)
class _Examples:
    training: DataFrame
    validation: DataFrame
    n_training: int
    n_validation: int


def require_trainable(settings: FineTuning, embedding: Embedding, cutoff: date | None = None) -> None:
    """Raise ConfigError for a language model that cannot be trained as configured, or that saw days after the cutoff."""
    if settings.base == "scratch":
        return
    base = read_model_folder(embedding.model)
    if settings.objective == "next_token" and base.family != "GPT":
        raise ConfigError(
            f"fine_tuning.objective is 'next_token', and embedding.model ({embedding.model}) is of the {base.family} family, "
            "which predicts no next token: name a model of the GPT family, or set fine_tuning.base to scratch"
        )
    if settings.objective == "next_token":
        fine_tuning.require_end_of_text(embedding.model)
    if cutoff is not None:
        require_encoder_before(base.path, cutoff, f"Fine-tuning as of {cutoff}")


@dataclass
class EncoderTraining:
    """One fine-tuning. Days before the cutoff train and validate; the horizon after it measures the result."""

    inputs: EncoderInputs
    cutoff: date
    horizon_days: int
    settings: FineTuning
    embedding: Embedding
    store: ModelStore
    materialise: Materialise
    spark: SparkSession
    lineage: Lineage

    @cached_property
    def validated_from(self) -> date:
        """The first of the days that choose the epoch and train nothing."""
        return self.cutoff - timedelta(days=self.settings.validation_days)

    @cached_property
    def test_end(self) -> date:
        """The end of the horizon that measures the result."""
        return self.cutoff + timedelta(days=self.horizon_days)

    @property
    def before(self) -> DataFrame:
        return self.inputs.interactions.where(F.col("event_date") < F.lit(self.cutoff))

    @property
    def after(self) -> DataFrame:
        happened = F.col("event_date")
        return self.inputs.interactions.where((happened >= F.lit(self.cutoff)) & (happened < F.lit(self.test_end)))

    @property
    def folder(self) -> Path:
        """The folder of the model, whether or not it has been trained."""
        return self.store.folder(self.cutoff, self.fingerprint)

    @property
    def is_trained(self) -> bool:
        return self.store.is_trained(self.cutoff, self.fingerprint)

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of all that decides on the model and on how good it is: settings, code, base model and data."""
        settings = self.settings.model_dump(mode="json", exclude={"num_processes", "folder", "mlflow_experiment"})
        base = "scratch" if self.settings.base == "scratch" else model_id(self._embedding_of(self.embedding.model))
        seen = self.inputs.interactions.where(F.col("event_date") < F.lit(self.test_end))
        rows = [
            _hash_rows(seen, ["interaction_id", "user_id", "item_id", "behaviour", "occurred_at", "text"]),
            _hash_rows(self.inputs.items, ["item_id", "text_hash", "text", "category"]),
        ]
        parts = [
            settings, rows, base, self.embedding.max_tokens, list(self.inputs.behaviours), self.cutoff.isoformat(), self.horizon_days,
            __version__,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def train(self, report: Callable[[Trained, list[Measure]], None]) -> TrainedEncoder:
        """Train, measure and publish. report: called before the model is published, so that a killed command calls it again."""
        with self.store.working_folder(self.cutoff, self.fingerprint) as working:
            shutil.rmtree(working.path / self.folder.name, ignore_errors=True)
            plan, examples = self._plan(working)
            trained = run_training(self.spark, plan)
            result = Path(plan.result)
            trained_folder.complete(result, plan.task.start)
            measures = self._measure(plan, working)
            record = self._record(plan, examples, trained, measures)
            trained_folder.write_record(result, record)
            report(trained, measures)
            log_training(self.settings.mlflow_experiment, self.folder, record, result / MODEL_CARD)
            self.store.publish(result, self.cutoff, self.fingerprint)
        self.store.point(self.lineage.name, self.cutoff, self.fingerprint)
        return TrainedEncoder(self.folder, examples["training"] + examples["validation"], trained.best.step, trained, measures)

    def _plan(self, working: WorkingFolder) -> tuple[Plan, dict[str, int]]:
        """Write the rows and plan the training on them; returns also the numbers of examples and rows."""
        contrastive = self.settings.objective == "contrastive"
        examples = self._sample_pairs() if contrastive else self._sample_texts()
        if not examples.n_training:
            what = "two item texts of one basket" if contrastive else "texts"
            raise ConfigError(f"there are no {what} before {self.validated_from} to train on: give a later --as-of, or other data")
        start = self._start(examples.training, working)
        for name, rows in self._to_rows(examples, start).items():
            working.write_rows(name, rows, partition_by="shard")
        n_rows = sum(shard.n_rows for shard in shards_in(working.rows("training")))
        if contrastive and n_rows != examples.n_training:
            raise ConfigError(
                f"{working.path} has {n_rows:,} of {examples.n_training:,} pairs: "
                "set fine_tuning.folder to a path that every machine shares"
            )
        plan = TrainingPlan(
            settings=self.settings,
            task=LanguageTraining(self.settings, start, str(working.rows("training")), str(working.rows("validation"))),
            n_rows=n_rows,
            checkpoints=str(working.checkpoints),
            result=str(working.path / self.folder.name),
        )
        return plan, {"training": examples.n_training, "validation": examples.n_validation, "training_rows": n_rows}

    def _to_rows(self, examples: _Examples, start: str) -> dict[str, DataFrame]:
        """Tokenise the examples, in as many shards as a batch takes rows from."""
        n_shards = fine_tuning.shard_count(examples.n_training, self.settings.batch_size)
        windows = (("training", examples.training, n_shards), ("validation", examples.validation, 1))
        if self.settings.objective == "contrastive":
            seen = self.materialise("frequencies", fine_tuning.text_frequencies(examples.training))
            tokens, items = self.embedding.max_tokens, self.inputs.items
            return {name: fine_tuning.tokenised_pairs(pairs, seen, items, start, tokens, shards) for name, pairs, shards in windows}
        tokens = min(self.embedding.max_tokens, read_model_folder(start).max_tokens)
        return {name: fine_tuning.token_blocks(texts, start, tokens, shards) for name, texts, shards in windows}

    def _sample(self, make: Callable[[DataFrame], DataFrame], name: str) -> _Examples:
        """Make the examples of both windows, and sample each up to its bound."""
        found = []
        for window, day, bound in (
            ("training", F.col("event_date") < F.lit(self.validated_from), self.settings.max_examples),
            ("validation", F.col("event_date") >= F.lit(self.validated_from), self.settings.max_validation_examples),
        ):
            every = self.materialise(f"{window}_every", make(self.before.where(day)))
            sample = self.materialise(f"{window}_{name}", sample_by_hash(every, "draw", bound, every.count()))
            found.append((sample, sample.count()))
        (training, n_training), (validation, n_validation) = found
        return _Examples(training, validation, n_training, n_validation)

    def _sample_pairs(self) -> _Examples:
        def pairs(interactions: DataFrame) -> DataFrame:
            touched = fine_tuning.baskets(interactions, self.inputs.items, self.inputs.behaviours, self.settings.window_hours)
            return fine_tuning.pairs(touched, self.settings)

        return self._sample(pairs, "pairs")

    def _sample_texts(self) -> _Examples:
        first = self.materialise("first_touched", fine_tuning.first_touched(self.before))

        def texts(interactions: DataFrame) -> DataFrame:
            # Of the items that were first touched on these days.
            days = interactions.agg(F.min("event_date").alias("first_day"), F.max("event_date").alias("last_day"))
            wanted = first.join(F.broadcast(days), F.col("first_date").between(F.col("first_day"), F.col("last_day")))
            return fine_tuning.written_texts(interactions, self.inputs.items, wanted.select("item_id"), self.settings)

        return self._sample(texts, "texts")

    def _start(self, training: DataFrame, working: WorkingFolder) -> str:
        """Return the model to train: the configured one, or one of random weights with tokens learnt from the training texts."""
        if self.settings.base == "model":
            return self.embedding.model
        texts = sample_by_hash(training, "draw", VOCABULARY_TEXTS, training.count()).orderBy("draw", "text")
        folder = working.path / "start"
        trained_folder.write_start(
            folder, (row["text"] for row in texts.select("text").toLocalIterator()), self.settings.network, self.settings.seed
        )
        return str(folder)

    def _measure(self, plan: Plan, working: WorkingFolder) -> list[Measure]:
        """Measure the trained model and its base on the horizon after the cutoff; nothing without events in it."""
        if self.after.isEmpty():
            return []
        test = QualityData(self.before, self.after, self.inputs.items, self.cutoff, self.settings, self.materialise)
        models = {"base": self._embedding_of(plan.task.start), "fine_tuned": self._embedding_of(plan.result)}
        if self.settings.objective == "contrastive":
            return measure_retrieval(test, models, self.inputs.behaviours, self.spark.sparkContext.defaultParallelism)
        tokens = min(self.embedding.max_tokens, read_model_folder(plan.task.start).max_tokens)
        training = self.spark.read.parquet(working.rows("training").as_uri())
        return measure_language(test, models, training, tokens, self.spark.sparkContext.defaultParallelism)

    def _embedding_of(self, model: str) -> Embedding:
        """Return the configured embedding with another model, by torch, which runs every model folder."""
        precision = self.embedding.precision if self.embedding.backend == "torch" else "auto"
        return self.embedding.model_copy(update={"model": model, "backend": "torch", "precision": precision})

    def _record(self, plan: Plan, examples: Mapping[str, int], trained: Trained, measures: Sequence[Measure]) -> dict[str, Any]:
        scratch = self.settings.base == "scratch"
        before = None if scratch else encoder_cutoff(read_model_folder(self.embedding.model).path)
        first = self.before.agg(F.min("event_date").alias("day")).first()
        assert first is not None  # an aggregate without keys has one row
        return {
            **self.lineage.describe(),
            "objective": self.settings.objective,
            "base": "random weights" if scratch else model_id(self._embedding_of(self.embedding.model)),
            "as_of": self.cutoff.isoformat(),
            # A base that was fine-tuned before may have seen later days than those of a repeated training.
            "seen_before": max(self.cutoff, before or self.cutoff).isoformat(),
            "fingerprint": self.fingerprint,
            "data": {
                "trained on": f"before {self.validated_from}",
                "validated on": f"{self.validated_from} to before {self.cutoff}",
                "judged on": f"{self.cutoff} to before {self.test_end}" if measures else "nothing: no events from the cut on",
                "first event": str(first["day"]),
            },
            "parameters": {
                **self.settings.model_dump(mode="json", exclude={"folder"}),
                "max_tokens": self.embedding.max_tokens,
                "steps_per_epoch": plan.epoch_steps,
            },
            "examples": dict(examples),
            "epochs": [asdict(epoch) for epoch in trained.epochs],
            "best_epoch": trained.best.epoch,
            "metrics": {f"{m.metric}, {m.slice}": m.value for m in measures},
            "model_id": model_id(self._embedding_of(plan.result)),
        }


def _hash_rows(rows: DataFrame, columns: Sequence[str]) -> list[int | None]:
    """Count rows and combine their hashes; their order does not matter."""
    found = rows.agg(F.count(F.lit(1)).alias("n"), F.expr(f"bit_xor(xxhash64({', '.join(columns)}))").alias("hash")).first()
    assert found is not None  # an aggregate without keys has one row
    return [found["n"], found["hash"]]
