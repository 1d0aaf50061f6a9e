"""Data flows down through the layout: foundations, then stages that know nothing of each other, then jobs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "lib" / "interest_tiers"
STAGES = sorted(path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__")
FOUNDATIONS = {
    "config", "distribution", "errors", "evidence", "experiment_log", "hierarchy", "kmeans", "model_record", "once_per_worker", "sampling",
    "task_resources", "text", "training",
}  # fmt: skip


def imported(file: Path) -> set[str]:
    """The parts of this package that a file imports: the word after interest_tiers."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("interest_tiers"):
            names.update([node.module.split(".")[1]] if "." in node.module else [alias.name for alias in node.names])
    return names


def test_there_are_stages() -> None:
    assert STAGES == ["cleaning", "clustering", "embedding", "evaluation", "interests", "recommend", "report", "tiers"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_foundations_and_itself_and_neither_storage_nor_session(stage: str) -> None:
    for file in (LIBRARY / stage).glob("*.py"):
        assert imported(file) <= FOUNDATIONS | {stage}, file


@pytest.mark.parametrize("module", sorted(FOUNDATIONS))
def test_a_foundation_imports_no_stage(module: str) -> None:
    assert imported(LIBRARY / f"{module}.py") <= FOUNDATIONS


def test_storage_session_and_forgetting_import_no_stage() -> None:
    for module in ("tables", "sources", "session", "forgetting"):
        assert imported(LIBRARY / f"{module}.py") <= FOUNDATIONS
