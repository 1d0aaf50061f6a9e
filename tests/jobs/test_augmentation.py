"""What is borrowed shapes the rows of user_interests, and neither labels nor calibration nor the truth of a back-test."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.config import load_config
from interest_tiers.stages import evaluate
from interest_tiers.stages.assign_tiers import calibration_as_of, tiers_as_of
from interest_tiers.stages.build_interests import augmented_pairs_as_of, pairs_as_of, with_level
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.train_tiers import ModelOfTiers
from interest_tiers.storage.schemas import USER_INTERESTS
from interest_tiers.storage.warehouse import Warehouse

CUT = date(2024, 6, 1)
AS_OF = CUT + timedelta(days=28)
DAYS = "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions long, value double"

CONFIG = """
name: borrowed
interactions: {path: e.csv, columns: {user_id: user, item_id: item, occurred_at: at, behaviour: {literal: purchase}}}
items: {path: i.csv, columns: {item_id: item, text: title, category: kind}}
behaviours: {purchase: 1.0}
tiers: {horizon_days: 28, network: rule}
"""


class Memory:
    """Stands for a warehouse where nothing has to outlive the test."""

    def stage(self, name: str, rows: DataFrame) -> DataFrame:
        return rows.cache()


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[StageContext, StageContext]:
    """The same without and with augmentation."""
    path = tmp_path / "borrowed.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    memory = cast(Warehouse, Memory())
    plain, borrowing = load_config(path), load_config(path, ["augmentation={min_days: 2, weight: 1.0}"])
    return StageContext(plain, memory, AS_OF), StageContext(borrowing, memory, AS_OF)


@pytest.fixture
def days(spark: SparkSession) -> DataFrame:
    touched = [
        ("known", "A", 9),
        ("known", "B", 8),
        ("known", "B", 7),
        ("thin", "A", 3),
        ("known", "B", -1),
        ("thin", "B", -2),
        ("thin", "A", -3),
    ]
    rows = [(user, interest, f"item of {interest}", CUT - timedelta(days=age), 1.0, 1, 1.0) for user, interest, age in touched]
    return spark.createDataFrame(rows, DAYS).cache()


def test_rows_that_are_wholly_borrowed_can_be_stored(
    spark: SparkSession, contexts: tuple[StageContext, StageContext], days: DataFrame, warehouse: Warehouse
) -> None:
    before = days.where(f"event_date < DATE'{CUT}'")
    plain, borrowing = contexts
    assert sorted(augmented_pairs_as_of(plain, before, CUT, "x").collect()) == sorted(pairs_as_of(plain, before, CUT).collect())
    assert warehouse.replace_day(USER_INTERESTS, with_level(augmented_pairs_as_of(borrowing, before, CUT, "x")), CUT) == 4
    stored = {(row["user_id"], row["interest_id"]): row for row in warehouse.read(USER_INTERESTS, CUT).collect()}
    assert (stored["thin", "B"]["n_days"], stored["thin", "B"]["recency_days"]) == (0, None)
    assert stored["thin", "B"]["evidence"] == stored["thin", "B"]["borrowed"] > 0


def test_calibration_rests_on_what_users_did(contexts: tuple[StageContext, StageContext], days: DataFrame) -> None:
    plain, borrowing = (calibration_as_of(context, days, AS_OF) for context in contexts)
    assert plain == borrowing
    assert plain.n_pairs == 3  # A and B of the one, A of the other


def test_a_borrowed_pair_is_not_judged(
    contexts: tuple[StageContext, StageContext], days: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = days.where(f"event_date < DATE'{CUT}'"), days.where(f"event_date >= DATE'{CUT}'")
    judged: dict[str, Any] = {}

    def keep(known: DataFrame, *_: object) -> dict[str, Any]:
        judged["labels"] = {(row["user_id"], row["interest_id"]): row["label"] for row in known.collect()}
        return {}

    monkeypatch.setattr(evaluate, "predictions", lambda known, calibration: known)
    monkeypatch.setattr(evaluate, "tier_quality", keep)
    found = []
    for context in contexts:
        pairs = augmented_pairs_as_of(context, before, CUT, "x")
        calibration = calibration_as_of(context, before, CUT)
        tiers = tiers_as_of(context, pairs, None, calibration, ModelOfTiers(None, "the rule decides"), CUT, "said")
        evaluate._judge_tiers(context, evaluate._Judged(pairs, None, tiers, calibration, after), None)
        found.append(judged["labels"])
    assert found[0] == found[1] == {("known", "A"): "marginal", ("known", "B"): "core", ("thin", "A"): "core"}
