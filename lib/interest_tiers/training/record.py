"""The record and the model card in the folder of a trained model: what it was trained on, how, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interest_tiers import __version__

MODEL_CARD = "README.md"


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from.

    name: of the data set. input_versions: table to Delta version, filled in while tables are read. embedding: model_id of the
    configured language model.
    """

    name: str
    config_sha256: str
    run_id: str
    input_versions: Mapping[str, int]
    embedding: str

    def describe(self) -> dict[str, Any]:
        """Return what every record has of it."""
        return {
            "name": self.name,
            "tables": dict(self.input_versions),
            "config_sha256": self.config_sha256,
            "code_version": __version__,
            "run_id": self.run_id,
        }


def write_json(file: Path, content: Any) -> None:
    """Write readable JSON."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_model_card(folder: Path, title: str, introduction: str, record: Mapping[str, Any]) -> None:
    """Write MODEL_CARD, for a person.

    record: data, tables, examples, metrics, parameters (each name to value), epochs (epoch, step, loss, validation_loss) and best_epoch.
    """
    sections = {
        "Data": record["data"], "Table versions": record["tables"], "Examples": record["examples"],
        "Quality": record["metrics"], "Parameters": record["parameters"],
    }  # fmt: skip
    lines = [f"# {title}", "", introduction]
    for name, values in sections.items():
        lines += ["", f"## {name}", "", "| | |", "|---|---|", *(f"| {key} | {_format(value)} |" for key, value in values.items())]
    lines += ["", *_list_epochs(record["epochs"]), "", f"The weights are those of epoch {record['best_epoch']}.", ""]
    (folder / MODEL_CARD).write_text("\n".join(lines), encoding="utf-8")


def _list_epochs(epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [f"| {e['epoch']} | {e['step']} | {_format(e['loss'])} | {_format(e['validation_loss'])} |" for e in epochs]
    return ["## Epochs", "", "| epoch | steps | loss | validation loss |", "|---|---|---|---|", *rows]


def _format(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) and abs(value) >= 0.001 else "none" if value is None else str(value)
