"""Hyperparameter search for the network, by J of the tuning users at the latest cutoff, with Optuna."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from interest_tiers.config import TierTraining
from interest_tiers.errors import DivergedError, TrainingError
from interest_tiers.training.loop import LOG

if TYPE_CHECKING:
    from optuna import Study, Trial

#: Values to sample from. Batch sizes are multiples of every usual number of processes.
BATCH_SIZES, WIDTHS, LOSSES = (512, 1024, 2048, 4096), (64, 128, 256, 512), ("brier", "cross_entropy", "ordered")


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    best:         keys of a section of the config and their best values
    best_j:       J of the best values
    configured_j: J of the config's settings, None where they diverged
    n_trials:     trials that ended
    n_diverged:   ended trials without a J
    section:      of the config
    n_examples:   of training and held-out users
    """

    best: dict[str, Any]
    best_j: float
    configured_j: float | None
    n_trials: int
    n_diverged: int = 0
    section: str = "tiers.training"
    n_examples: int = 0

    def overrides(self) -> str:
        """Format the best values as command-line arguments."""
        return " ".join(f"--set {self.section}.{key}={value}" for key, value in self.best.items())

    def summary(self) -> str:
        """Summarise the search in one line."""
        configured = "diverged" if self.configured_j is None else f"{self.configured_j:.4f}"
        diverged = f", of which {self.n_diverged} diverged" if self.n_diverged else ""
        return (
            f"J of held-out users {self.best_j:.4f}, best of {self.n_trials} trials{diverged}; with the settings of the config {configured}"
        )


def search_settings(
    settings: TierTraining, largest_batch: int, n_trials: int, storage: Path, evaluate: Callable[[TierTraining], float]
) -> SearchResult:
    """Try settings, those of the config first, until n_trials have ended; an interrupted search resumes from its storage.

    largest_batch: see tier_training. storage: file of the trials. evaluate: trains with some settings and returns J.
    Settings that diverge count as the worst. Raises TrainingError where all diverge.
    The sampler is the tree-structured Parzen estimator, seeded by the settings.
    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(storage))),
        # A study has fixed ranges, and the ranges depend on these two numbers.
        study_name=f"tiers, {settings.num_processes} processes, batches of {largest_batch} at most",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=settings.seed),
    )
    ended, configured = (TrialState.COMPLETE, TrialState.PRUNED), _searched_values(settings)
    first = [] if any(trial.params == configured for trial in study.get_trials(states=ended)) else [configured]
    for interrupted in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(interrupted.number, state=TrialState.FAIL)
        if interrupted.params not in (configured, {}):
            first.append(interrupted.params)
    for params in first:
        study.enqueue_trial(params)
    while len(done := study.get_trials(states=ended)) < n_trials:
        _run_trial(study, settings, largest_batch, evaluate)
    finished = [trial for trial in done if trial.value is not None]
    if not finished:
        raise TrainingError(f"all {len(done)} trials diverged: lower tiers.training.learning_rate, and look at the features")
    configured_j = next((trial.value for trial in finished if trial.params == configured), None)
    return SearchResult(dict(study.best_params), float(study.best_value), configured_j, len(done), len(done) - len(finished))


def _run_trial(study: Study, settings: TierTraining, largest_batch: int, evaluate: Callable[[TierTraining], float]) -> None:
    from optuna.trial import TrialState

    trial = study.ask()
    values = _sample(trial, settings, largest_batch)
    try:
        j = evaluate(settings.model_copy(update=values))
    except DivergedError:
        # The sampler ranks a pruned trial without a value below all others. It would ignore a failed one, and sample it again.
        study.tell(trial, state=TrialState.PRUNED)
        LOG.info("trial %d  diverged  %s", trial.number + 1, values)
        return
    study.tell(trial, j)
    LOG.info("trial %d  J %.4f  best %.4f  %s", trial.number + 1, j, study.best_value, values)


def _searched_values(settings: TierTraining) -> dict[str, Any]:
    names = ("learning_rate", "weight_decay", "prior_examples", "dropout", "layers", "width", "batch_size", "loss")
    return {name: getattr(settings, name) for name in names}


def _sample(trial: Trial, settings: TierTraining, largest_batch: int) -> dict[str, Any]:
    """Sample from usual ranges, widened to contain the configured values."""
    widths = sorted({*WIDTHS, settings.width})
    fitting = (size for size in BATCH_SIZES if size % settings.num_processes == 0 and size <= largest_batch)
    batch_sizes = sorted({*fitting, settings.batch_size})
    rate, decay = settings.learning_rate, settings.weight_decay
    return {
        "learning_rate": trial.suggest_float("learning_rate", min(1e-4, rate), max(1e-2, rate), log=True),
        "weight_decay": trial.suggest_float("weight_decay", 0.0, max(0.1, decay)),
        "prior_examples": trial.suggest_float("prior_examples", 0.0, max(2000.0, settings.prior_examples)),
        "dropout": trial.suggest_float("dropout", 0.0, max(0.5, settings.dropout)),
        "layers": trial.suggest_int("layers", 1, max(5, settings.layers)),
        "width": trial.suggest_categorical("width", widths),
        "batch_size": trial.suggest_categorical("batch_size", batch_sizes),
        "loss": trial.suggest_categorical("loss", LOSSES),
    }


def write_result(file: Path, result: SearchResult) -> None:
    """Write the best values as a part of a config."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tree: dict[str, Any] = result.best
    for name in reversed(result.section.split(".")):
        tree = {name: tree}
    file.write_text(f"# {result.summary()}\n" + yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
