"""What is borrowed shapes the rows of user_interests, and neither labels nor calibration nor the truth of a back-test."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.config import Config, load_config
from interest_tiers.evaluation.backtest import BackTest, predict_tiers
from interest_tiers.interests.composition import InterestMethod, sum_pairs
from interest_tiers.storage.schemas import USER_INTERESTS
from interest_tiers.storage.warehouse import Warehouse
from interest_tiers.tiers.composition import TierInputs, TierMethod, assign_tiers, calibrate_rule, days_before, summarise_pairs

CUT = date(2024, 6, 1)
AS_OF = CUT + timedelta(days=28)
DAYS = "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions long, value double, level long"

CONFIG = """
name: borrowed
interactions: {path: e.csv, columns: {user_id: user, item_id: item, occurred_at: at, behaviour: {literal: purchase}}}
items: {path: i.csv, columns: {item_id: item, text: title, category: kind}}
behaviours: {purchase: 1.0}
tiers: {horizon_days: 28, network: rule}
"""


def cache(name: str, rows: DataFrame) -> DataFrame:
    """Materialise where nothing has to outlive the test."""
    return rows.cache()


def method_of(config: Config) -> TierMethod:
    return TierMethod.of(config, encoder=lambda: "none")


@pytest.fixture
def configs(tmp_path: Path) -> tuple[Config, Config]:
    """The same without and with augmentation."""
    path = tmp_path / "borrowed.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return load_config(path), load_config(path, ["augmentation={min_days: 2, weight: 1.0}"])


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
    rows = [(user, interest, f"item of {interest}", CUT - timedelta(days=age), 1.0, 1, 1.0, 1) for user, interest, age in touched]
    return spark.createDataFrame(rows, DAYS).cache()


def test_rows_that_are_wholly_borrowed_can_be_stored(
    spark: SparkSession, configs: tuple[Config, Config], days: DataFrame, warehouse: Warehouse
) -> None:
    before = days_before(days, CUT)
    plain, borrowing = configs
    without = sum_pairs(before, CUT, InterestMethod.of(plain), cache)
    assert sorted(without.collect()) == sorted(summarise_pairs(days, CUT, method_of(plain)).collect())
    assert warehouse.replace_day(USER_INTERESTS, sum_pairs(before, CUT, InterestMethod.of(borrowing), cache), CUT) == 4
    stored = {(row["user_id"], row["interest_id"]): row for row in warehouse.read(USER_INTERESTS, CUT).collect()}
    assert (stored["thin", "B"]["n_days"], stored["thin", "B"]["recency_days"]) == (0, None)
    assert stored["thin", "B"]["evidence"] == stored["thin", "B"]["borrowed"] > 0


def test_calibration_rests_on_what_users_did(configs: tuple[Config, Config], days: DataFrame) -> None:
    plain, borrowing = (calibrate_rule(TierInputs(days, days, days, days), AS_OF, method_of(config)) for config in configs)
    assert plain == borrowing
    assert plain.n_pairs == 3  # A and B of the one, A of the other


def test_a_borrowed_pair_is_not_judged(configs: tuple[Config, Config], days: DataFrame) -> None:
    found = []
    for config in configs:
        method, inputs = method_of(config), TierInputs(days, days, days, days)
        pairs = sum_pairs(days_before(days, CUT), CUT, InterestMethod.of(config), cache)
        calibration = calibrate_rule(inputs, CUT, method)
        tiers = assign_tiers(pairs, None, calibration, None, CUT, method, cache)
        test = BackTest(inputs, CUT, pairs, tiers, None, calibration, had=days, clustered=None)  # type: ignore[arg-type]
        predicted = predict_tiers(test, method, None, None, 17, cache).rows.where("model = 'user_tiers'")
        # The pair that the thin user borrowed has no label.
        found.append(sorted((row["user_id"], row["label"]) for row in predicted.collect()))
    assert found[0] == found[1] == [("known", "core"), ("known", "marginal"), ("thin", "core")]
