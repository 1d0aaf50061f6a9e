"""Lists whose tiers follow those of what their user does."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from interest_tiers.config import Recommend
from interest_tiers.evaluation.lists import Contender, list_items
from interest_tiers.recommend.calibration import SMOOTHING, UserTiers, diverge, gather_tiers
from interest_tiers.recommend.co_use import CoUse
from interest_tiers.recommend.composition import TierFrames, prepare_ranking, rank_items, select_by
from interest_tiers.recommend.features import Candidates
from interest_tiers.recommend.knowledge import Knowledge, sum_use
from interest_tiers.recommend.pair_keys import make_keys
from interest_tiers.recommend.selection import Selection, select_items
from tests.recommend.conftest import keep, make_table

CUTOFF = date(2020, 6, 1)
CORE, SECONDARY, MARGINAL = np.eye(3)
NOTHING = sp.csr_matrix((6, 6), dtype=np.float32)
NO_FACTORS = np.zeros((6, 1), dtype=np.float32)


@given(data=st.data())
def test_the_divergence_is_that_of_scipy(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    target, listed = (random.dirichlet([0.5] * 3) for _ in range(2))
    target = np.where(target == target.min(), 0, target)
    target /= target.sum()
    expected = scipy.stats.entropy(target, (1 - SMOOTHING) * listed + SMOOTHING * target)
    assert diverge(target, listed) == pytest.approx(expected, abs=1e-12)
    assert diverge(target, target) == pytest.approx(0, abs=1e-12)


def test_an_interest_that_a_user_does_not_have_is_marginal() -> None:
    """User 0 has interest 2, user 1 has 0 and 2."""
    tiers = UserTiers(make_keys(np.array([0, 1, 1]), np.array([2, 0, 2])), np.array([CORE, SECONDARY, CORE]), np.tile(CORE, (2, 1)))
    found = tiers.of(np.array([0, 0, 1, 1, 1]), np.array([2, 0, 0, -1, 2]))
    assert found.tolist() == [CORE.tolist(), MARGINAL.tolist(), SECONDARY.tolist(), MARGINAL.tolist(), CORE.tolist()]


def select(calibration: float) -> list[int]:
    """Six candidates with falling scores: four core, then a secondary, then a marginal one."""
    table = make_table(["a1", "a2", "a3", "b1", "b2", "c1"])
    knowledge = Knowledge(
        table, CoUse(NOTHING, NOTHING, NOTHING, (NO_FACTORS, NO_FACTORS)), NOTHING, NO_FACTORS, np.full(6, -1, dtype=np.int32)
    )
    tiers, target = np.array([CORE] * 4 + [SECONDARY, MARGINAL]), np.array([[0.5, 0.25, 0.25]])
    candidates = Candidates(np.zeros(6, dtype=int), np.arange(6), np.full(6, -1), np.zeros(6), tiers, target)
    ids = np.array([f"i{number}" for number in range(6)])
    return select_items(ids, candidates, np.array([0.9, 0.8, 0.7, 0.6, 0.1, 0.05]), knowledge, Selection(4, True, calibration=calibration))[
        0
    ].tolist()


def test_a_calibrated_list_has_the_tiers_of_its_user() -> None:
    """Two core, one secondary and one marginal item are the target of half, a quarter and a quarter."""
    assert select(0.0) == [0, 1, 2, 3]
    assert sorted(select(0.9)) == [0, 1, 4, 5]
    # The fourth place: (1 - w) * (0.667 - 0.111) of the score against w * (1.96 - 0.95) of the divergence.
    assert select(0.34) == [0, 1, 2, 3]
    assert select(0.37) == [0, 1, 2, 4]


def test_tiers_of_users_are_gathered_with_their_targets(spark: SparkSession) -> None:
    shares = [("u1", "a", 0.75), ("u1", "b", 0.2), ("u1", "gone", 0.05)]
    pairs = spark.createDataFrame(shares, "user_id string, interest_id string, share double")
    tiers = spark.createDataFrame(
        [("u1", "a", 0.8, 0.2, 0.0), ("u1", "b", 0.0, 0.5, 0.5), ("u1", "gone", 0.0, 0.0, 1.0)],
        "user_id string, interest_id string, p_core double, p_secondary double, p_marginal double",
    )
    interests = spark.createDataFrame([("a", 4), ("b", 1)], "interest_id string, interest int")
    (row,) = gather_tiers(pairs, tiers, interests).collect()
    assert [tuple(of_one) for of_one in row["tiers"]] == [(1, 0.0, 0.5, 0.5), (4, 0.8, 0.2, 0.0)]
    assert row["target"] == pytest.approx([0.75 * 0.8, 0.75 * 0.2 + 0.2 * 0.5, 0.2 * 0.5 + 0.05])


def test_lists_follow_the_tiers_of_the_tables_and_are_measured_by_them(spark: SparkSession) -> None:
    """u1 did everything in a, and b is half of the target: two of four places go to b, to which the score gave none."""
    had = [("u1", f"a{n}", n + 1) for n in range(4)] + [("u1", f"b{n}", n + 60) for n in range(3)] + [("u2", "a1", 3)]
    days = spark.createDataFrame(
        [(user, item[0], item, CUTOFF - timedelta(days=age), 1.0, 1) for user, item, age in had],
        "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions bigint",
    )
    pairs = spark.createDataFrame([("u1", "a", 0.5), ("u1", "b", 0.5)], "user_id string, interest_id string, share double")
    tiers = spark.createDataFrame(
        [("u1", "a", 1.0, 0.0, 0.0), ("u1", "b", 0.0, 0.0, 1.0)],
        "user_id string, interest_id string, p_core double, p_secondary double, p_marginal double",
    )
    vectors = spark.createDataFrame([], "item_id string, text_hash string, embedding array<float>")
    config = Recommend(k=4, calibration=0.9)
    ready = prepare_ranking(sum_use(days, CUTOFF, keep), vectors, config, tiers=TierFrames(pairs, tiers))
    assert ready.knowledge is not None

    def listed(of: Recommend) -> list[str]:
        rows = rank_items(ready, None, of, repeats=True).where("user_id = 'u1'").orderBy("rank").collect()
        return [row["item_id"] for row in rows]

    assert listed(Recommend(k=4)) == ["a1", "a0", "a2", "a3"]
    assert sorted(one[0] for one in listed(config)) == ["a", "a", "b", "b"]
    contenders = [
        Contender("all", "ours", None, select_by(Recommend(k=4), True)),
        Contender("all", "calibrated", None, select_by(config, True)),
    ]
    rows = list_items(ready.histories, ready.knowledge, contenders, 4).where("user_id = 'u1' AND rank = 4").toPandas().set_index("model")
    assert rows.loc["ours", "divergence"] == pytest.approx(scipy.stats.entropy([0.5, 0.5], [1 - SMOOTHING / 2, SMOOTHING / 2]))
    assert rows.loc["calibrated", "divergence"] == pytest.approx(0, abs=1e-9)
    assert rows.loc["own_frequency", "divergence"] > 0.1
