"""Lists and rankers of a small world: time, partitioning, and what a record says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.config import Recommend
from interest_tiers.recommend import training
from interest_tiers.recommend.composition import prepare_ranking, rank_items
from interest_tiers.recommend.examples import list_cutoffs
from interest_tiers.recommend.item_use import find_used
from interest_tiers.recommend.knowledge import sum_use
from interest_tiers.recommend.ranker import Ranker
from interest_tiers.recommend.training import RECORD, ItemInputs, RankerSetup, RankerTraining, ranker_day
from interest_tiers.training.model_store import ModelStore
from interest_tiers.training.record import Lineage
from tests.recommend.conftest import keep

FIRST, DAY = date(2020, 1, 1), date(2020, 7, 16)
DAYS = "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions bigint"
CONFIG = Recommend.model_validate({"k": 5, "training": {"min_users": 20, "max_users": 100}})


@pytest.fixture(scope="module")
def days(spark: SparkSession) -> DataFrame:
    """Sixty users who come back to the same five of thirty items, and try others; days go on after DAY."""
    random = np.random.default_rng(7)
    rows = []
    for user in range(60):
        favourites = random.choice(30, 5, replace=False)
        for day in np.flatnonzero(random.random(230) < 0.15):
            for item in {int(random.choice(favourites)), int(random.integers(30))}:
                rows.append((f"u{user}", f"c{item % 4}", f"i{item:02d}", FIRST + timedelta(days=int(day)), 1.0, 1))
    rows.append(("u0", "c0", "i28", DAY - timedelta(days=3), -5.0, 1))
    return spark.createDataFrame(pd.DataFrame(rows, columns=DAYS.replace(",", "").split()[::2]), DAYS).localCheckpoint()


@pytest.fixture(scope="module")
def vectors(spark: SparkSession) -> DataFrame:
    random = np.random.default_rng(8)
    rows = [(f"i{item:02d}", f"t{item % 25}", [float(x) for x in random.normal(size=4)] if item < 28 else None) for item in range(30)]
    return spark.createDataFrame(rows, "item_id string, text_hash string, embedding array<float>")


def set_up(folder: Path, days: DataFrame, vectors: DataFrame) -> RankerSetup:
    store = ModelStore(folder, RECORD, "run-1")
    return RankerSetup(lambda cutoff: ItemInputs(days, vectors), CONFIG, 30, 1, store, keep, Lineage("shop", "sha", "run-1", {}, "model"))


def lists(days: DataFrame, vectors: DataFrame, ranker: Ranker | None, repeats: bool = True) -> list[tuple]:
    ready = prepare_ranking(sum_use(days, DAY, keep), vectors, CONFIG)
    return [tuple(row) for row in rank_items(ready, ranker, CONFIG, repeats).orderBy("user_id", "rank").collect()]


@pytest.fixture(scope="module")
def rankers(days: DataFrame, vectors: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ranker]:
    found = RankerTraining(set_up(tmp_path_factory.mktemp("rankers"), days, vectors), DAY, ["all", "new"]).read_or_train()
    assert not isinstance(found, str)
    return {str(kind): ranker for kind, ranker in found.items()}


def scramble(days: DataFrame) -> DataFrame:
    """Change what happened from DAY on: other items, other users, other weights."""
    after = F.col("event_date") >= F.lit(DAY)
    changed = {"item_id": F.lit("i00"), "user_id": F.concat(F.lit("x"), "user_id"), "weight": F.lit(9.0)}
    return days.withColumns({name: F.when(after, value).otherwise(F.col(name)) for name, value in changed.items()})


def test_nothing_from_the_day_on_changes_a_model_or_a_list(
    days: DataFrame, vectors: DataFrame, rankers: dict[str, Ranker], tmp_path: Path
) -> None:
    scrambled = RankerTraining(set_up(tmp_path, scramble(days), vectors), DAY, ["all", "new"]).read_or_train()
    assert {str(kind): ranker.model for kind, ranker in scrambled.items()} == {kind: ranker.model for kind, ranker in rankers.items()}
    assert lists(scramble(days), vectors, rankers["all"]) == lists(days, vectors, rankers["all"])


def test_partitioning_changes_neither_model_nor_list(
    days: DataFrame, vectors: DataFrame, rankers: dict[str, Ranker], tmp_path: Path
) -> None:
    spread = days.repartition(7, "event_date")
    again = RankerTraining(set_up(tmp_path, spread, vectors), DAY, ["all", "new"]).read_or_train()
    assert not isinstance(again, str) and again["all"].model == rankers["all"].model
    assert lists(spread, vectors, rankers["new"], repeats=False) == lists(days, vectors, rankers["new"], repeats=False)


def test_lists_hold_no_item_twice_nothing_disliked_and_own_items_only_where_wanted(
    days: DataFrame, vectors: DataFrame, rankers: dict[str, Ranker]
) -> None:
    had = {(row["user_id"], row["item_id"]) for row in days.where((F.col("event_date") < F.lit(DAY)) & (F.col("weight") > 0)).collect()}
    for ranker in (None, rankers["all"]):
        rows = lists(days, vectors, ranker)
        shown = [(row[0], row[2]) for row in rows]
        assert len(shown) == len(set(shown)) == 60 * 5
        assert ("u0", "i28") not in shown
        assert {(row[0], row[2]) for row in rows if row[5]} <= had
        assert not any((row[0], row[2]) in had for row in lists(days, vectors, ranker, repeats=False))


def test_the_ranker_finds_the_favourites(days: DataFrame, vectors: DataFrame, rankers: dict[str, Ranker]) -> None:
    """A list by the model holds more of what a user turns to than one of chance: users come back to five of thirty items."""
    horizon = days.where((F.col("event_date") >= F.lit(DAY)) & (F.col("event_date") < F.lit(DAY + timedelta(days=60))))
    truth = {(row["user_id"], row["item_id"]) for row in find_used(horizon).collect()}
    rows = lists(days, vectors, rankers["all"])
    assert np.mean([(row[0], row[2]) in truth for row in rows]) > 2 * len(truth) / (60 * 30)


def test_a_model_is_trained_once_and_recorded(days: DataFrame, vectors: DataFrame, tmp_path: Path) -> None:
    training = RankerTraining(set_up(tmp_path, days, vectors), DAY, ["all"])
    training.read_or_train()
    record = json.loads((training.folder / RECORD).read_text())
    assert record["cutoffs"] == ["2020-06-16", "2020-05-19"] and record["labels_complete_by"] == "2020-07-16"
    assert record["users"] == 60 and record["kinds"] == ["all"]
    assert record["examples"]["used"] > 0 and record["examples"]["own"] > record["examples"]["used"] / 2
    before = (training.folder / "all.ubj").stat().st_mtime_ns
    RankerTraining(replace(training.setup), DAY, ["all"]).read_or_train()
    assert (training.folder / "all.ubj").stat().st_mtime_ns == before
    assert RankerTraining(training.setup, DAY, ["new"]).fingerprint != training.fingerprint


def test_an_earlier_cutoff_is_added_only_where_users_are_few(
    days: DataFrame, vectors: DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = set_up(tmp_path, days, vectors)
    assert len(RankerTraining(setup, DAY, ["new"]).examples[1]) == 2
    monkeypatch.setattr(training, "ENOUGH_USERS", 50)
    examples, counts = RankerTraining(setup, DAY, ["new"]).examples
    assert len(counts) == 1 and counts[0] >= 50
    assert len(examples["label"]) == len(examples["features"]) > 0


def test_too_few_users_or_days_are_said(days: DataFrame, vectors: DataFrame, tmp_path: Path) -> None:
    setup = set_up(tmp_path, days, vectors)
    few = replace(setup, config=Recommend.model_validate({"training": {"min_users": 61}}))
    assert RankerTraining(few, DAY, ["all"]).read_or_train() == (
        "60 users can teach it, fewer than recommend.training.min_users (61)"
    )  # fmt: skip
    short = RankerTraining(setup, FIRST + timedelta(days=40), ["all"]).read_or_train()
    assert short == "the data before 2020-02-10 are too short for a horizon of 30 days"
    assert RankerTraining(setup, FIRST, ["all"]).read_or_train() == "the data before 2020-01-01 are too short for a horizon of 30 days"


def test_cutoffs_leave_a_whole_horizon_and_enough_history() -> None:
    assert list_cutoffs(date(2020, 7, 16), 30, FIRST) == [date(2020, 6, 16), date(2020, 5, 19)]
    assert list_cutoffs(date(2020, 5, 16), 30, FIRST) == [date(2020, 4, 16)]
    assert list_cutoffs(date(2020, 2, 10), 30, FIRST) == []
    assert ranker_day(date(2020, 7, 16), CONFIG) <= date(2020, 7, 16)
    assert ranker_day(date(2020, 7, 16), CONFIG).toordinal() % 7 == 0


def test_a_world_without_use_gives_no_lists(spark: SparkSession, vectors: DataFrame) -> None:
    assert lists(spark.createDataFrame([], DAYS), vectors, None) == []
    assert lists(spark.createDataFrame([("u1", "c0", "i01", FIRST, -1.0, 1)], DAYS), vectors, None) == []


def test_one_user_with_one_item_gets_it(spark: SparkSession, vectors: DataFrame) -> None:
    rows = lists(spark.createDataFrame([("u1", "c0", "i01", FIRST, 1.0, 1)], DAYS), vectors.limit(0), None)
    assert [(row[0], row[1], row[2]) for row in rows] == [("u1", 1, "i01")]
