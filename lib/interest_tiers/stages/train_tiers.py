"""train_tiers: train the network of tiers on past cutoffs whose horizon is over."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from datetime import date

from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.errors import ConfigError
from interest_tiers.evaluation.backtest import TrainedForTest
from interest_tiers.slices import Slice
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.inputs import read_tier_inputs, tier_inputs_at, tier_method
from interest_tiers.stages.models import lineage_of, tier_models
from interest_tiers.stages.results import Measurement, StageResult
from interest_tiers.tiers import training
from interest_tiers.tiers.composition import TierInputs
from interest_tiers.tiers.examples import TRAINING, training_cutoffs
from interest_tiers.tiers.model import read_record
from interest_tiers.tiers.search import write_result
from interest_tiers.tiers.training import ServingModel, TierModelTraining, TrainingSetup, model_day
from interest_tiers.training.experiment_log import require_mlflow
from interest_tiers.training.launcher import check_processes
from interest_tiers.training.leakage import require_encoder_before
from interest_tiers.training.model_store import ModelStore

#: What the metrics call the users that did not train.
HELD_OUT = str(Slice(users="held_out"))


def preflight_training(context: StageContext, as_of: date | None) -> list[str]:
    """Check what the training that serves as_of needs: a shared folder, room for its processes, MLflow, a language model of the past.

    as_of: None where clean has yet to find it; the language model is then checked when the training starts.
    """
    tiers = context.config.tiers
    if tiers.network == "rule":
        return []
    tier_models(context)
    check_processes(context.spark, tiers.training.num_processes, "tiers.training.num_processes")
    require_mlflow(tiers.training.mlflow_experiment, "tiers.training.mlflow_experiment")
    folder = read_model_folder(context.config.embedding.model).path
    if as_of is not None:
        day = model_day(as_of, tiers.training)
        earliest = training_cutoffs(day, tiers.training, tiers.horizon_days)[-1]
        require_encoder_before(folder, earliest, f"The training as of {day} with cutoffs down to {earliest}")
    return []


def preflight(context: StageContext, search: int | None = None) -> list[str]:
    """Check what the training or the search needs."""
    if search is not None:
        _require_search(context.config.tiers.network, search)
        tier_models(context)
    return preflight_training(context, context.known_as_of)


def run(context: StageContext, search: int | None = None) -> StageResult:
    """Train the configured network, unless it was trained on the same days. search: number of trials; trains no model then."""
    if search is not None:
        return _search(context, search)
    config = context.config.tiers
    if config.network == "rule":
        return StageResult(0, 0, "tiers.network is rule: nothing to train")
    inputs = read_tier_inputs(context)
    setup = set_up_training(context, tier_inputs_at(context, inputs), tier_models(context))
    day = model_day(context.as_of, config.training)
    job = TierModelTraining(setup, day)
    if job.is_trained:
        setup.store.point(setup.lineage.name, day, job.fingerprint)
        return StageResult(0, 0, f"the model as of {day} was trained on the same days before: {job.folder}")
    model = job.train()
    n_examples = job.examples.count()
    if model.folder is None:
        context.write_metrics([])
        return StageResult(n_examples, 0, f"no network for {day}: {model.reason}; the rule decides")
    record = read_record(model.folder)
    context.write_metrics(_list_measurements(record))
    return StageResult(n_examples, record["epochs"][-1]["step"], _describe(model, record))


def find_model(context: StageContext, inputs: TierInputs, as_of: date) -> ServingModel:
    """Find the model that serves as_of. inputs: as of as_of."""
    if context.config.tiers.network == "rule":
        return ServingModel(None, "as tiers.network asks for")
    return training.find_model(set_up_training(context, tier_inputs_at(context, inputs), tier_models(context)), as_of)


def train_model(context: StageContext, inputs_at: Callable[[date], TierInputs], day: date) -> ServingModel:
    """Return the model as of a day, trained where it has not been."""
    return training.train_model(set_up_training(context, inputs_at, tier_models(context)), day)


def train_for_test(context: StageContext, inputs_at: Callable[[date], TierInputs], cutoff: date) -> TrainedForTest | None:
    """Train the model that would have served the cutoff, in a folder of the back-test; None where the config asks for the rule."""
    config = context.config.tiers
    require_encoder_before(read_model_folder(context.config.embedding.model).path, cutoff, f"The back-test at {cutoff}")
    if config.network == "rule":
        return None
    models = tier_models(context)
    setup = set_up_training(context, inputs_at, ModelStore(models.sibling("backtest"), models.record, models.run_id))
    job = TierModelTraining(setup, model_day(cutoff, config.training))
    # The same job: the examples that it trains on are those that the baselines learn from.
    model = job.read_or_train()
    if job.is_trained:
        setup.store.keep_in_use(job.folder)
    return TrainedForTest(model.folder, job.attributes, job.examples_of(TRAINING), job.cutoffs[0])


def set_up_training(context: StageContext, inputs_at: Callable[[date], TierInputs], store: ModelStore) -> TrainingSetup:
    """Put together what trainings of several days share. inputs_at: see tier_inputs_at."""
    materialise = context.materialise_in("training")
    return TrainingSetup(inputs_at, tier_method(context), store, materialise, context.spark, lineage_of(context))


def _search(context: StageContext, n_trials: int) -> StageResult:
    """Search settings of the network, or a half-life of the rule; the config stays as it is."""
    network = context.config.tiers.network
    _require_search(network, n_trials)
    inputs, store = read_tier_inputs(context), tier_models(context)
    day = model_day(context.as_of, context.config.tiers.training)
    job = TierModelTraining(set_up_training(context, tier_inputs_at(context, inputs), store), day)
    result = job.search_half_life(n_trials) if network == "rule" else job.search(n_trials)
    file = store.sibling("search") / f"{context.config.name}-{day}.yaml"
    write_result(file, result)
    return StageResult(result.n_examples, result.n_trials, f"{result.summary()}; {file}; to use the best: {result.overrides()}")


def _require_search(network: str, n_trials: int) -> None:
    """Raise ConfigError where a search cannot run."""
    if n_trials < 1:
        raise ConfigError(f"--search is {n_trials}; expected a number of trials, 1 or more")
    if network != "rule" and importlib.util.find_spec("optuna") is None:
        raise ConfigError("--search needs optuna: pip install 'interest-tiers[search]'")


def _list_measurements(record: dict) -> list[Measurement]:
    bounds = {"J_minus_calibrated_rule": (record["comparison"]["lower"], record["comparison"]["upper"])}
    return [Measurement(name, HELD_OUT, value, *bounds.get(name, (None, None))) for name, value in record["metrics"].items()]


def _describe(model: ServingModel, record: dict) -> str:
    metrics = record["metrics"]
    return (
        f"{record['network']}, epoch {record['best_epoch']} of {len(record['epochs'])}; held-out users: J {metrics['J']:.4f} "
        f"(calibrated rule {metrics['J_of_the_calibrated_rule']:.4f}), macro-F1 {metrics['macro_f1']:.4f}; model {model.folder}"
    )
