"""Logs trainings to MLflow where the config names an experiment. MLFLOW_TRACKING_URI and its like say where MLflow stores them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interest_tiers.errors import ConfigError, InterestTiersError, TrainingError

#: Characters of a value that MLflow accepts.
LONGEST_VALUE = 500

#: User and password in an address.
SECRET = re.compile(r"//[^/@\s]*@")


def require_mlflow(experiment: str | None, key: str) -> None:
    """Raise ConfigError where an experiment is configured and MLflow is not installed or its store refuses it.

    key: of the config, that names the experiment. Called before hours of work.
    """
    if experiment is None:
        return
    if importlib.util.find_spec("mlflow") is None:
        raise ConfigError(f"{key} is {experiment!r}, and MLflow is not installed: pip install mlflow-skinny, or remove the key")
    import mlflow

    with _refused(ConfigError, f"{key} is {experiment!r}, and MLflow's store refuses it; see MLFLOW_TRACKING_URI"):
        mlflow.set_experiment(experiment)


def log_training(experiment: str | None, folder: Path, record: Mapping[str, Any], model_card: Path) -> None:
    """Log a run of an experiment: parameters, losses of every epoch, metrics, the record and the model card.

    experiment: None for no logging. folder: the model's final folder. model_card: its file at present.
    record: name, parameters, epochs, metrics (see record.write_model_card), code_version, run_id and fingerprint.
    Raises TrainingError where MLflow refuses.
    """
    if experiment is None:
        return
    import mlflow

    tags = {name: record[name] for name in ("code_version", "run_id", "fingerprint") if name in record} | {"folder": str(folder)}
    refused = _refused(TrainingError, "the training is done, and MLflow does not log it. Rerun to resume from its checkpoints")
    with refused, _run(experiment, f"{record['name']} {folder.name}"):
        mlflow.set_tags(tags)
        mlflow.log_params({name: str(value)[:LONGEST_VALUE] for name, value in _flat(record["parameters"]).items()})
        for epoch in record["epochs"]:
            losses = {name: epoch[name] for name in ("loss", "validation_loss") if epoch[name] is not None}
            mlflow.log_metrics(losses, step=epoch["step"])
        mlflow.log_metrics({_allowed(name): value for name, value in record["metrics"].items() if value is not None})
        mlflow.log_dict(dict(record), "record.json")
        mlflow.log_artifact(str(model_card))


@contextmanager
def _run(experiment: str, name: str) -> Iterator[None]:
    import mlflow

    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=name):
        yield


@contextmanager
def _refused(kind: type[InterestTiersError], message: str) -> Iterator[None]:
    """Raise an error of this project for one of MLflow."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise kind(f"{message}: {SECRET.sub('//', str(error))}") from None


def _allowed(name: str) -> str:
    """Replace the characters that MLflow refuses in the name of a metric."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in parameters.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return flat
