"""Trainings in MLflow, for those who ask for it. Where it keeps them is MLflow's to know, from MLFLOW_TRACKING_URI and its like."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interest_tiers.errors import ConfigError, InterestTiersError, TrainingError

#: MLflow takes so many characters of a value.
LONGEST_VALUE = 500

#: User and password in an address.
SECRET = re.compile(r"//[^/@\s]*@")


def require_mlflow(experiment: str | None, key: str) -> None:
    """Raise ConfigError where an experiment is asked for and MLflow is not installed or its store takes none: known before hours of work.

    key: of the config, that asks.
    """
    if experiment is None:
        return
    if importlib.util.find_spec("mlflow") is None:
        raise ConfigError(f"{key} is {experiment!r}, and MLflow is not installed: pip install mlflow-skinny, or leave the key out")
    import mlflow

    with _refused(ConfigError, f"{key} is {experiment!r}, and MLflow's store takes no such experiment; see MLFLOW_TRACKING_URI"):
        mlflow.set_experiment(experiment)


def log_training(experiment: str | None, folder: Path, record: Mapping[str, Any], model_card: Path) -> None:
    """A run of an experiment: the parameters, the losses of every epoch, the metrics, the record itself, and the model card.

    experiment: None where none is asked for. folder: where the model will be. model_card: its file, where it is now. record: name,
    parameters, epochs, metrics (see model_record.write_model_card), code_version, run_id, and made_of where there is one. Raises
    TrainingError where MLflow does not take it.
    """
    if experiment is None:
        return
    import mlflow

    tags = {name: record[name] for name in ("code_version", "run_id", "made_of") if name in record} | {"folder": str(folder)}
    kept = _refused(TrainingError, "the training is done, and MLflow does not log it; start it again and it goes on from its checkpoints")
    with kept, _run(experiment, f"{record['name']} {folder.name}"):
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
def _refused(kind: type[InterestTiersError], said: str) -> Iterator[None]:
    """What MLflow raises becomes an error of this project."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise kind(f"{said}: {SECRET.sub('//', str(error))}") from None


def _allowed(name: str) -> str:
    """MLflow allows no other characters in the name of a metric."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in parameters.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return flat
