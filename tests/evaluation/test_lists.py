"""The traditional lists that a recommender has to beat, by hand and against formulas of numpy."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.config import Recommend
from interest_tiers.evaluation import next_basket
from interest_tiers.evaluation.factorisation import list_by_als
from interest_tiers.evaluation.lists import Contender, list_items
from interest_tiers.evaluation.next_basket import GROUP_DECAY, OWN_WEIGHT, Baskets, list_by_neighbours, weigh_baskets
from interest_tiers.recommend.composition import prepare_ranking, rank_items, select_by
from interest_tiers.recommend.knowledge import code_items, sum_use
from tests.recommend.conftest import keep

CUTOFF = date(2020, 6, 1)
DAYS = "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions bigint"


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
    rows = list_items(ready.histories, ready.knowledge, [], 3).toPandas().sort_values("rank")
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


def test_lists_of_the_recommender_are_those_of_the_stage_and_know_how_far_apart_their_texts_are(spark: SparkSession) -> None:
    """a and b are at a right angle, d lies between them, c has no text."""
    days = days_of(spark, [("u1", "a", 1, 1), ("u1", "b", 2, 1), ("u1", "c", 3, 1), ("u2", "a", 1, 1), ("u2", "d", 2, 1)])
    texts = [("a", "h1", [2.0, 0.0]), ("b", "h2", [0.0, 1.0]), ("d", "h3", [0.6, 0.8])]
    vectors = spark.createDataFrame(texts, "item_id string, text_hash string, embedding array<float>")
    ready = prepare_ranking(sum_use(days, CUTOFF, keep), vectors, Recommend(k=4))
    assert ready.knowledge is not None
    contenders = [Contender(kind, "ours", None, select_by(Recommend(k=4), repeats)) for kind, repeats in (("all", True), ("new", False))]
    rows = list_items(ready.histories, ready.knowledge, contenders, 4).where("model = 'ours'").toPandas().sort_values(["user_id", "rank"])
    for kind, repeats in (("all", True), ("new", False)):
        expected = rank_items(ready, None, Recommend(k=4), repeats).toPandas().sort_values(["user_id", "rank"])
        got = rows[rows["items"] == kind]
        assert got[["user_id", "item_id", "rank"]].to_numpy().tolist() == expected[["user_id", "item_id", "rank"]].to_numpy().tolist()
    of_first = rows[(rows["items"] == "all") & (rows["user_id"] == "u1")].set_index("item_id")
    assert of_first["rank"].to_dict() == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert of_first["n_above"].to_dict() == {"a": 0, "b": 1, "c": 0, "d": 2}
    assert of_first["distance"].to_dict() == pytest.approx({"a": 0.0, "b": 1.0, "c": 0.0, "d": 0.4 + 0.2}, abs=1e-6)


def test_baskets_are_weighed_by_groups(spark: SparkSession) -> None:
    """Seven baskets in three groups of 3, 3 and 1, the newest first."""
    days = days_of(spark, [("u1", f"i{age}", age, 1) for age in range(1, 8)])
    rows = weigh_baskets(days, CUTOFF).collect()
    assert [row["recent"] for row in rows] == pytest.approx([1 / 7] * 7)
    got = {row["item_id"]: row["frequency"] for row in rows}
    expected = (
        {f"i{age}": 1 / 3 / 3 for age in (1, 2, 3)} | {f"i{age}": GROUP_DECAY / 3 / 3 for age in (4, 5, 6)} | {"i7": GROUP_DECAY**2 / 3}
    )
    assert got == pytest.approx(expected)


def test_users_are_blended_with_their_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_basket, "NEIGHBOURS", 2)
    vectors = np.random.default_rng(4).random((6, 5)).astype(np.float32)
    others = vectors[1:]
    nearest = others[np.argsort(((others - vectors[0]) ** 2).sum(axis=1))[:2]].mean(axis=0)
    mine, all_users = (Baskets(rows, rows) for rows in (sp.csr_matrix(vectors[:1]), sp.csr_matrix(vectors)))
    got = next_basket.blend_nearest(mine, np.array([7]), all_users, np.array([7, 1, 2, 3, 4, 5]))
    assert got[0] == pytest.approx(OWN_WEIGHT * vectors[0] + (1 - OWN_WEIGHT) * nearest, rel=1e-5)


def test_users_are_blended_with_those_who_overlap() -> None:
    """User 7 had items 0 and 1; 1 had 0 to 3, an overlap of 2 / (2^.75 4^.25); 2 had item 4 alone."""
    recent = sp.csr_matrix(np.array([[0.5, 1, 0, 0, 0], [0.2, 0.2, 0.4, 0.6, 0], [0, 0, 0, 0, 1.0]], dtype=np.float32))
    frequency = sp.csr_matrix(np.array([[1, 1, 0, 0, 0], [3, 1, 1, 1, 0], [0, 0, 0, 0, 1.0]], dtype=np.float32))
    weight = (2 / (2**0.75 * 4**0.25)) ** next_basket.LOCALITY
    got = next_basket.blend_overlapping(Baskets(frequency[:1], recent[:1]), np.array([7]), Baskets(frequency, recent), np.array([7, 1, 2]))
    assert got[0] == pytest.approx((np.array([0.5, 1, 0, 0, 0]) + weight * np.array([0.2, 0.2, 0.4, 0.6, 0])) / (1 + weight), rel=1e-5)


def test_tifu_knn_is_the_formula(spark: SparkSession) -> None:
    """Eight users are fewer than NEIGHBOURS, so all others are near."""
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
    got = list_by_neighbours(frequencies, users, code_items(spark, table)[0], ready.knowledge, 4).toPandas().sort_values("rank")
    got = got[got["model"] == "tifu_knn"]
    dense = frequencies.toPandas().pivot_table(index="user_id", columns="item_id", values="frequency", fill_value=0.0)
    for user in users.toPandas()["user_id"]:
        near = dense.drop(index=user).mean()
        blended: pd.Series = OWN_WEIGHT * dense.loc[user] + (1 - OWN_WEIGHT) * near
        for items, scores in (("all", blended), ("new", blended[dense.loc[user] == 0])):
            of_user = got[(got["user_id"] == user) & (got["items"] == items)]["item_id"].tolist()
            expected = scores[scores > 0].sort_values(ascending=False)[:4]
            assert scores[of_user].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6)


def test_als_finds_the_item_that_the_users_of_the_same_kind_have(spark: SparkSession) -> None:
    """Two kinds of users with five items each; u0 and u1 lack one of theirs."""
    rows = [(f"u{user}", f"i{user % 2}{item}", 1 + item, 1) for user in range(20) for item in range(5) if not (user < 2 and item == 3)]
    use = sum_use(days_of(spark, rows), CUTOFF, keep)
    ready = prepare_ranking(use, spark.createDataFrame([], "item_id string, text_hash string, embedding array<float>"), Recommend())
    assert ready.knowledge is not None
    codes, users = code_items(spark, ready.knowledge.value.table)[0], spark.createDataFrame([("u0",), ("u1",)], "user_id string")
    got = list_by_als(use.used, users, codes, ready.knowledge, 5, seed=3).toPandas().sort_values("rank")
    lists = {key: list(found) for key, found in got.groupby(["user_id", "items"])["item_id"]}
    assert lists["u0", "new"][0] == "i03" and lists["u1", "new"][0] == "i13"
    assert set(lists["u0", "all"]) == {f"i0{item}" for item in range(5)}
    assert len(lists["u0", "new"]) == 5 and "i00" not in lists["u0", "new"]
