"""The figures on the pages are those that are stored, and those are what a warehouse held."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks import results


def test_the_pages_show_the_stored_figures() -> None:
    block = results.render(json.loads(results.FIGURES.read_text(encoding="utf-8")))
    for page in results.PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count(results.START) == text.count(results.END) == 1
        assert results.fill_in(text, block) == text, "run make results"


class Tables:
    """A warehouse of two back-tests, of which the newest counts."""

    def list_days(self, table: str, where: dict[str, Any]) -> list[date]:
        return [date(2018, 1, 2), date(2017, 12, 1)]

    def select(self, table: str, columns: list[str], where: dict[str, Any]) -> list[dict[str, Any]]:
        assert where["as_of"] == date(2018, 1, 2)
        if table == "runs":
            return [{"ended_at": datetime(2026, 1, 5, 23, tzinfo=UTC), "code_version": "0.1.0"}]
        rows = [
            ("J", "model=user_tiers", 0.3, 0.29, 0.31),
            ("J", "model=class_prior", 0.42, None, None),
            ("J", "model=class_prior,minus=user_tiers", 0.12, 0.11, 0.13),
            ("macro_f1", "model=user_tiers", 0.5, None, None),
            ("n_pairs", "tiers", 1234, None, None),
            ("n_users", "tiers", 56, None, None),
            ("n_pairs_core", "bin=3,model=user_tiers", 9, None, None),
            ("ndcg@10", "items=all,model=recommender", 0.2, None, None),
        ]
        keys = ("metric", "slice", "value", "lower", "upper")
        return [{"run_id": "r1", **dict(zip(keys, row, strict=True))} for row in rows]


def test_figures_of_a_warehouse_become_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(results, "open_warehouse", lambda location: Tables())
    figures = results.read_figures("anywhere")
    assert (figures["as_of"], figures["measured"], figures["run_id"]) == ("2018-01-02", "2026-01-05", "r1")
    assert len(figures["rows"]) == 7, "bins are left out"
    lines = results.render(json.loads(json.dumps(figures))).splitlines()
    for expected in (
        "Everything was computed as of 2017-10-03, and compared with the 91 days that followed (`--as-of 2018-01-02`).",
        "| tiers, 1,234 pairs of 56 users | J (lower is better) | minus computed tiers | Macro-F1 (higher is better) |",
        "| **Computed tiers** | 0.300 [0.290, 0.310] |  | 0.500 |",
        "| Class prior | 0.420 | +0.120 [+0.110, +0.130] |  |",
        "| **Recommender** | 0.200 |  |",
    ):
        assert expected in lines, expected
