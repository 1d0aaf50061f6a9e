"""What MLflow is told, by a stand-in that remembers it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from interest_tiers.errors import ConfigError, TrainingError
from interest_tiers.training.experiment_log import log_training, require_mlflow


class Remembers(ModuleType):
    """The functions of MLflow that are called."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.calls: list[tuple[Any, ...]] = []

    @contextmanager
    def start_run(self, run_name: str) -> Iterator[None]:
        self.calls.append(("start_run", run_name))
        yield

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *given, **named: self.calls.append((name, *given, *named.items()))


RECORD = {
    "name": "shop",
    "parameters": {"network": "mlp", "training": {"width": 8, "tier_weights": {}}, "label_rules": ["x" * 600]},
    "epochs": [{"epoch": 1, "step": 4, "loss": 0.5, "validation_loss": 0.4}, {"epoch": 2, "step": 8, "loss": 0.3, "validation_loss": None}],
    "metrics": {"J": 0.3, "recall@100, model=trained": 0.2, "unknown": None},
    "code_version": "1",
    "run_id": "r",
    "fingerprint": "f00",
}


class RefusedError(Exception):
    """In the place of MLflow's own."""


def stand_in(monkeypatch: pytest.MonkeyPatch) -> Remembers:
    fake, exceptions = Remembers(), ModuleType("mlflow.exceptions")
    monkeypatch.setattr(exceptions, "MlflowException", RefusedError, raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", exceptions)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: fake)
    return fake


def test_a_training_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = stand_in(monkeypatch)
    folder = tmp_path / "2024-06-01"
    log_training("tiers", folder, RECORD, tmp_path / "new" / "README.md")
    assert fake.calls == [
        ("set_experiment", "tiers"),
        ("start_run", "shop 2024-06-01"),
        ("set_tags", {"code_version": "1", "run_id": "r", "fingerprint": "f00", "folder": str(folder)}),
        ("log_params", {"network": "mlp", "training.width": "8", "training.tier_weights": "{}", "label_rules": str(["x" * 600])[:500]}),
        ("log_metrics", {"loss": 0.5, "validation_loss": 0.4}, ("step", 4)),
        ("log_metrics", {"loss": 0.3}, ("step", 8)),
        ("log_metrics", {"J": 0.3, "recall_100_ model_trained": 0.2}),
        ("log_dict", RECORD, "record.json"),
        ("log_artifact", str(tmp_path / "new" / "README.md")),
    ]


def test_it_is_required_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    require_mlflow(None, "tiers.training.mlflow_experiment")
    with pytest.raises(ConfigError, match=r"tiers\.training\.mlflow_experiment is 'mine', and MLflow is not installed: pip install"):
        require_mlflow("mine", "tiers.training.mlflow_experiment")


def test_a_store_that_takes_nothing_is_known_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = stand_in(monkeypatch)
    require_mlflow("mine", "tiers.training.mlflow_experiment")
    assert fake.calls == [("set_experiment", "mine")]

    def refuses(name: str) -> None:
        raise RefusedError("request to http://me:secret@host:5000/api failed")

    monkeypatch.setattr(fake, "set_experiment", refuses, raising=False)
    said = r"tiers\.training\.mlflow_experiment is 'mine', .* see MLFLOW_TRACKING_URI: request to http://host:5000/api failed$"
    with pytest.raises(ConfigError, match=said):
        require_mlflow("mine", "tiers.training.mlflow_experiment")


def test_a_training_that_is_not_logged_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = stand_in(monkeypatch)

    def refuses(parameters: dict[str, str]) -> None:
        raise RefusedError("no space left")

    monkeypatch.setattr(fake, "log_params", refuses, raising=False)
    with pytest.raises(TrainingError, match="Rerun to resume from its checkpoints: no space left"):
        log_training("tiers", tmp_path, RECORD, tmp_path / "README.md")
