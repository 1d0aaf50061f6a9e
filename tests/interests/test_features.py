"""user_interests: evidence, shares, ranks and features, each worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from math import log2

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual, assertSchemaEqual

from interest_tiers.config import BehaviourWeight, Interests
from interest_tiers.interests.composition import InterestMethod, sum_pairs
from interest_tiers.interests.evidence import item_days
from interest_tiers.interests.features import user_interests
from interest_tiers.storage.schemas import USER_INTERESTS

AS_OF = date(2017, 10, 9)
HALF_LIFE, HORIZON = 10.0, 7
ITEM_DAYS = (
    "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions long, value double, level long"
)

Touch = tuple[str, str, str, int, float, int, float]


def days_of_items(spark: SparkSession, touched: Sequence[Touch]) -> DataFrame:
    """touched: user, interest, item, age in days, weight, interactions, value."""
    rows = [(user, interest, item, AS_OF - timedelta(days=age), *rest, 1) for user, interest, item, age, *rest in touched]
    return spark.createDataFrame(rows, ITEM_DAYS)


def features(spark: SparkSession, touched: Sequence[Touch]) -> dict[tuple[str, str], dict]:
    got = user_interests(days_of_items(spark, touched), AS_OF, HALF_LIFE, HORIZON)
    return {(row["user_id"], row["interest_id"]): row.asDict() for row in got.collect()}


def test_where_all_is_on_one_day_every_item_counts_and_two_days_change_that(spark: SparkSession) -> None:
    rock = [("u1", "rock", f"r{n}", 1, 0.5, 1, 0.0) for n in range(10)]
    touched = [*rock, ("u1", "jazz", "j1", 1, 0.5, 1, 0.0), ("u1", "rock", "disliked", 1, -1.0, 1, 0.0)]
    method = InterestMethod(Interests(half_life_days=HALF_LIFE), {}, HORIZON, None)

    def evidence(rows: Sequence[Touch]) -> dict[str, float]:
        pairs = sum_pairs(days_of_items(spark, rows), AS_OF, method, lambda _, frame: frame)
        return {row["interest_id"]: row["evidence"] / 2**-0.1 for row in pairs.where("user_id = 'u1'").collect()}

    assert evidence(touched) == {"rock": pytest.approx(4.0, abs=1e-8), "jazz": pytest.approx(0.5, abs=1e-8)}
    # Another user's day is enough to tell days apart.
    dated = evidence([*touched, ("u2", "jazz", "j1", 2, 0.5, 1, 0.0)])
    assert dated == {"rock": 0.0, "jazz": pytest.approx(0.5, abs=1e-8)}


def test_every_feature_by_hand(spark: SparkSession) -> None:
    touched = [
        ("u1", "A", "a1", 20, 1.0, 2, 5.0),
        ("u1", "A", "a2", 10, 0.5, 1, 1.25),
        ("u1", "A", "a1", 10, 1.0, 1, 1.25),  # the same day as a2: the larger weight counts
        ("u1", "A", "a1", 7, 0.5, 4, 0.0),  # the first day of the recent week
        ("u1", "B", "b1", 1, 0.1, 1, -2.0),
    ]
    got = features(spark, touched)
    evidence = 0.25 + 0.5 + 0.5 * 2**-0.7
    faint = 0.1 * 2**-0.1
    assert got["u1", "A"] == {
        "user_id": "u1", "interest_id": "A", "evidence": pytest.approx(evidence, abs=2e-9), "borrowed": 0.0,
        "share": pytest.approx(evidence / (evidence + faint), abs=1e-8), "rank": 1, "n_days": 3, "n_items": 2, "recency_days": 7,
        "tenure_days": 20, "n_interactions": 8, "n_days_recent": 1, "n_days_previous": 1, "trend": 0.0,
        "mean_gap_days": 6.5, "total_value": 7.5, "level": 1,
    }  # fmt: skip
    assert got["u1", "B"] == {
        "user_id": "u1", "interest_id": "B", "evidence": pytest.approx(faint, abs=1e-9), "borrowed": 0.0,
        "share": pytest.approx(faint / (evidence + faint), abs=1e-8), "rank": 2, "n_days": 1, "n_items": 1, "recency_days": 1,
        "tenure_days": 1, "n_interactions": 1, "n_days_recent": 1, "n_days_previous": 0, "trend": 1.0,
        "mean_gap_days": None, "total_value": -2.0, "level": 1,
    }  # fmt: skip


def test_the_columns_are_those_of_the_table(spark: SparkSession) -> None:
    got = user_interests(days_of_items(spark, [("u1", "A", "a1", 1, 1.0, 1, 0.0)]), AS_OF, HALF_LIFE, HORIZON)
    contract = USER_INTERESTS.schema
    assert got.columns == [name for name in contract.fieldNames() if name != "as_of"]
    assertSchemaEqual(got.select(*sorted(got.columns)).schema, spark.createDataFrame([], contract).select(*sorted(got.columns)).schema)


@pytest.mark.parametrize(
    ("ages", "recent", "previous"),
    [([1, 7], 2, 0), ([8, 14], 0, 2), ([7, 8, 14, 15], 1, 2), ([15, 100], 0, 0), ([1, 2, 3, 8], 3, 1)],
)
def test_recent_and_previous_days_and_the_trend(spark: SparkSession, ages: list[int], recent: int, previous: int) -> None:
    got = features(spark, [("u1", "A", "a1", age, 1.0, 1, 0.0) for age in ages])["u1", "A"]
    assert (got["n_days_recent"], got["n_days_previous"]) == (recent, previous)
    assert got["trend"] == pytest.approx(log2((recent + 1) / (previous + 1)))


def test_the_half_life_is_exact(spark: SparkSession) -> None:
    touched = [("u1", f"age {age}", "a1", age, 1.0, 1, 0.0) for age in (10, 20, 30)]
    got = features(spark, touched)
    assert [got["u1", f"age {age}"]["evidence"] for age in (10, 20, 30)] == [0.5, 0.25, 0.125]


def test_interests_that_tie_are_ranked_by_their_ids(spark: SparkSession) -> None:
    touched = [("u1", interest, "a1", 3, 1.0, 1, 0.0) for interest in ("C", "A", "b", "B")] + [("u1", "Z", "z1", 2, 1.0, 1, 0.0)]
    got = features(spark, touched)
    assert [interest for _, interest in sorted(got, key=lambda pair: got[pair]["rank"])] == ["Z", "A", "B", "C", "b"]
    assert sorted(row["rank"] for row in got.values()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("half_lives_ago", [0, 9, 31, 890])
def test_shares_and_ranks_follow_a_users_own_days_however_long_ago_they_are(spark: SparkSession, half_lives_ago: int) -> None:
    ago = int(half_lives_ago * HALF_LIFE)
    touched = [
        ("u1", "A", "a", ago + 31, 1.0, 1, 0.0),  # an eighth of a day of 10 days ago, or less by the day
        ("u1", "B", "b", ago + 11, 1.0, 1, 0.0),
        ("u1", "Z", "z", ago + 1, 1.0, 1, 0.0),
        ("u1", "Z", "z", ago + 11, 1.0, 1, 0.0),
        ("today", "A", "a", 1, 1.0, 1, 0.0),
        ("today", "B", "b", ago + 41, 1.0, 1, 0.0),
    ]
    got = features(spark, touched)
    total = 1 / 8 + 1 / 2 + 3 / 2
    assert [got["u1", interest]["rank"] for interest in "ZBA"] == [1, 2, 3]
    assert [got["u1", interest]["share"] for interest in "ZBA"] == [pytest.approx(part / total, rel=1e-5) for part in (3 / 2, 1 / 2, 1 / 8)]
    assert got["u1", "Z"]["evidence"] == pytest.approx(1.5 * 2 ** (-(ago + 1) / HALF_LIFE), rel=1e-5)
    assert (got["today", "A"]["rank"], got["today", "B"]["rank"]) == (1, 2)
    assert 0 < got["today", "B"]["share"] < 0.07


def test_days_beyond_the_oldest_that_counts_count_alike(spark: SparkSession) -> None:
    touched = [("u1", "A", "x", 9_500, 1.0, 1, 0.0), *[("u1", "B", "x", age, 1.0, 1, 0.0) for age in (20_000, 60_000)]]
    got = features(spark, touched)
    assert [(got["u1", i]["share"], got["u1", i]["rank"]) for i in "AB"] == [(pytest.approx(1 / 3), 2), (pytest.approx(2 / 3), 1)]


def test_what_is_given_back_is_taken_from_the_evidence_and_the_day_still_counts(spark: SparkSession) -> None:
    touched = [
        ("u1", "kept", "a", 10, 1.0, 1, 8.0),
        ("u1", "returned later", "b", 20, 1.0, 1, 8.0),  # worth 1/4 now
        ("u1", "returned later", "b", 10, -1.0, 1, -8.0),  # takes 1/2 away: no evidence is left
        ("u1", "partly", "c", 10, 2.0, 1, 8.0),
        ("u1", "partly", "d", 20, -2.0, 1, -8.0),  # 1 - 1/2
        ("u2", "all returned", "b", 10, 0.0, 2, 0.0),
        ("u2", "disliked", "b", 20, -1.0, 1, 0.0),
    ]
    got = features(spark, touched)
    assert {key: (row["evidence"], row["share"], row["rank"], row["n_days"], row["recency_days"]) for key, row in got.items()} == {
        ("u1", "kept"): (0.5, 0.5, 1, 1, 10),
        ("u1", "partly"): (0.5, 0.5, 2, 2, 10),
        ("u1", "returned later"): (0.0, 0.0, 3, 2, 10),
        ("u2", "all returned"): (0.0, 0.0, 1, 1, 10),
        ("u2", "disliked"): (0.0, 0.0, 2, 1, 20),
    }


TOUCHED = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", "u3"]),
        st.sampled_from("ABCDE"),
        st.sampled_from(["x", "y"]),
        st.integers(1, 400),
        st.sampled_from([0.1, 0.3, 1.0, 1000.0]),
        st.integers(1, 9),
        st.floats(-100, 100),
    ),
    min_size=1,
    max_size=120,
    unique_by=lambda touch: touch[:4],
)


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(TOUCHED)
def test_shares_sum_to_one_ranks_have_no_gaps_and_no_partitioning_matters(spark: SparkSession, touched: list[Touch]) -> None:
    days = days_of_items(spark, touched)
    rows = user_interests(days.coalesce(1), AS_OF, HALF_LIFE, HORIZON).collect()
    other = user_interests(days_of_items(spark, touched[::-1]).repartition(4), AS_OF, HALF_LIFE, HORIZON).collect()
    assert sorted(rows) == sorted(other)  # to the last digit
    for user in {row["user_id"] for row in rows}:
        own = sorted((row for row in rows if row["user_id"] == user), key=lambda row: row["rank"])
        assert [row["rank"] for row in own] == list(range(1, len(own) + 1))
        assert sum(row["share"] for row in own) == pytest.approx(1, abs=1e-12)
        assert [row["evidence"] for row in own] == sorted((row["evidence"] for row in own), reverse=True)
        for row in own:
            ages = {age for u, interest, _, age, *_ in touched if (u, interest) == (user, row["interest_id"])}
            assert (row["recency_days"], row["tenure_days"], row["n_days"]) == (min(ages), max(ages), len(ages))


def test_nothing_from_as_of_on_changes_what_was_before(spark: SparkSession) -> None:
    schema = "user_id string, item_id string, behaviour string, event_date date, value double"
    before = [("u1", "milk", "view", AS_OF - timedelta(days=1), 1.0), ("u1", "cheese", "view", AS_OF - timedelta(days=9), 1.0)]
    later = [("u1", "milk", "buy", AS_OF, 9.0), ("u2", "milk", "buy", AS_OF + timedelta(days=1), 9.0)]
    interests = spark.createDataFrame([("milk", "DAIRY"), ("cheese", "CHEESE")], "item_id string, interest_id string")
    weights = {"view": BehaviourWeight(weight=0.5), "buy": BehaviourWeight(weight=1.0)}

    def as_seen(events: list[tuple]) -> DataFrame:
        seen = spark.createDataFrame(events, schema).where(f"event_date < '{AS_OF}'")
        return user_interests(item_days(seen, interests, weights), AS_OF, HALF_LIFE, HORIZON)

    assertDataFrameEqual(as_seen(before + later), as_seen(before))
    assert as_seen(before).count() == 2
