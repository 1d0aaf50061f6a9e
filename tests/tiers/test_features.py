"""Features: the same as pandas finds, and nothing from the cut on in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.config import Tiers
from interest_tiers.errors import ConfigError
from interest_tiers.tiers.attributes import Attribute, attributes_of, frequent_attributes, require_attributes
from interest_tiers.tiers.cutoffs import days_before_cutoffs
from interest_tiers.tiers.features import (
    FEATURES,
    HALF_LIVES,
    OWN_FEATURES,
    WINDOWS,
    own_features,
    pair_features,
    similar_interests,
    window_days,
)
from interest_tiers.tiers.texts import COMPONENTS, interest_points

CUT, HORIZON, HALF_LIFE = date(2024, 6, 1), 26, 40.0
CONFIG = Tiers(horizon_days=HORIZON)
SCHEMA = "user_id string, interest_id string, event_date date, weight double, n_interactions bigint, value double"

#: Of the seven interests but one.
EMBEDDINGS = [(f"i{n}", [float(x) for x in np.random.default_rng(n).normal(size=20)]) for n in range(6)]


def random_days(seed: int, first: int = -120, last: int = 30) -> pd.DataFrame:
    """Days of 12 users in seven interests, a tenth of them returns; ages are days before the cut, 0 and below from it on."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(12):
        for interest in random.permutation(7)[: random.integers(2, 7)]:
            for day in np.unique(random.integers(first, last, size=random.integers(1, 25))):
                weight = 1.0 if random.random() < 0.9 else -0.5
                rows.append((f"u{user:02}", f"i{interest}", CUT + timedelta(days=int(day)), weight, int(random.integers(1, 4)), 2.5))
    return pd.DataFrame(rows, columns=["user_id", "interest_id", "event_date", "weight", "n_interactions", "value"])


@pytest.fixture(scope="module")
def days() -> pd.DataFrame:
    return random_days(3)


def frame(spark: SparkSession, days: pd.DataFrame) -> DataFrame:
    return spark.createDataFrame(list(days.itertuples(index=False, name=None)), SCHEMA).withColumn("level", F.lit(1))


def features_of(spark: SparkSession, days: pd.DataFrame, cutoffs: Sequence[date] = (CUT,)) -> pd.DataFrame:
    every = days_before_cutoffs(frame(spark, days), cutoffs)
    # As jobs do, which write them aside: plans of a hundred columns take seconds to put together.
    own = own_features(every, CONFIG, HALF_LIFE).localCheckpoint()
    embeddings = spark.createDataFrame(EMBEDDINGS, "interest_id string, embedding array<float>")
    dated = embeddings.crossJoin(spark.createDataFrame([(cutoff,) for cutoff in cutoffs], "cutoff date"))
    points = interest_points(dated).localCheckpoint()
    found = pair_features(own, similar_interests(own).localCheckpoint(), points, CONFIG, has_levels=False).toPandas()
    keys = ["cutoff", "user_id", "interest_id"] if len(cutoffs) > 1 else ["user_id", "interest_id"]
    features = pd.DataFrame(found["features"].to_list(), columns=list(FEATURES), dtype=float)
    return (
        pd.concat([found[["cutoff", "user_id", "interest_id", "rule_tier", "rule_recent_tier"]], features], axis=1)
        .sort_values(keys)
        .set_index(keys)
    )


@pytest.fixture(scope="module")
def found(spark: SparkSession, days: pd.DataFrame) -> pd.DataFrame:
    return features_of(spark, days)


@pytest.fixture(scope="module")
def before(days: pd.DataFrame) -> pd.DataFrame:
    known = days[days["event_date"] < CUT].copy()
    return known.assign(age=[(CUT - day).days for day in known["event_date"]])


def of_pairs(before: pd.DataFrame, aggregate: object) -> pd.Series:
    return before.sort_values("event_date").groupby(["user_id", "interest_id"]).apply(aggregate, include_groups=False)  # type: ignore[call-overload]


def same(found: pd.Series, expected: pd.Series, within: float = 1e-7) -> None:
    assert found.index.equals(expected.index)
    # A network reads floats of 24 bits.
    np.testing.assert_allclose(found.to_numpy(dtype=float), expected.to_numpy(dtype=float), atol=within, rtol=1e-6)


@pytest.mark.parametrize("name", HALF_LIVES)
def test_evidence_shares_and_rates(found: pd.DataFrame, before: pd.DataFrame, name: str) -> None:
    half_life = HALF_LIVES[name] * HORIZON
    evidence = of_pairs(before, lambda rows: max(0.0, (rows["weight"] * 2.0 ** (-rows["age"] / half_life)).sum()))
    visits = before.drop_duplicates(["user_id", "age"]).groupby("user_id")["age"].apply(lambda ages: (2.0 ** (-ages / half_life)).sum())
    of_user = evidence.groupby("user_id").sum()
    users = found.index.get_level_values("user_id")
    same(found[f"evidence_{name}"], evidence)
    same(found[f"user_evidence_{name}"], pd.Series(of_user[users].to_numpy(), found.index))
    same(found[f"user_visit_evidence_{name}"], pd.Series(visits[users].to_numpy(), found.index))
    # Of what was found: evidence is rounded to billionths, which is much of a share of nearly nothing.
    total = found[f"evidence_{name}"].groupby("user_id").transform("sum")
    same(found[f"share_{name}"], (found[f"evidence_{name}"] / total.where(total > 0, 1.0)))
    same(found[f"rate_{name}"], found[f"evidence_{name}"] / found[f"user_visit_evidence_{name}"])


def test_windows_end_with_their_last_day(found: pd.DataFrame, before: pd.DataFrame) -> None:
    assert [window_days(part, HORIZON) for part in WINDOWS.values()] == [4, 8, 16, 26, 52]
    for name, days in zip(WINDOWS, (4, 8, 16, 26, 52), strict=True):
        same(found[f"recent_{name}"], of_pairs(before, lambda rows, days=days: max(0.0, rows["weight"][rows["age"] <= days].sum())))
    between = of_pairs(before, lambda rows: max(0.0, rows["weight"][(rows["age"] > 26) & (rows["age"] <= 52)].sum()))
    same(found["previous_one"], between)
    visits = before.drop_duplicates(["user_id", "age"])
    recent = visits[visits["age"] <= 8].groupby("user_id").size()
    same(found["user_visits_third"], pd.Series(recent.reindex(found.index.get_level_values(0)).fillna(0).to_numpy(), found.index))


def test_gaps_and_how_overdue(found: pd.DataFrame, before: pd.DataFrame) -> None:
    def gaps(rows: pd.DataFrame) -> np.ndarray:
        return -np.diff(rows["age"].to_numpy())

    def deviation(rows: pd.DataFrame) -> float:
        return float(np.std(gaps(rows))) if len(rows) > 2 else np.nan

    mean = of_pairs(before, lambda rows: gaps(rows).mean() if len(rows) > 1 else np.nan)
    recency = of_pairs(before, lambda rows: rows["age"].min())
    same(found["recency"], recency)
    same(found["tenure"], of_pairs(before, lambda rows: rows["age"].max()))
    same(found["gap_mean"], mean)
    same(found["gap_longest"], of_pairs(before, lambda rows: gaps(rows).max() if len(rows) > 1 else np.nan))
    same(found["gap_deviation"], of_pairs(before, deviation))
    same(found["overdue"], recency / mean)
    same(found["overdue_deviations"], (recency - mean) / (of_pairs(before, deviation) + 1))
    assert found["gap_mean"].isna().sum() > 0
    assert found["n_days"].min() == 1


def test_ranks_and_the_mass_above(found: pd.DataFrame) -> None:
    for name in ("third", "one"):
        ordered = found.reset_index().sort_values(["user_id", f"evidence_{name}", "interest_id"], ascending=[True, False, True])
        rank = ordered.groupby("user_id").cumcount() + 1
        above = ordered.groupby("user_id")[f"share_{name}"].cumsum() - ordered[f"share_{name}"]
        np.testing.assert_allclose(ordered[f"rank_{name}"], rank)
        np.testing.assert_allclose(ordered[f"mass_{name}"], above, atol=1e-8)
        np.testing.assert_allclose(ordered[f"relative_rank_{name}"], rank / ordered["user_interests"])


def test_what_interests_are_to_all_users(found: pd.DataFrame, before: pd.DataFrame) -> None:
    n_users = before["user_id"].nunique()
    interests = found.index.get_level_values("interest_id")
    holders = found.groupby(level="interest_id").size() / n_users
    same(found["interest_users"], pd.Series(holders[interests].to_numpy(), found.index))
    shares = found.groupby(level="interest_id")["share_one"].mean()
    same(found["interest_share"], pd.Series(shares[interests].to_numpy(), found.index), within=1e-6)
    gap = found.groupby(level="interest_id")["gap_mean"].mean()
    same(found["interest_gap"], pd.Series(gap[interests].to_numpy(), found.index), within=1e-6)


def test_outcomes_of_an_interest_are_those_of_the_horizon_before_the_cut(spark: SparkSession) -> None:
    """Two users had bread before the earlier cut, core for one and marginal for the other; milk is too young for an outcome."""
    start = CUT - timedelta(days=HORIZON)
    rows = [
        ("a", "bread", start - timedelta(days=3), 1.0, 1, 0.0), ("a", "bread", start, 1.0, 1, 0.0),
        ("b", "bread", start - timedelta(days=3), 1.0, 1, 0.0), ("b", "cheese", start - timedelta(days=1), 1.0, 1, 0.0),
        ("b", "cheese", CUT - timedelta(days=1), 1.0, 1, 0.0), ("a", "milk", CUT - timedelta(days=2), 1.0, 1, 0.0),
    ]  # fmt: skip
    found = features_of(spark, pd.DataFrame(rows, columns=["user_id", "interest_id", "event_date", "weight", "n_interactions", "value"]))
    # Of three pairs two were core: a prior of 2/3, which stands for 20 pairs.
    assert found.loc[("a", "bread"), "interest_core"] == pytest.approx((1 + 20 * 2 / 3) / 22)
    assert found.loc[("b", "cheese"), "interest_core"] == pytest.approx((1 + 20 * 2 / 3) / 21)
    assert found.loc[("b", "bread"), "interest_secondary"] == 0.0
    assert np.isnan(found.loc[("a", "milk"), "interest_core"])


def test_similar_interests_are_those_of_numpy(spark: SparkSession, days: pd.DataFrame, found: pd.DataFrame) -> None:
    own = own_features(days_before_cutoffs(frame(spark, days), [CUT]), CONFIG, HALF_LIFE).localCheckpoint()
    alike = similar_interests(own).toPandas()
    roots = np.sqrt(found["share_one"].unstack(fill_value=0.0))
    cosine = (roots.T @ roots) / np.outer(np.linalg.norm(roots, axis=0), np.linalg.norm(roots, axis=0))
    for row in alike.itertuples():
        assert row.similarity == pytest.approx(cosine.loc[row.interest_id, row.other_id], abs=1e-7)
    assert len(alike) == 7 * 6
    np.fill_diagonal(cosine.to_numpy(), 0.0)
    evidence = roots @ (cosine / cosine.to_numpy().sum(axis=0))
    for user, interest in found.index:
        assert found.loc[(user, interest), "similar_interests"] == pytest.approx(evidence.loc[user, interest], abs=1e-7)


def test_cosines_of_texts_are_those_of_numpy(found: pd.DataFrame) -> None:
    """Six vectors less their mean have five directions: nothing of the cosines is lost."""
    vectors = pd.DataFrame(dict(EMBEDDINGS)).T
    centred = vectors - vectors.mean()
    nothing = pd.Series(0.0, centred.index)
    for user, of_user in found["share_one"].groupby(level="user_id"):
        shares = of_user.droplevel("user_id").reindex(centred.index).fillna(0.0)
        for interest in of_user.index.get_level_values("interest_id"):
            row = found.loc[(user, interest)]
            if interest not in centred.index:
                assert np.isnan(row["text_similarity"])
                continue
            others = shares.where(shares.index != interest, nothing)
            for feature, weights in (("text_similarity", shares), ("text_similarity_of_others", others)):
                mean = weights.to_numpy() @ centred.to_numpy()
                expected = mean @ centred.loc[interest] / np.linalg.norm(mean) / np.linalg.norm(centred.loc[interest])
                assert row[feature] == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_one_interest_or_none_has_no_direction(spark: SparkSession) -> None:
    schema = "cutoff date, interest_id string, embedding array<float>"
    assert interest_points(spark.createDataFrame([], schema)).count() == 0
    (row,) = interest_points(spark.createDataFrame([(CUT, "i1", [1.0, 2.0]), (CUT, "i2", None)], schema)).collect()
    assert row["interest_id"] == "i1"
    assert {row[f"text_{place}"] for place in range(COMPONENTS)} == {0.0}


@pytest.fixture(scope="module")
def users(spark: SparkSession) -> DataFrame:
    """Of 100 users 40 are young, 30 old, and of the rest nothing is known; 19 live at a place that is thereby too rare.

    All but one have bought lately, which a cutoff before would not have known.
    """
    ages = [{"age": "young"}] * 40 + [{"age": "old"}] * 30 + [{}] * 30
    rows = [(f"u{n:02}", age | ({"place": "x"} if n < 19 else {}) | ({"last_visit": "June"} if n else {})) for n, age in enumerate(ages)]
    return spark.createDataFrame(rows, "user_id string, attributes map<string,string>")


def test_an_attribute_that_is_not_named_is_no_feature(users: DataFrame) -> None:
    assert frequent_attributes(users, []) == ()
    assert frequent_attributes(users, ["last_visit"]) == (Attribute("last_visit", "June"),)
    assert Attribute("last_visit", "June") not in frequent_attributes(users, ["age", "place"])


def test_an_attribute_that_no_user_has_is_refused_with_those_that_there_are(users: DataFrame) -> None:
    require_attributes(users, ["age", "place"])
    with pytest.raises(ConfigError) as refused:
        require_attributes(users, ["age", "income"])
    assert str(refused.value) == (
        "tiers.attributes names income, which no user has. Name columns of the users' source that have values: age, last_visit, place"
    )


def test_frequent_attributes_become_features(spark: SparkSession, users: DataFrame) -> None:
    frequent = frequent_attributes(users, ["age", "place"])
    assert frequent == (Attribute("age", "young"), Attribute("age", "old"))
    found = {row["user_id"]: tuple(row[1:]) for row in attributes_of(users, frequent).collect()}
    assert (found["u00"], found["u50"], found["u99"]) == ((1.0, 0.0), (0.0, 1.0), (None, None))
    days = days_before_cutoffs(frame(spark, random_days(3)), [CUT])
    own = own_features(days, CONFIG, HALF_LIFE, attributes_of(users, frequent)).toPandas()
    assert {tuple(values) for values in own["attributes"]} == {(1.0, 0.0)}


def test_nothing_from_the_cut_on_is_in_a_feature(spark: SparkSession, days: pd.DataFrame, found: pd.DataFrame) -> None:
    later = random_days(99, first=0, last=60)
    changed = pd.concat([days[days["event_date"] < CUT], later])
    pd.testing.assert_frame_equal(features_of(spark, changed), found)


def test_cutoffs_that_are_computed_together_do_not_meet(spark: SparkSession, days: pd.DataFrame, found: pd.DataFrame) -> None:
    earlier = CUT - timedelta(days=17)
    together = features_of(spark, days, [CUT, earlier])
    for cutoff in (CUT, earlier):
        alone = found if cutoff == CUT else features_of(spark, days, [cutoff])
        pd.testing.assert_frame_equal(together.loc[cutoff].drop(columns="cutoff", errors="ignore"), alone.drop(columns="cutoff"))


def test_the_order_and_the_parts_of_the_rows_change_no_digit(spark: SparkSession, days: pd.DataFrame, found: pd.DataFrame) -> None:
    assertDataFrameEqual(
        spark.createDataFrame(features_of(spark, days.sample(frac=1.0, random_state=5)).reset_index()),
        spark.createDataFrame(found.reset_index()),
        rtol=0,
        atol=0,
    )
    shuffled = days_before_cutoffs(frame(spark, days).repartition(7, F.col("value")), [CUT])
    again = own_features(shuffled, CONFIG, HALF_LIFE).toPandas().sort_values(["user_id", "interest_id"])
    np.testing.assert_array_equal([list(values) for values in again["own"]], found[list(OWN_FEATURES)].to_numpy(dtype=np.float32))
