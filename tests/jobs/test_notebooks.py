"""The notebooks run from their first cell to the last, and are committed without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from interest_tiers.spark.session import FURTHER_SETTINGS
from tests.conftest import LIGHT_SETTINGS
from tests.jobs.shop import REPOSITORY, Made

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))

#: Those that read the tables of a run; the others make their own.
READING = [path for path in NOTEBOOKS if not path.name.startswith("01")]


def execute(path: Path) -> list[nbformat.NotebookNode]:
    """Run a notebook in its folder; returns the outputs of its cells."""
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    return [output for cell in book.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_committed(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.slow
@pytest.mark.parametrize("path", READING, ids=lambda path: path.stem)
def test_it_reads_the_tables_of_a_run(path: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTEREST_TIERS_WAREHOUSE", made.warehouse)
    outputs = execute(path)
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3


@pytest.mark.slow
def test_it_goes_from_raw_files_to_tiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "light.conf"
    settings.write_text("".join(f"{key} {value}\n" for key, value in LIGHT_SETTINGS.items()), encoding="utf-8")
    monkeypatch.setenv(FURTHER_SETTINGS, str(settings))
    outputs = execute(NOTEBOOKS[0])
    assert not [output for output in outputs if output.output_type == "error"]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "assign_tiers" in printed and "rows out" in printed
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
