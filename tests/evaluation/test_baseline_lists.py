"""The traditional lists that a recommender has to beat, by hand and against formulas of numpy."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.config import Recommend
from interest_tiers.evaluation.baseline_lists import rank_by_baselines
from interest_tiers.evaluation.next_basket import GROUP_DECAY, NEIGHBOURS, OWN_WEIGHT, rank_by_neighbours, weigh_baskets
from interest_tiers.recommend.composition import prepare_ranking
from interest_tiers.recommend.knowledge import code_items, sum_use

CUTOFF = date(2020, 6, 1)
DAYS = "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions bigint"


def keep(name: str, rows: DataFrame) -> DataFrame:
    return rows.localCheckpoint()


def days_of(spark: SparkSession, rows: list[tuple[str, str, int, int]]) -> DataFrame:
    """user, item, days before the cutoff, interactions"""
    return spark.createDataFrame([(user, "c", item, CUTOFF - timedelta(days=age), 1.0, n) for user, item, age, n in rows], DAYS)


def test_lists_of_the_simple_baselines(spark: SparkSession) -> None:
    days = days_of(
        spark,
        [
            ("u1", "a", 1, 5), ("u1", "b", 2, 1), ("u1", "b", 40, 1), ("u1", "c", 300, 1),
            ("u2", "b", 3, 1), ("u2", "d", 90, 1), ("u3", "d", 5, 1), ("u3", "b", 9, 1), ("u4", "e", 2, 1),
        ],
    )  # fmt: skip
    vectors = spark.createDataFrame([], "item_id string, text_hash string, embedding array<float>")
    users = spark.createDataFrame([("u1",)], "user_id string")
    ready = prepare_ranking(sum_use(days, CUTOFF, keep), vectors, Recommend(), users)
    assert ready.knowledge is not None
    rows = rank_by_baselines(ready.histories, ready.knowledge, 3).toPandas().sort_values("rank")
    lists = {key: list(found) for key, found in rows.groupby(["model", "items"])["item_id"]}
    assert set(rows["user_id"]) == {"u1"}
    assert lists["popularity", "all"] == ["b", "d", "a"]  # 3, 2 and 1 users; equal ones by id
    assert lists["popularity", "new"] == ["d", "e"]
    assert lists["adopters_14d", "new"] == ["d", "e"]
    assert lists["own_frequency", "all"] == ["a", "b", "c"]  # 5, 2 and 1 interactions
    # Days 2, 1, 1; of four active users three had b in 28 days, one had a.
    assert lists["own_popularity_0.5", "all"] == ["b", "a", "c"]
    assert lists["own_popularity_8", "all"] == ["b", "a", "c"]
    assert {model for model, _ in lists} >= {"ease", "item_knn", "rp3beta", "pure_svd"}
    assert lists["ease", "new"] == ["d"]


def test_baskets_are_weighed_by_groups(spark: SparkSession) -> None:
    """Seven baskets in three groups of 3, 3 and 1, the newest first."""
    days = days_of(spark, [("u1", f"i{age}", age, 1) for age in range(1, 8)])
    got = {row["item_id"]: row["frequency"] for row in weigh_baskets(days, CUTOFF).collect()}
    expected = (
        {f"i{age}": 1 / 3 / 3 for age in (1, 2, 3)} | {f"i{age}": GROUP_DECAY / 3 / 3 for age in (4, 5, 6)} | {"i7": GROUP_DECAY**2 / 3}
    )
    assert got == pytest.approx(expected)


def test_tifu_knn_is_the_formula(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interest_tiers.evaluation.next_basket.NEIGHBOURS", 3)
    assert NEIGHBOURS > 3
    random = np.random.default_rng(2)
    rows = [
        (f"u{user}", f"i{item}", int(age), 1) for user in range(8) for age in random.integers(1, 90, 6) for item in random.integers(0, 9, 3)
    ]
    days = days_of(spark, rows)
    frequencies = weigh_baskets(days, CUTOFF).localCheckpoint()
    vectors = spark.createDataFrame([], "item_id string, text_hash string, embedding array<float>")
    ready = prepare_ranking(sum_use(days, CUTOFF, keep), vectors, Recommend())
    assert ready.knowledge is not None
    table = ready.knowledge.value.table
    users = spark.createDataFrame([(f"u{user}",) for user in range(5)], "user_id string")
    got = rank_by_neighbours(frequencies, users, code_items(spark, table)[0], table, 4).toPandas().sort_values("rank")
    dense = frequencies.toPandas().pivot_table(index="user_id", columns="item_id", values="frequency", fill_value=0.0)
    for user in users.toPandas()["user_id"]:
        others = dense.drop(index=user)
        near = others.loc[((others - dense.loc[user]) ** 2).sum(axis=1).nsmallest(3).index].mean()
        blended: pd.Series = OWN_WEIGHT * dense.loc[user] + (1 - OWN_WEIGHT) * near
        for items, scores in (("all", blended), ("new", blended[dense.loc[user] == 0])):
            of_user = got[(got["user_id"] == user) & (got["items"] == items)]["item_id"].tolist()
            expected = scores[scores > 0].sort_values(ascending=False)[:4]
            assert scores[of_user].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6)
