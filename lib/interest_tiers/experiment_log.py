"""Trainings in MLflow, for those who ask for it. Where it keeps them is MLflow's to know, from MLFLOW_TRACKING_URI and its like."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interest_tiers.errors import ConfigError
from interest_tiers.model_record import MODEL_CARD

#: MLflow takes so many characters of a value.
LONGEST_VALUE = 500


def require_mlflow(experiment: str | None, key: str) -> None:
    """Raise ConfigError where an experiment is asked for and MLflow is not installed. key: of the config, that asks."""
    if experiment is not None and importlib.util.find_spec("mlflow") is None:
        raise ConfigError(f"{key} is {experiment!r}, and MLflow is not installed: pip install mlflow-skinny, or leave the key out")


def log_training(experiment: str, folder: Path, record: Mapping[str, Any]) -> None:
    """A run of an experiment: the parameters, the losses of every epoch, the metrics, the record itself, and the model card.

    folder: of the model. record: name, parameters, epochs, metrics (see model_record.write_model_card), code_version and run_id.
    """
    import mlflow

    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=f"{record['name']} {folder.name}"):
        mlflow.set_tags({"code_version": record["code_version"], "run_id": record["run_id"], "folder": str(folder)})
        mlflow.log_params({name: str(value)[:LONGEST_VALUE] for name, value in _flat(record["parameters"]).items()})
        for epoch in record["epochs"]:
            losses = {name: epoch[name] for name in ("loss", "validation_loss") if epoch[name] is not None}
            mlflow.log_metrics(losses, step=epoch["step"])
        mlflow.log_metrics({_allowed(name): value for name, value in record["metrics"].items() if value is not None})
        mlflow.log_dict(dict(record), "record.json")
        mlflow.log_artifact(str(folder / MODEL_CARD))


def _allowed(name: str) -> str:
    """MLflow allows no other characters in the name of a metric."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in parameters.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return flat
