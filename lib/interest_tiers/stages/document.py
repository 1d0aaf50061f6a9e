"""Writes the table of stages of docs/running.md from the registry: python -m interest_tiers.stages.document docs/running.md"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from interest_tiers.stages.declaration import Stage
from interest_tiers.stages.registry import COMMANDS, STAGES
from interest_tiers.storage.schemas import Table

BEGIN, END = "<!-- generated from stages/registry.py by make docs -->", "<!-- end of the generated part -->"


def stages_table() -> str:
    """Lay out every stage and command: what it does, reads and writes, the config sections that decide on its rows, its options."""
    header = ["| stage | does | reads | writes | config sections | options |", "|---|---|---|---|---|---|"]
    return "\n".join([*header, *(_row(stage) for stage in (*STAGES, *COMMANDS))])


def fill_in(text: str) -> str:
    """Return a page with the part between BEGIN and END replaced by the table."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{stages_table()}\n{END}{after}"


def _row(stage: Stage) -> str:
    if not stage.has_config:
        return f"| {stage.name} | {stage.summary} | every table | every table | | {_options(stage)} |"
    optional = f"; if made: {_names(stage.may_read)}" if stage.may_read else ""
    tables = f"{_names(stage.reads) or 'files'}{optional} | {_names(stage.writes)}"
    return f"| {stage.name} | {stage.summary} | {tables} | {', '.join(stage.sections)} | {_options(stage)} |"


def _names(tables: Sequence[Table]) -> str:
    return ", ".join(table.name for table in tables)


def _options(stage: Stage) -> str:
    return ", ".join(f"`{option.flag}`" for option in stage.options)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(fill_in(page.read_text(encoding="utf-8")), encoding="utf-8")
