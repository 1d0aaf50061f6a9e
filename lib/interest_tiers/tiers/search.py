"""The search for settings of the network, by J of the held-out users at the tuning cut; by Optuna."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from interest_tiers.config import TierTraining
from interest_tiers.errors import DivergedError, TrainingError

if TYPE_CHECKING:
    from optuna import Study, Trial

#: What is drawn from. Rows of a batch are a multiple of every number of processes that is a power of two.
BATCH_SIZES, WIDTHS, LOSSES = (512, 1024, 2048, 4096), (64, 128, 256, 512), ("brier", "cross_entropy", "ordered")


@dataclass(frozen=True)
class Found:
    """best: keys of a section of the config and their values, with the smallest J. given_j: of the settings of the config, None where they
    diverged. n_trials: that ended. n_diverged: of them, those without a J.
    """

    best: dict[str, Any]
    best_j: float
    given_j: float | None
    n_trials: int
    n_diverged: int = 0
    section: str = "tiers.training"

    def overrides(self) -> str:
        """As arguments of a command line."""
        return " ".join(f"--set {self.section}.{key}={value}" for key, value in self.best.items())

    def summary(self) -> str:
        """What came of it, for a person."""
        given = "diverged" if self.given_j is None else f"{self.given_j:.4f}"
        diverged = f", of which {self.n_diverged} diverged" if self.n_diverged else ""
        return f"J of held-out users {self.best_j:.4f}, best of {self.n_trials} trials{diverged}; with the settings of the config {given}"


def searched(settings: TierTraining, largest_batch: int, n_trials: int, storage: Path, judged: Callable[[TierTraining], float]) -> Found:
    """Try settings, those of the config first, until n_trials have ended; a search that was killed goes on where it was.

    largest_batch: that the training would take; see tier_training. storage: a file of the trials so far. judged: J of some settings.
    One whose training diverges is the worst there is, and the search goes on. Raises TrainingError where all diverged. The sampler is
    the tree-structured Parzen estimator (Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011), by the seed of the settings.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(storage))),
        # What may be drawn depends on it, and one study has one range.
        study_name=f"tiers, {settings.num_processes} processes, batches of {largest_batch} at most",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=settings.seed),
    )
    ended, given = (TrialState.COMPLETE, TrialState.PRUNED), _of_config(settings)
    first = [] if any(trial.params == given for trial in study.get_trials(states=ended)) else [given]
    for broken_off in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(broken_off.number, state=TrialState.FAIL)
        if broken_off.params not in (given, {}):
            first.append(broken_off.params)
    for params in first:
        study.enqueue_trial(params)
    while len(done := study.get_trials(states=ended)) < n_trials:
        _try(study, settings, largest_batch, judged)
    told = [trial for trial in done if trial.value is not None]
    if not told:
        raise TrainingError(f"all {len(done)} trials diverged: lower tiers.training.learning_rate, and look at the features")
    of_given = next((trial.value for trial in told if trial.params == given), None)
    return Found(dict(study.best_params), float(study.best_value), of_given, len(done), len(done) - len(told))


def _try(study: Study, settings: TierTraining, largest_batch: int, judged: Callable[[TierTraining], float]) -> None:
    from optuna.trial import TrialState

    trial = study.ask()
    drawn = _drawn(trial, settings, largest_batch)
    try:
        j = judged(settings.model_copy(update=drawn))
    except DivergedError:
        # To the sampler, what is pruned without a value is worse than what has one; what fails it would forget, and draw again.
        study.tell(trial, state=TrialState.PRUNED)
        print(f"trial {trial.number + 1}  diverged  {drawn}", flush=True)
        return
    study.tell(trial, j)
    print(f"trial {trial.number + 1}  J {j:.4f}  best {study.best_value:.4f}  {drawn}", flush=True)


def _of_config(settings: TierTraining) -> dict[str, Any]:
    names = ("learning_rate", "weight_decay", "prior_examples", "dropout", "layers", "width", "batch_size", "loss")
    return {name: getattr(settings, name) for name in names}


def _drawn(trial: Trial, settings: TierTraining, largest_batch: int) -> dict[str, Any]:
    """Of a range around what is usual that holds what the config has."""
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


def write_found(file: Path, found: Found) -> None:
    """The part of a config that has the best settings."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tree: dict[str, Any] = found.best
    for name in reversed(found.section.split(".")):
        tree = {name: tree}
    file.write_text(f"# {found.summary()}\n" + yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
