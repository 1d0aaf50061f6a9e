"""What MLflow is told, by a stand-in that remembers it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from interest_tiers.errors import ConfigError
from interest_tiers.experiment_log import log_training, require_mlflow


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
}


def test_a_training_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Remembers()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    folder = tmp_path / "2024-06-01"
    log_training("tiers", folder, RECORD)
    assert fake.calls == [
        ("set_experiment", "tiers"),
        ("start_run", "shop 2024-06-01"),
        ("set_tags", {"code_version": "1", "run_id": "r", "folder": str(folder)}),
        ("log_params", {"network": "mlp", "training.width": "8", "training.tier_weights": "{}", "label_rules": str(["x" * 600])[:500]}),
        ("log_metrics", {"loss": 0.5, "validation_loss": 0.4}, ("step", 4)),
        ("log_metrics", {"loss": 0.3}, ("step", 8)),
        ("log_metrics", {"J": 0.3, "recall_100_ model_trained": 0.2}),
        ("log_dict", RECORD, "record.json"),
        ("log_artifact", str(folder / "README.md")),
    ]


def test_it_is_required_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    require_mlflow(None, "tiers.training.mlflow_experiment")
    with pytest.raises(ConfigError, match=r"tiers\.training\.mlflow_experiment is 'mine', and MLflow is not installed: pip install"):
        require_mlflow("mine", "tiers.training.mlflow_experiment")
