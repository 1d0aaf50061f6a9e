"""The page about the configuration: it is the models' own, and reads well."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from interest_tiers.config import Section
from interest_tiers.config.document import document, iterate_sections
from interest_tiers.config.root import Config

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
SECTIONS = dict(iterate_sections(Config))
LONGEST_SENTENCE = 25


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of every table row by its key."""
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    return {key.strip("`"): rest for key, *rest in cells}


def words(text: str) -> int:
    """Count the words of a text; code counts as one."""
    return len(re.sub(r"`[^`]*`", "code", text).split())


def test_the_page_is_that_of_the_models() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "run make docs"


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("name", ["text", "required", r"`^[A-Za-z0-9_\-]+$`"]),
        ("interactions", ["list of sections", "required", "length at least 1"]),
        ("interactions.columns.user_id", ["column", "required", ""]),
        ("interactions.columns.occurred_at.earliest", ["date", "`1990-01-01`", ""]),
        ("items.columns.text", ["list of columns", "`[]`", ""]),
        ("items.format", ["text", "none", "`parquet`, `csv`, `json`, `delta`"]),
        ("behaviours.NAME.value.low", ["number", "required", ""]),
        ("values.NAME.deviations", ["number", "none", "above 0"]),
        ("quality.max_rate_by_reason", ["map of names to numbers", "`{}`", "at least 0, at most 1"]),
        ("interests.source", ["text or list of texts", "`category`", "`category`, `topic`"]),
        ("tiers.core_mass", ["number", "`0.5`", "above 0, below 1"]),
        ("tiers.training", ["section", "see below", ""]),
        ("tiers.training.epochs", ["integer", "`3`", "at least 1, at most 10000"]),
        ("fine_tuning.learning_rate", ["number", "`0.00005`", "above 0, below 1"]),
        ("tiers.label_rules[].add", ["true or false", "`false`", ""]),
        ("clustering.k", ["list of integers", "`[6, 8, 10, 12]`", "length at least 1"]),
        ("retention_days", ["integer", "none", "at least 1"]),
    ],
)
def test_a_key_has_its_type_default_and_allowed_values(key: str, cells: list[str]) -> None:
    assert rows(document())[key][:3] == cells


def test_every_key_of_every_section_is_there() -> None:
    expected = {f"{path}.{name}".lstrip(".") for path, section in SECTIONS.items() for name in section.model_fields}
    assert set(rows(document())) == expected
    assert len(expected) > 150


@pytest.mark.parametrize("section", dict.fromkeys(SECTIONS.values()), ids=lambda section: section.__name__)
def test_sections_and_keys_are_described_in_short_sentences(section: type[Section]) -> None:
    for name, field in section.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert words(field.description) <= LONGEST_SENTENCE, name
    notes = " ".join((inspect.getdoc(section) or "").split())
    listless = re.sub(r": [^.]*(, [^.,]*){5,}\.", ".", notes)  # a list of names is no sentence to read
    for sentence in re.split(r"(?<=[.:]) ", listless):
        assert words(sentence) <= LONGEST_SENTENCE, sentence
