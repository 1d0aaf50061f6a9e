"""The training of the model of tiers as of a day, from frames and settings; which model serves a day.

What a process of the training does is in tier_training; what is decided after it, in choice.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from interest_tiers import __version__
from interest_tiers.config import Tiers, TierTraining
from interest_tiers.errors import ConfigError
from interest_tiers.interests.evidence import PAIR
from interest_tiers.spark.materialise import Materialise, prefixed
from interest_tiers.spark.sampling import is_sampled
from interest_tiers.tiers.attributes import Attribute, frequent_attributes, require_attributes
from interest_tiers.tiers.choice import RULE_ERROR, USER_GROUP, Choice, add_rule_error, choose, find_lack, measure_rule
from interest_tiers.tiers.composition import TierInputs, TierMethod, compute_features, days_before, feature_names, label_at, raise_parents
from interest_tiers.tiers.cutoffs import PAIR_AT
from interest_tiers.tiers.examples import (
    JUDGING,
    TRAINING,
    TUNING,
    PartSize,
    fit_scaling,
    measure_parts,
    part_of,
    spread,
    to_numbers,
    training_cutoffs,
    weigh,
)
from interest_tiers.tiers.half_life import apply_rules, list_half_lives
from interest_tiers.tiers.model import FORM, RECORD, introduce, read_record
from interest_tiers.tiers.search import SearchResult, search_settings
from interest_tiers.tiers.tier_training import TierTask, build_shape, largest_batch, limit_batch
from interest_tiers.training.experiment_log import log_training, require_mlflow
from interest_tiers.training.launcher import check_processes, run_training
from interest_tiers.training.leakage import require_encoder_before
from interest_tiers.training.loop import Trained, TrainingPlan
from interest_tiers.training.model_store import ModelStore
from interest_tiers.training.record import MODEL_CARD, Lineage, write_json, write_model_card
from interest_tiers.training.working_folder import WorkingFolder, count_readable

#: Rows of a file of the training.
ROWS_PER_FILE = 250_000

#: Rows from which the scaling is fitted at once.
SCALING_BATCH = 65_536

#: Columns that a kind of network reads besides features.
FURTHER_COLUMNS = {"lstm": ["sequence"], "transformer": ["sequence"], "bert": ["tokens"]}

#: Settings that decide where and how a training runs, and not on its result.
_NOT_IN_FINGERPRINT: dict[str, Any] = {
    "training": {"folder", "num_processes", "every_days", "mlflow_experiment"}, "drift": True, "parents_follow": True,
    "min_days": True,
}  # fmt: skip


@dataclass(frozen=True)
class ServingModel:
    """The model that serves a day.

    folder: None where the rule decides. reason: why it does. attributes: of users, that the model reads.
    """

    folder: Path | None
    reason: str
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True)
class TrainingSetup:
    """What trainings of several days share.

    inputs_at: the frames by the interests as known at a cutoff. store: the folder of the models.
    materialise: for names that begin with the day of the training.
    """

    inputs_at: Callable[[date], TierInputs]
    method: TierMethod
    store: ModelStore
    materialise: Materialise
    spark: SparkSession
    lineage: Lineage


def model_day(as_of: date, config: TierTraining) -> date:
    """Return the day whose model serves as_of: the latest multiple of every_days, whatever ran before."""
    return date.fromordinal(as_of.toordinal() // config.every_days * config.every_days)


def find_model(setup: TrainingSetup, as_of: date) -> ServingModel:
    """Find the model that serves as_of: one of that very day, which drift asked for, else that of model_day."""
    tiers = setup.method.tiers
    if tiers.network == "rule":
        return ServingModel(None, "as tiers.network asks for")
    usual = model_day(as_of, tiers.training)
    for day in dict.fromkeys((as_of, usual)):
        training = TierModelTraining(setup, day)
        if training.is_trained:
            return training.read_model()
    return ServingModel(None, f"there is no model of these days as of {usual}: run the stage train_tiers")


def train_model(setup: TrainingSetup, day: date) -> ServingModel:
    """Return the model as of a day, trained where it has not been."""
    return TierModelTraining(setup, day).read_or_train()


@dataclass
class TierModelTraining:
    """The training as of one day. It sees only days before that day."""

    setup: TrainingSetup
    day: date
    _sampled: dict[int, tuple[TierInputs, TierInputs]] = field(default_factory=dict)

    @property
    def config(self) -> Tiers:
        return self.setup.method.tiers

    @property
    def settings(self) -> TierTraining:
        return self.config.training

    @property
    def folder(self) -> Path:
        """The folder of the model, whether or not it has been trained."""
        return self.setup.store.folder(self.day, self.fingerprint)

    @property
    def is_trained(self) -> bool:
        return self.setup.store.is_trained(self.day, self.fingerprint)

    @cached_property
    def inputs(self) -> TierInputs:
        """The frames by the interests as known on the day of the training."""
        return self.setup.inputs_at(self.day)

    @cached_property
    def cutoffs(self) -> list[date]:
        """The cutoffs of the examples, latest first."""
        return training_cutoffs(self.day, self.settings, self.config.horizon_days)

    @cached_property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attribute values that become features: frequent among the users that the latest cutoff knows."""
        if self.inputs.users is None or not self.config.attributes:
            return ()
        require_attributes(self.inputs.users, self.config.attributes)
        known = days_before(self.inputs.interest_days, self.cutoffs[0]).select("user_id").distinct()
        return frequent_attributes(self.inputs.users.join(known, "user_id", "left_semi"), self.config.attributes)

    @property
    def features(self) -> tuple[str, ...]:
        """Names in the order of the network's input."""
        return feature_names(self.attributes, self.setup.method.n_levels)

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of all that decides on the model: settings, code, language model, and the days before its own."""
        method, known = self.setup.method, self._known_days
        parts = [
            self.config.model_dump(mode="json", exclude=_NOT_IN_FINGERPRINT), method.levels_that_follow, method.half_life_days,
            self.setup.lineage.embedding, [asdict(attribute) for attribute in self.attributes], self.features,
            known["n"], known["hash"], self.day.isoformat(), FORM, __version__,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _known_days(self) -> Row:
        """Describe the days before the day of the training: their number, a hash, and about how many users and pairs they have."""
        days = days_before(self.inputs.interest_days, self.day)
        columns = ["user_id", "interest_id", "event_date", "weight", "n_interactions", "value"]
        found = days.agg(
            F.count(F.lit(1)).alias("n"), F.expr(f"bit_xor(xxhash64({', '.join(columns)}))").alias("hash"),
            F.approx_count_distinct("user_id").alias("users"), F.approx_count_distinct(F.xxhash64(*PAIR)).alias("pairs"),
        ).first()  # fmt: skip
        assert found is not None  # an aggregate without keys has one row
        return found

    def _sampled_inputs_at(self, cutoff: date) -> TierInputs:
        """Return the inputs at a cutoff, of some users alone where all of them would give more than max_examples."""
        inputs, known = self.setup.inputs_at(cutoff), self._known_days
        wanted = self.settings.max_examples * known["users"] // max(1, known["pairs"] * self.settings.cuts)
        if wanted >= known["users"]:
            return inputs
        if id(inputs) not in self._sampled:
            is_kept = is_sampled("user_id", max(1, wanted), known["users"])
            days = {name: getattr(inputs, name).where(is_kept) for name in ("item_days", "interest_days")}
            # Kept with the original, whose id would else be given to another.
            self._sampled[id(inputs)] = inputs, replace(inputs, **days)
        return self._sampled[id(inputs)][1]

    def read_model(self) -> ServingModel:
        """Return the trained model, or the rule where that was chosen."""
        record = read_record(self.folder)
        return ServingModel(self.folder if record["is_chosen"] else None, record["reason"], self.attributes)

    def read_or_train(self) -> ServingModel:
        """Return the model, trained where it has not been."""
        return self.read_model() if self.is_trained else self.train()

    def train(self) -> ServingModel:
        """Train, calibrate, compare with the rule and publish. The rule decides where there is too little to learn from."""
        require_mlflow(self.settings.mlflow_experiment, "tiers.training.mlflow_experiment")
        self._check_start()
        lack = find_lack(self.parts)
        if lack:
            return ServingModel(None, lack)
        store = self.setup.store
        with self._open_folder("training") as (working, n_training):
            shutil.rmtree(working.path / "model", ignore_errors=True)
            plan = self._plan(limit_batch(self.settings, n_training), n_training, working, working.path)
            trained = run_training(self.setup.spark, plan)
            choice = choose(Path(plan.result), plan.task, working.rows(JUDGING))
            self._record(plan, trained, choice)
            store.publish(Path(plan.result), self.day, self.fingerprint)
        store.point(self.setup.lineage.name, self.day, self.fingerprint)
        return self.read_model()

    def search(self, n_trials: int) -> SearchResult:
        """Try settings of the network on the rows of this training."""
        self._check_start()
        self._require_enough(self.parts)
        with self._open_folder("search") as (working, n_training):

            def evaluate(settings: TierTraining) -> float:
                # Named by the settings, so that an interrupted trial resumes from its checkpoints.
                folder = working.path / f"trial-{hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:16]}"
                trained = run_training(self.setup.spark, self._plan(settings, n_training, working, folder))
                shutil.rmtree(folder)
                assert trained.best.validation_loss is not None  # there are tuning users
                return trained.best.validation_loss

            configured, largest = limit_batch(self.settings, n_training), largest_batch(self.settings, n_training)
            result = search_settings(configured, largest, n_trials, working.path / "trials.log", evaluate)
        return replace(result, n_examples=self.examples.count())

    def search_half_life(self, n_trials: int) -> SearchResult:
        """Try half-lives of the rule's evidence at the latest cutoff; the labels stay the same."""
        method, cutoff, materialise = self.setup.method, self.cutoffs[0], self._materialise
        configured = method.half_life_days
        tried = list_half_lives(n_trials, self.config.horizon_days, configured)
        tiers = apply_rules(self.setup.inputs_at(cutoff).interest_days, cutoff, self.config, tried)
        for number in range(len(tried)):
            tiers = raise_parents(tiers, f"tier_{number}", method)
        labels = weigh(label_at(self.setup.inputs_at, [cutoff], method)).drop("level")
        # A half-life is one number: all held-out users measure it, and the parts only say that they are enough.
        part = part_of(F.lit(cutoff), F.col("user_id"), cutoff).alias("part")
        examples = materialise("rule_examples", tiers.join(labels, PAIR).select("*", part))
        self._require_enough(measure_parts(examples))
        others, held_out = examples.where(F.col("part") == TRAINING), examples.where(F.col("part") != TRAINING)
        js = [measure_rule(others, held_out, f"tier_{number}") for number in range(len(tried))]
        best = min(range(len(tried)), key=lambda number: js[number])
        values, configured_j = {"half_life_days": tried[best]}, js[tried.index(configured)]
        return SearchResult(values, js[best], configured_j, len(tried), section="interests", n_examples=examples.count())

    @cached_property
    def examples(self) -> DataFrame:
        """The labelled pairs of all cutoffs, materialised.

        (cutoff, user_id, interest_id, level, features, rule_tier, rule_recent_tier, label, weight, part, ...)
        """
        features = compute_features(self._sampled_inputs_at, self.cutoffs, self.setup.method, self.attributes, self._materialise)
        labels = weigh(label_at(self._sampled_inputs_at, self.cutoffs, self.setup.method)).drop("level")
        part = part_of(F.col("cutoff"), F.col("user_id"), self.cutoffs[0])
        examples = features.join(labels.withColumn("part", part).where("part IS NOT NULL"), PAIR_AT)
        return self._materialise("examples", examples)

    @cached_property
    def parts(self) -> dict[str, PartSize]:
        """The sizes of the parts of the examples."""
        if self._n_held_out <= self.settings.max_tuning_users:
            return self._all_parts
        return measure_parts(self.examples.where((F.col("part") == TRAINING) | self._is_tuning_user))

    def examples_of(self, part: str) -> DataFrame:
        """Select the examples of a part. Held-out users above max_tuning_users are left out."""
        rows = self.examples.where(F.col("part") == part)
        return rows if part == TRAINING else rows.where(self._is_tuning_user)

    @cached_property
    def _all_parts(self) -> dict[str, PartSize]:
        return measure_parts(self.examples)

    @property
    def _n_held_out(self) -> int:
        return self._all_parts[TUNING].users + self._all_parts[JUDGING].users

    @property
    def _is_tuning_user(self) -> Column:
        return is_sampled("user_id", self.settings.max_tuning_users, self._n_held_out)

    @property
    def _materialise(self) -> Materialise:
        return prefixed(self.setup.materialise, str(self.day))

    def _check_start(self) -> None:
        """Raise ConfigError for processes that could not run, and for a language model that saw days after the earliest cutoff."""
        check_processes(self.setup.spark, self.settings.num_processes, "tiers.training.num_processes")
        what = f"The training as of {self.day} with cutoffs down to {self.cutoffs[-1]}"
        require_encoder_before(self.setup.method.encoder(), self.cutoffs[-1], what)

    def _require_enough(self, parts: Mapping[str, PartSize]) -> None:
        lack = find_lack(parts)
        if lack:
            raise ConfigError(f"there is too little to search with as of {self.day}: {lack}")

    @contextmanager
    def _open_folder(self, kind: str) -> Iterator[tuple[WorkingFolder, int]]:
        """Yield the working folder with the rows as numbers, and how many train."""
        with self.setup.store.working_folder(self.day, self.fingerprint, kind) as working:
            yield working, self._write_rows(working)

    def _write_rows(self, working: WorkingFolder) -> int:
        n_training, further = self.parts[TRAINING].rows, FURTHER_COLUMNS.get(self.config.network, [])
        n_files = max(2 * self.settings.num_processes, -(-n_training // ROWS_PER_FILE))
        self._write_part(working, TRAINING, self.examples_of(TRAINING), further, n_files)
        self._write_part(working, TUNING, self.examples_of(TUNING), further, 1)
        judging = add_rule_error(self.examples_of(JUDGING), self.examples_of(TRAINING))
        self._write_part(working, JUDGING, judging, [*further, RULE_ERROR, USER_GROUP], 1)
        n_rows, n_groups = count_readable(working.rows(TRAINING))
        if n_rows != n_training:
            raise ConfigError(
                f"{working.path} has {n_rows:,} of {n_training:,} examples: set tiers.training.folder to a path that every machine shares"
            )
        if n_groups < self.settings.num_processes:
            raise ConfigError(
                f"tiers.training.num_processes is {self.settings.num_processes}, and {n_training:,} examples make {n_groups} row groups: "
                "ask for fewer processes"
            )
        return n_training

    def _write_part(self, working: WorkingFolder, part: str, rows: DataFrame, further: Sequence[str], n_files: int) -> None:
        working.write_rows(part, spread(to_numbers(rows, further, self.parts[part].mean_weight), n_files))

    def _plan(self, settings: TierTraining, n_training: int, working: WorkingFolder, folder: Path) -> TrainingPlan[TierTask]:
        """Plan a training on the rows that are written. folder: for its checkpoints and its result."""
        from interest_tiers.tiers.training_rows import stored_batches

        encoder = self.setup.method.encoder() if self.config.network == "bert" else None
        scaling = fit_scaling((rows.features for rows in stored_batches(working.rows(TRAINING), SCALING_BATCH)), len(self.features))
        shape = build_shape(self.config.network, settings, len(self.features), scaling, encoder)
        task = TierTask(settings, shape, self.features, scaling, str(working.rows(TRAINING)), str(working.rows(TUNING)))
        return TrainingPlan(settings, task, n_training, str(folder / "checkpoints"), str(folder / "model"))

    def _record(self, plan: TrainingPlan[TierTask], trained: Trained, choice: Choice) -> None:
        """Write the record and the model card, and log the training to MLflow."""
        result, latest = Path(plan.result), self.cutoffs[0]
        record = {
            **self.setup.lineage.describe(),
            "network": self.config.network,
            "as_of": self.day.isoformat(),
            "fingerprint": self.fingerprint,
            "data": {
                "cuts": ", ".join(cutoff.isoformat() for cutoff in self.cutoffs),
                "labels complete by": self.day.isoformat(),
                "tuned on": f"half of the held-out users at {latest}",
                "judged on": f"the other half of the held-out users at {latest}",
            },
            "parameters": self.config.model_dump(mode="json", exclude={"training": {"folder"}}),
            "examples": {
                "training": plan.n_rows, "tuning": choice.n_tuning, "judging": choice.n_judging, "in a batch": plan.settings.batch_size,
            },
            "features": list(self.features),
            "attributes": [asdict(attribute) for attribute in self.attributes],
            "epochs": [asdict(epoch) for epoch in trained.epochs],
            "best_epoch": trained.best.epoch,
            "metrics": choice.metrics,
            "comparison": asdict(choice.comparison),
            "decision": asdict(choice.decision),
            "calibration": asdict(choice.calibration),
            "is_chosen": choice.comparison.is_network_better,
            "reason": choice.reason,
        }  # fmt: skip
        write_json(result / RECORD, record)
        write_model_card(result, f"{record['name']}: a network of tiers, {record['network']}", introduce(record), record)
        # Before the model is published: after that, no run would train it and log it.
        log_training(self.settings.mlflow_experiment, self.folder, record, result / MODEL_CARD)
