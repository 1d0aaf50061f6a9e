"""train_tiers: a network learns from cuts whose horizon is over which interests turn out core, secondary and marginal."""

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cached_property, partial, reduce
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers import __version__
from interest_tiers.config import Tiers, TierTraining
from interest_tiers.embedding.model_folder import model_id, read_model_folder
from interest_tiers.errors import ConfigError
from interest_tiers.evaluation.slices import Slice
from interest_tiers.interests.evidence import PAIR
from interest_tiers.spark.sampling import drawn_by_hash
from interest_tiers.stages.build_interests import category_embeddings, evidence_days, evidence_days_of_interests, pairs_as_of
from interest_tiers.stages.context import (
    Measurement,
    StageContext,
    StageResult,
    models_folder,
    run_command,
    run_stage,
    stage_parser,
    write_metrics,
)
from interest_tiers.storage.schemas import INTERESTS, ITEMS, USERS
from interest_tiers.tiers.attributes import Attribute, attribute_names, attributes_of, frequent_attributes
from interest_tiers.tiers.calibration import calibrate
from interest_tiers.tiers.examples import as_numbers, in_files, is_held_out, scaling_of, training_cuts, with_weight
from interest_tiers.tiers.features import FEATURES, RULES, in_one_column, own_features, pair_features, similar_interests
from interest_tiers.tiers.following import with_followed
from interest_tiers.tiers.half_life import half_lives, rule_tiers
from interest_tiers.tiers.labels import labelled
from interest_tiers.tiers.model import FORM, RECORD, read_record
from interest_tiers.tiers.objective import macro_f1, objective_j, squared_error
from interest_tiers.tiers.search import Found, searched, write_found
from interest_tiers.tiers.sequences import with_sequence, with_tokens
from interest_tiers.tiers.texts import interest_points, text_similarities
from interest_tiers.tiers.tier_training import Scaling, TierTask, in_enough_steps, largest_batch, shape_of
from interest_tiers.training.experiment_log import log_training, require_mlflow
from interest_tiers.training.launcher import require_room, run_training
from interest_tiers.training.loop import Trained, TrainingPlan
from interest_tiers.training.record import MODEL_CARD, put_in_place, write_json, write_model_card

#: With fewer held-out users than these nothing can be chosen, and the rule decides.
FEWEST_TUNING_USERS = 10

#: Rows of a file of the training.
ROWS_PER_FILE = 250_000


@dataclass(frozen=True)
class Evidence:
    """What models and features are made of: days of items and of interests, before the day that is looked at or later.

    topics: interest_id, embedding, where interests are topics.
    """

    of_items: DataFrame
    of_interests: DataFrame
    topics: DataFrame | None


@dataclass(frozen=True)
class ModelOfTiers:
    """folder: None where the rule decides. reason: why. attributes: of users, that it reads."""

    folder: Path | None
    reason: str
    attributes: tuple[Attribute, ...] = ()


def run(context: StageContext) -> StageResult:
    """Train the network of the config's section tiers, where there is none yet that was made of the same days."""
    if context.config.tiers.network == "rule":
        return StageResult(0, 0, "tiers.network is rule: nothing to train")
    day = model_day(context.as_of, context.config.tiers.training)
    training = TrainingOfTiers(context, evidence_of(context), day, "train_tiers")
    if training.is_made():
        return StageResult(0, 0, f"the model as of {day} is there, made of the same days: {training.folder}")
    model = training.train()
    n_examples = training.examples.count()
    if model.folder is None:
        return StageResult(n_examples, 0, f"no network for {day}: {model.reason}; the rule decides")
    record = read_record(model.folder)
    write_metrics(
        context, "train_tiers", [Measurement(name, str(Slice(users="held_out")), value) for name, value in record["metrics"].items()]
    )
    return StageResult(n_examples, record["epochs"][-1]["step"], _message(model, record))


def search(context: StageContext, n_trials: int) -> StageResult:
    """Look for better settings of the network, or for a better half-life of the rule; none is used before the config has it."""
    require_search(context.config.tiers.network, n_trials)
    day = model_day(context.as_of, context.config.tiers.training)
    training = TrainingOfTiers(context, evidence_of(context), day, "train_tiers", suffix="search.training")
    by_rule = context.config.tiers.network == "rule"
    found, n_examples = training.search_half_life(n_trials) if by_rule else training.search(n_trials)
    file = training.beside_models("search") / f"{day}.yaml"
    write_found(file, found)
    said = f"{found.summary()}; {file}; to use the best: {found.overrides()}"
    return StageResult(n_examples, found.n_trials, said)


def require_search(network: str, n_trials: int) -> None:
    """Raise ConfigError where there is nothing to search with."""
    if n_trials < 1:
        raise ConfigError(f"--search is {n_trials}; expected a number of trials, 1 or more")
    if network != "rule" and importlib.util.find_spec("optuna") is None:
        raise ConfigError("--search needs optuna: pip install 'interest-tiers[search]'")


def evidence_of(context: StageContext) -> Evidence:
    """All days before as_of."""
    topics = None
    if context.config.interests.source == "topic":
        topics = context.read(INTERESTS, context.as_of).select("interest_id", "embedding")
    return Evidence(evidence_days(context), evidence_days_of_interests(context), topics)


def model_day(as_of: date, config: TierTraining) -> date:
    """The day whose model serves as_of: the latest multiple of every_days, so that it is the same whatever ran before."""
    return date.fromordinal(as_of.toordinal() // config.every_days * config.every_days)


def model_there(context: StageContext, evidence: Evidence, as_of: date) -> ModelOfTiers:
    """The model that serves as_of, if it was trained: one of that very day, which drift asked for, before that of model_day."""
    if context.config.tiers.network == "rule":
        return ModelOfTiers(None, "as tiers.network asks for")
    usual = model_day(as_of, context.config.tiers.training)
    for day in dict.fromkeys((as_of, usual)):
        training = TrainingOfTiers(context, evidence, day, "")
        if training.is_made():
            return training.made()
    return ModelOfTiers(None, f"there is no model of these days as of {usual}: run the stage train_tiers")


def features_as_of(context: StageContext, evidence: Evidence, attributes: Sequence[Attribute], day: date, staged: str) -> DataFrame:
    """What the network of the config reads of every pair with days before a day, and the tiers of the rules: user_id, interest_id, …"""
    config, stage, days = context.config.tiers, context.warehouse.stage, evidence.of_interests
    of_users = attributes_of(context.read(USERS), attributes) if attributes else None
    own = own_features(days, day, config, context.config.interests.half_life_days, of_users)
    for rule in RULES:
        own = followed(context, own, rule)
    own = stage(f"{staged}/own", own)
    alike = stage(f"{staged}/alike", similar_interests(own))
    texts = text_similarities(own, interest_points(stage(f"{staged}/texts", _embeddings_before(context, evidence, day))))
    features = in_one_column(
        pair_features(own, alike, texts, days, day, config), feature_names(attributes, context.config.interests.n_levels)
    )
    if config.network in ("lstm", "transformer"):
        features = with_sequence(stage(f"{staged}/plain", features), days, alike, day, config.training)
    if config.network == "bert":
        plain, tokens = stage(f"{staged}/plain", features), config.training.max_tokens
        features = with_tokens(plain, evidence.of_items, context.read(ITEMS), day, _encoder_folder(context), tokens)
    return stage(f"{staged}/features", features)


def feature_names(attributes: Sequence[Attribute], n_levels: int) -> tuple[str, ...]:
    """Name the features in the order of the network's input; level is one where the catalogue has several."""
    return (*FEATURES, *attribute_names(attributes), *(["level"] if n_levels > 1 else []))


def _embeddings_before(context: StageContext, evidence: Evidence, day: date) -> DataFrame:
    """What interests mean, by the texts that users touched before a day; topics are what their day made them."""
    if evidence.topics is not None:
        return evidence.topics
    before = evidence.of_items.where(F.col("event_date") < F.lit(day))
    return category_embeddings(context, before)


def labels_of(context: StageContext, pairs: DataFrame, after: DataFrame) -> DataFrame:
    """The pairs with a label, of days after a cut; see tiers.labels.labelled."""
    return followed(context, labelled(pairs, after, context.config.tiers), "label")


def followed(context: StageContext, pairs: DataFrame, name: str) -> DataFrame:
    """Raise the tiers in a column where parents follow their children."""
    return with_followed(pairs, name, context.config.levels_that_follow) if context.config.levels_that_follow else pairs


def _encoder_folder(context: StageContext) -> str:
    return str(read_model_folder(context.config.embedding.model).path)


def beside_features(network: str) -> list[str]:
    """What a kind of network reads beside features."""
    return {"lstm": ["sequence"], "transformer": ["sequence"], "bert": ["tokens"]}.get(network, [])


@dataclass
class TrainingOfTiers:
    """One training: its day, its folders, its frames.

    suffix: of the folder beside the models that it works in. Trainings of other things are removed from there, searches are not.
    """

    context: StageContext
    evidence: Evidence
    day: date
    staged: str
    suffix: str = "training"

    @property
    def config(self) -> Tiers:
        return self.context.config.tiers

    @property
    def settings(self) -> TierTraining:
        return self.config.training

    @cached_property
    def folder(self) -> Path:
        return models_folder(self.context, self.settings.folder, "tiers.training.folder", "tiers") / self.day.isoformat()

    @cached_property
    def workplace(self) -> Path:
        """Where a training under way keeps its rows and checkpoints; what is made of something else has another one."""
        return self.beside_models(self.suffix) / f"{self.day}-{self.made_of[:16]}"

    def beside_models(self, suffix: str) -> Path:
        """The folder with the name of that of the models, and a suffix."""
        return self.folder.parent.with_name(f"{self.folder.parent.name}.{suffix}")

    @cached_property
    def made_of(self) -> str:
        """Fingerprint of all that decides on the model: the config's part, the code, and the days before its own."""
        before = self.evidence.of_interests.where(F.col("event_date") < F.lit(self.day))
        columns = ["user_id", "interest_id", "event_date", "weight", "n_interactions", "value"]
        found = before.agg(F.count(F.lit(1)).alias("n"), F.expr(f"bit_xor(xxhash64({', '.join(columns)}))").alias("hash")).first()
        assert found is not None  # an aggregate without keys has one row
        encoder = model_id(self.context.config.embedding)
        tiers = self.config.model_dump(
            mode="json",
            exclude={"training": {"folder", "num_processes", "every_days", "mlflow_experiment"}, "drift": True, "parents_follow": True},
        )
        half_life, following = self.context.config.interests.half_life_days, self.context.config.levels_that_follow
        attributes = [asdict(attribute) for attribute in self.attributes]
        days = [found["n"], found["hash"], self.day.isoformat()]
        parts = [tiers, following, half_life, encoder, attributes, self.features, *days, FORM, __version__]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def cuts(self) -> list[date]:
        """Latest first."""
        return training_cuts(self.day, self.settings, self.config.horizon_days)

    @cached_property
    def attributes(self) -> tuple[Attribute, ...]:
        """Those of the users' source that become features: frequent among the users that the latest cut knows."""
        if self.context.config.users is None:
            return ()
        known = self.evidence.of_interests.where(F.col("event_date") < F.lit(self.cuts[0])).select("user_id").distinct()
        return frequent_attributes(self.context.read(USERS).join(known, "user_id", "left_semi"))

    @property
    def features(self) -> tuple[str, ...]:
        """Their names, in the order in which the network takes them."""
        return feature_names(self.attributes, self.context.config.interests.n_levels)

    def is_made(self) -> bool:
        """Whether the model is there, made of the same."""
        return (self.folder / RECORD).is_file() and read_record(self.folder)["made_of"] == self.made_of

    def model(self) -> ModelOfTiers:
        """The model, trained where it is not there."""
        return self.made() if self.is_made() else self.train()

    def made(self) -> ModelOfTiers:
        """The model that is there."""
        record = read_record(self.folder)
        return ModelOfTiers(self.folder if record["is_chosen"] else None, record["reason"], self.attributes)

    def train(self) -> ModelOfTiers:
        """Train, calibrate, and put the model in its place; the rule decides where there is too little to learn from."""
        require_mlflow(self.settings.mlflow_experiment, "tiers.training.mlflow_experiment")
        require_room(self.context.spark, self.settings.num_processes, "tiers.training.num_processes")
        lacking = too_little(self.training_examples, self.tuning_examples)
        if lacking:
            return ModelOfTiers(None, lacking)
        with self._written_rows() as n_training:
            plan = self._plan(in_enough_steps(self.settings, n_training), n_training, self.workplace)
            model = self._finish(plan, run_training(self.context.spark, plan))
        shutil.rmtree(self.workplace.parent)
        return model

    def search(self, n_trials: int) -> tuple[Found, int]:
        """Try settings of the network on the rows of this training: what was found, of how many examples."""
        require_room(self.context.spark, self.settings.num_processes, "tiers.training.num_processes")
        self._require_enough(self.training_examples, self.tuning_examples)
        with self._written_rows() as n_training:

            def judged(settings: TierTraining) -> float:
                # By what is tried, so that a trial that was killed goes on from its checkpoints.
                place = self.workplace / f"trial-{hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:16]}"
                trained = run_training(self.context.spark, self._plan(settings, n_training, place))
                shutil.rmtree(place)
                assert trained.best.validation_loss is not None  # there are held-out users
                return trained.best.validation_loss

            given, largest = in_enough_steps(self.settings, n_training), largest_batch(self.settings, n_training)
            found = searched(given, largest, n_trials, self.workplace / "trials.log", judged)
        shutil.rmtree(self.workplace.parent)
        return found, self.examples.count()

    def search_half_life(self, n_trials: int) -> tuple[Found, int]:
        """Try half-lives of the rule's evidence at the latest cut, the label as it is: what was found, of how many examples."""
        given, cut = self.context.config.interests.half_life_days, self.cuts[0]
        tried = half_lives(n_trials, self.config.horizon_days, given)
        tiers = rule_tiers(self.evidence.of_interests, cut, self.config, tried)
        for place in range(len(tried)):
            tiers = followed(self.context, tiers, f"tier_{place}")
        tiers = self.context.warehouse.stage(f"{self.staged}/rules", tiers)
        examples = self.context.warehouse.stage(f"{self.staged}/judged", self._labelled(tiers, cut))
        is_judged = is_held_out(F.col("user_id"))
        others = examples.where(~is_judged)
        judged = self.context.warehouse.stage(f"{self.staged}/held_out", with_weight(examples.where(is_judged)))
        self._require_enough(others, judged)
        js = [rule_j(others, judged, f"tier_{place}") for place in range(len(tried))]
        best = min(range(len(tried)), key=lambda place: js[place])
        found = Found({"half_life_days": tried[best]}, js[best], js[tried.index(given)], len(tried), section="interests")
        return found, examples.count()

    def _require_enough(self, training: DataFrame, tuning: DataFrame) -> None:
        """Raise ConfigError where there is too little to search with."""
        lacking = too_little(training, tuning)
        if lacking:
            raise ConfigError(f"there is too little to search with as of {self.day}: {lacking}")

    @contextmanager
    def _written_rows(self) -> Iterator[int]:
        """The rows as numbers in the workplace, as long as it takes: how many train."""
        self.workplace.mkdir(parents=True, exist_ok=True)
        self._remove_others()
        try:
            yield self._write_rows()
        finally:
            for rows in ("training", "tuning"):
                shutil.rmtree(self.workplace / rows, ignore_errors=True)

    @cached_property
    def examples(self) -> DataFrame:
        """The labelled pairs of all cuts: user_id, interest_id, cut, what the network reads, rule_tier, label; staged."""
        cuts = [self._examples_at(cut) for cut in self.cuts]
        return self.context.warehouse.stage(f"{self.staged}/examples", reduce(DataFrame.unionByName, cuts))

    def _examples_at(self, cut: date) -> DataFrame:
        return self._labelled(features_as_of(self.context, self.evidence, self.attributes, cut, f"{self.staged}/{cut}"), cut)

    def _labelled(self, known: DataFrame, cut: date) -> DataFrame:
        """The pairs known at a cut that have a label, with label and cut. known: user_id, interest_id, level where there is one, …"""
        end, happened = cut + timedelta(days=self.config.horizon_days), F.col("event_date")
        after = self.evidence.of_interests.where((happened >= F.lit(cut)) & (happened < F.lit(end)))
        pairs = known.select(*PAIR, "level")
        if self.config.label_rules:
            pairs = pairs_as_of(self.context, self.evidence.of_items.where(happened < F.lit(cut)), cut)
        labels = labels_of(self.context, pairs, after).select(*PAIR, "label")
        return known.join(labels, PAIR).withColumn("cut", F.lit(cut))

    @cached_property
    def training_examples(self) -> DataFrame:
        """Those of users who are not held out, at every cut, with their weight."""
        rows = with_weight(self.examples.where(~is_held_out(F.col("user_id"))))
        return self.context.warehouse.stage(f"{self.staged}/training", rows)

    @cached_property
    def tuning_examples(self) -> DataFrame:
        """Those of held-out users at the latest cut, up to their bound, with their weight."""
        held_out = self.examples.where(is_held_out(F.col("user_id")) & (F.col("cut") == F.lit(self.cuts[0])))
        n_users = held_out.select("user_id").distinct().count()
        drawn = drawn_by_hash(held_out, "user_id", self.settings.max_tuning_users, n_users)
        return self.context.warehouse.stage(f"{self.staged}/tuning", with_weight(drawn))

    def _write_rows(self) -> int:
        training, tuning = self.training_examples, self.tuning_examples
        n_training, others = training.count(), beside_features(self.config.network)
        n_files = max(2 * self.settings.num_processes, -(-n_training // ROWS_PER_FILE))
        for name, rows, files in (("training", training, n_files), ("tuning", tuning, 1)):
            numbers = in_files(as_numbers(rows, others), files)
            self.context.warehouse.write_parquet((self.workplace / name).as_uri(), numbers)
        n_rows, n_groups = _readable(self.workplace / "training")
        if n_rows != n_training:
            raise ConfigError(
                f"{self.workplace} has {n_rows:,} of {n_training:,} examples: give a tiers.training.folder that every machine sees"
            )
        if n_groups < self.settings.num_processes:
            raise ConfigError(
                f"tiers.training.num_processes is {self.settings.num_processes}, and {n_training:,} examples make {n_groups} row groups: "
                "ask for fewer processes"
            )
        return n_training

    def _plan(self, settings: TierTraining, n_training: int, place: Path) -> TrainingPlan[TierTask]:
        """Of a training by some settings on the rows that are written. place: for its checkpoints and its result."""
        encoder = _encoder_folder(self.context) if self.config.network == "bert" else None
        shape = shape_of(self.config.network, settings, len(self.features), self._scaling, encoder)
        training, tuning = (str(self.workplace / rows) for rows in ("training", "tuning"))
        task = TierTask(settings, shape, self.features, self._scaling, training, tuning)
        return TrainingPlan(settings, task, n_training, str(place / "checkpoints"), str(place / "model"))

    @cached_property
    def _scaling(self) -> Scaling:
        return scaling_of(self.training_examples, len(self.features))

    def _finish(self, plan: TrainingPlan[TierTask], trained: Trained) -> ModelOfTiers:
        """Calibrate, choose the decision, compare with the rule, and put the model where it belongs."""
        from interest_tiers.tiers.model import load_network, save_network, scores_of
        from interest_tiers.tiers.training_rows import RowBatch, stored_batches
        from interest_tiers.tiers.tuning import fitted_calibration, fitted_decision

        result = Path(plan.result)
        network = load_network(result)
        said = [(scores.numpy(), rows) for scores, rows in scores_of(network, stored_batches(plan.task.tuning, 65_536))]
        scores = np.concatenate([part for part, _ in said]).astype(float)
        rows = RowBatch.joined([part for _, part in said])
        calibration = fitted_calibration(scores, rows.label)
        probabilities = calibration.probabilities(scores)
        decision = fitted_decision(probabilities)
        network.set_calibration(calibration.scale, calibration.offset)
        save_network(result, network, plan.task.shape, plan.task.features)
        metrics = {
            "J": objective_j(probabilities, rows.label, rows.weight),
            "macro_f1": macro_f1(rows.label, decision.tiers(probabilities)),
            "J_of_the_calibrated_rule": rule_j(self.training_examples, self.tuning_examples, "rule_tier"),
        }
        by_rule = metrics["J_of_the_calibrated_rule"]
        is_chosen = metrics["J"] < by_rule
        reason = "" if is_chosen else f"of held-out users the calibrated rule is as right: J {by_rule:.4f} to {metrics['J']:.4f}"
        record = self._record(plan, trained, metrics, plan.n_rows, len(rows.label))
        record |= {"decision": asdict(decision), "calibration": asdict(calibration), "is_chosen": is_chosen, "reason": reason}
        write_json(result / RECORD, record)
        write_model_card(result, f"{record['name']}: a network of tiers, {record['network']}", _introduction(record), record)
        # Before the model is in its place: after that, no further run would train it, and log it.
        log_training(self.settings.mlflow_experiment, self.folder, record, result / MODEL_CARD)
        put_in_place(result, self.folder)
        return self.made()

    def _record(self, plan: TrainingPlan[TierTask], trained: Trained, metrics: dict[str, float], n_training: int, n_tuning: int) -> dict:
        return {
            "name": self.context.config.name,
            "network": self.config.network,
            "as_of": self.day.isoformat(),
            "made_of": self.made_of,
            "data": {
                "cuts": ", ".join(cut.isoformat() for cut in self.cuts),
                "labels complete by": self.day.isoformat(),
                "tuned on": f"the held-out users at {self.cuts[0]}",
            },
            "tables": dict(self.context.input_versions),
            "parameters": self.config.model_dump(mode="json", exclude={"training": {"folder"}}),
            "examples": {"training": n_training, "tuning": n_tuning, "in a batch": plan.settings.batch_size},
            "features": list(self.features),
            "attributes": [asdict(attribute) for attribute in self.attributes],
            "epochs": [asdict(epoch) for epoch in trained.epochs],
            "best_epoch": trained.best.epoch,
            "metrics": metrics,
            "config_sha256": self.context.config_sha256,
            "code_version": __version__,
            "run_id": self.context.run_id,
        }

    def _remove_others(self) -> None:
        """What trainings that were killed left behind, if made of something else."""
        for other in self.workplace.parent.iterdir():
            if other != self.workplace:
                shutil.rmtree(other)
        shutil.rmtree(self.workplace / "model", ignore_errors=True)


def _readable(folder: Path) -> tuple[int, int]:
    """Rows and row groups of a folder, once files without rows are gone: a reader takes one of those for the end."""
    n_rows = n_groups = 0
    for file in sorted(folder.glob("*.parquet")):
        metadata = pq.read_metadata(file)
        if metadata.num_rows == 0:
            file.unlink()
        n_rows, n_groups = n_rows + metadata.num_rows, n_groups + (metadata.num_row_groups if metadata.num_rows else 0)
    return n_rows, n_groups


def too_little(training: DataFrame, tuning: DataFrame) -> str:
    """Why there is too little to learn from; empty where there is enough. training, tuning: examples, of the held-out users the latter."""
    n_training, n_users = training.count(), tuning.select("user_id").distinct().count()
    if n_training > 0 and n_users >= FEWEST_TUNING_USERS:
        return ""
    return f"{n_training:,} examples, and {n_users} held-out users of {FEWEST_TUNING_USERS} needed"


def rule_j(training: DataFrame, tuning: DataFrame, tier: str) -> float:
    """J of a rule on the held-out users, calibrated on the others. tier: the column of the rule's tiers, beside label and weight."""
    calibration = calibrate(training.select("level", F.col(tier).alias("rule_tier"), "label"))
    error = squared_error(calibration.columns(F.col(tier)))
    found = tuning.agg((F.sum(error * F.col("weight")) / F.sum("weight")).alias("J")).first()
    assert found is not None  # an aggregate without keys has one row
    return float(found["J"])


def _introduction(record: dict) -> str:
    return (
        "Says how likely an interest of a user is to be core, secondary or marginal over the coming horizon; the stage assign_tiers "
        f"asks it. Trained as of {record['as_of']} with version {record['code_version']} of interest-tiers (run {record['run_id']}); "
        "what happened from that day on had no part in it."
    )


def _message(model: ModelOfTiers, record: dict) -> str:
    metrics = record["metrics"]
    return (
        f"{record['network']}, epoch {record['best_epoch']} of {len(record['epochs'])}; held-out users: J {metrics['J']:.4f} "
        f"(calibrated rule {metrics['J_of_the_calibrated_rule']:.4f}), macro-F1 {metrics['macro_f1']:.4f}; model {model.folder}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of train_tiers."""
    parser = stage_parser("train_tiers", run.__doc__)
    parser.add_argument(
        "--search",
        type=int,
        metavar="N",
        help="train no model: try N settings of the network (of the rule: N half-lives), and say which are best",
    )
    arguments = parser.parse_args(argv)
    stage = run if arguments.search is None else partial(search, n_trials=arguments.search)
    return run_command("train_tiers", arguments, lambda context: run_stage("train_tiers", stage, context))
