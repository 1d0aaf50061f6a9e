"""Which files are new, and when what the tables hold does not stand."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from interest_tiers.cleaning.ledger import CLEANING_RULES_VERSION, SourceChanges, compare_files, fingerprint_rules
from interest_tiers.config import Config
from interest_tiers.storage.schemas import SOURCE_FILES

LISTED = [("logs", "a", "1"), ("logs", "b", "2"), ("logs", "d", "1"), ("logs", "c", "1"), ("news", "n", "1"), ("posts", "p", "9")]
LEDGER = [
    ("logs", "a", "1", "r1", "old", "run-1"),
    ("logs", "b", "2", "r1", "newest", "run-2"),
    ("logs", "z", "1", "r1", "old", "run-1"),
    ("posts", "p", "1", "r1", "columns", "run-1"),
    ("gone", "g", "1", "r1", "columns", "run-1"),
]


def test_files_are_new_changed_or_gone(spark: SparkSession) -> None:
    listed = spark.createDataFrame(LISTED, "source string, path string, state string")
    got = compare_files(listed, spark.createDataFrame(LEDGER, SOURCE_FILES.schema), {"logs": "r1", "posts": "r2", "news": "r1"})
    assert got == {
        "logs": SourceChanges(("c", "d"), None, 1, True, "newest"),
        "news": SourceChanges(("n",), None, 0, True, None),
        "posts": SourceChanges((), "p", 0, False, "columns"),
        "gone": SourceChanges((), None, 1, False, "columns"),
    }


def test_a_joined_table_that_changed_is_told_apart_from_other_rules(spark: SparkSession) -> None:
    listed = spark.createDataFrame(LISTED[:1], "source string, path string, state string")
    ledger = spark.createDataFrame([("logs", "a", "1", "r1:2/77", "old", "run-1")], SOURCE_FILES.schema)
    found = {rules: compare_files(listed, ledger, {"logs": rules})["logs"] for rules in ("r1:2/77", "r1:3/78", "r2:2/77", "r1")}
    assert {rules: (change.same_rules, change.same_joined) for rules, change in found.items()} == {
        "r1:2/77": (True, True),
        "r1:3/78": (True, False),
        "r2:2/77": (False, True),
        "r1": (True, False),
    }


@pytest.mark.parametrize("step", ["{}", "{:08d}"])
def test_step_10_of_a_stream_comes_after_step_9(spark: SparkSession, step: str) -> None:
    run = "20240304T100000-ab12cd34-logs-"
    ledger = [("logs", f"f{n}", "1", "r1", f"columns of {n}", run + step.format(n)) for n in (9, 10, 2)]
    ledger.append(("logs", "f0", "1", "r1", "columns of 0", "20240303T100000-ffffff99"))
    listed = spark.createDataFrame(LISTED[:1], "source string, path string, state string")
    changes = compare_files(listed, spark.createDataFrame(ledger, SOURCE_FILES.schema), {"logs": "r1"})
    assert changes["logs"].columns == "columns of 10"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (SourceChanges(("a",), columns="{}"), None),
        (SourceChanges(vanished=3, columns="{}"), None),
        (SourceChanges(("a",)), "for the first time"),
        (SourceChanges(changed="x.csv", columns="{}"), "x.csv is no longer the file that was read"),
        (SourceChanges(same_rules=False, columns="{}"), "cleans it in another way"),
        (SourceChanges(same_joined=False, columns="{}"), "a table that it joins has changed"),
    ],
)
def test_only_new_files_are_no_reason_to_read_everything(changes: SourceChanges, told: str | None) -> None:
    reason = changes.reason_to_rebuild
    assert reason is None if told is None else reason is not None and told in reason


TREE = {
    "name": "shop",
    "interactions": {"path": "e.csv", "columns": {"user_id": "u", "item_id": "i", "occurred_at": "t", "behaviour": {"literal": "view"}}},
    "items": {"path": "i.csv", "columns": {"item_id": "i", "text": "t", "category": "c"}},
    "behaviours": {"view": 1.0},
}


def rules(version: int = CLEANING_RULES_VERSION, **changed: object) -> str:
    config = Config.model_validate(TREE | changed)
    return fingerprint_rules(config, config.interactions[0], version=version)


@pytest.mark.parametrize(
    "changed",
    [
        {"version": CLEANING_RULES_VERSION + 1},
        {"noise": {"repeat_seconds": 5}},
        {"values": {"view": {"max": 5}}},
        {"behaviours": {"view": 1.0, "buy": 1.0}},
        {"behaviours": {"view": 1.0, "buy": "quarantine"}},
        {"interactions": {**TREE["interactions"], "keep": ["u > 0"]}},  # type: ignore[dict-item]
    ],
)
def test_rules_differ_where_rows_may_come_out_differently(changed: dict[str, object]) -> None:
    assert rules(**changed) != rules()  # type: ignore[arg-type]


@pytest.mark.parametrize("changed", [{"quality": {"min_rows": 5}}, {"behaviours": {"view": 0.5}}, {"tiers": {"horizon_days": 7}}])
def test_what_decides_nothing_about_a_row_is_no_rule(changed: dict[str, object]) -> None:
    assert rules(**changed) == rules()
