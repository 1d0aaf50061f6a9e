"""What stands beside the weights of a trained model: what it was made of and what came of it, and how it takes its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MODEL_CARD = "README.md"


def write_json(file: Path, content: Any) -> None:
    """Readable JSON."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_model_card(folder: Path, title: str, introduction: str, record: Mapping[str, Any]) -> None:
    """MODEL_CARD, for a person.

    record: data, tables, examples, metrics, parameters (each name to value), epochs (epoch, step, loss, validation_loss) and best_epoch.
    """
    sections = {
        "Data": record["data"], "Table versions": record["tables"], "Examples": record["examples"],
        "Quality": record["metrics"], "Parameters": record["parameters"],
    }  # fmt: skip
    lines = [f"# {title}", "", introduction]
    for name, values in sections.items():
        lines += ["", f"## {name}", "", "| | |", "|---|---|", *(f"| {key} | {_shown(value)} |" for key, value in values.items())]
    lines += ["", *_epochs(record["epochs"]), "", f"The weights are those of epoch {record['best_epoch']}.", ""]
    (folder / MODEL_CARD).write_text("\n".join(lines), encoding="utf-8")


def put_in_place(new: Path, folder: Path) -> None:
    """Let a finished folder take the place of the model trained before."""
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _epochs(epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [f"| {e['epoch']} | {e['step']} | {_shown(e['loss'])} | {_shown(e['validation_loss'])} |" for e in epochs]
    return ["## Epochs", "", "| epoch | steps | loss | validation loss |", "|---|---|---|---|", *rows]


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) and abs(value) >= 0.001 else "none" if value is None else str(value)
