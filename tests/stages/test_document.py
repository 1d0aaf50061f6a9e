"""The generated part of docs/running.md is what the registry gives."""

from __future__ import annotations

from pathlib import Path

from interest_tiers.stages.document import BEGIN, fill_in, stages_table
from interest_tiers.stages.registry import COMMANDS, STAGES

PAGE = Path(__file__).parents[2] / "docs" / "running.md"


def test_the_page_holds_the_table_of_the_registry() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page
    assert fill_in(page) == page, "run make docs"


def test_every_stage_has_a_row() -> None:
    rows = stages_table().splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [f"| {stage.name}" for stage in (*STAGES, *COMMANDS)]
    assert "| USER" not in "".join(rows)
