"""Where there are levels, each is what it would be alone: tiers, labels, features, calibration; and parents follow."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.config import TIERS, LabelRule, Tiers
from interest_tiers.tiers.baselines import predictions
from interest_tiers.tiers.calibration import calibrate
from interest_tiers.tiers.cutoffs import PAIR_AT, days_before_cutoffs
from interest_tiers.tiers.examples import weigh
from interest_tiers.tiers.features import FEATURES, own_features, pair_features, similar_interests
from interest_tiers.tiers.following import parents_raised, with_followed
from interest_tiers.tiers.labels import labelled
from interest_tiers.tiers.texts import COMPONENTS

CUT, CONFIG = date(2024, 6, 1), Tiers(horizon_days=20)
DAYS = "user_id string, interest_id string, event_date date, weight double, n_interactions long, value double, level long"
TIER_ROWS = "user_id string, interest_id string, tier string, p_core double, p_secondary double, p_marginal double, method string"


@pytest.fixture(scope="module")
def days(spark: SparkSession) -> DataFrame:
    """Nine users in two departments of three categories each, every day of a category being one of its department."""
    random, rows = np.random.default_rng(5), {}
    for user in range(9):
        for category in random.permutation(6)[:4]:
            department = f"d{category // 3}"
            for day in np.unique(random.integers(-70, 20, size=8)):
                for level, interest in ((1, department), (2, f"{department} > c{category}")):
                    date_ = CUT + timedelta(days=int(day))
                    rows[user, interest, date_] = (f"u{user}", interest, date_, 1.0, 1, 2.0, level)
    return spark.createDataFrame(list(rows.values()), DAYS).coalesce(1)


def of_level(frame: DataFrame, level: int) -> DataFrame:
    """The rows of one level, as a flat catalogue has them."""
    return frame.where(F.col("level") == level).withColumn("level", F.lit(1).cast("bigint"))


def stored(frame: DataFrame) -> DataFrame:
    """As a stage writes it aside: without the plan that made it."""
    return frame.sparkSession.createDataFrame(frame.collect(), frame.schema).coalesce(1)


def known_features(days: DataFrame, has_levels: bool = False) -> DataFrame:
    days = days_before_cutoffs(days, [CUT])
    own = stored(own_features(days, CONFIG, 30.0))
    features = pair_features(own, stored(similar_interests(own)), points(own.sparkSession), CONFIG, has_levels)
    return stored(features.join(own.select(*PAIR_AT, "recent_one"), PAIR_AT))


def points(spark: SparkSession) -> DataFrame:
    """What the interests of both levels mean."""
    interests = ["d0", "d1", *(f"d{category // 3} > c{category}" for category in range(6))]
    random = np.random.default_rng(3)
    rows = [(CUT, interest, *map(float, random.normal(size=COMPONENTS))) for interest in interests]
    return spark.createDataFrame(rows, ["cutoff", "interest_id", *(f"text_{place}" for place in range(COMPONENTS))])


@pytest.fixture(scope="module")
def features(days: DataFrame) -> DataFrame:
    return known_features(days)


@pytest.mark.parametrize("level", [1, 2])
def test_features_of_a_level_are_those_of_the_level_alone(days: DataFrame, features: DataFrame, level: int) -> None:
    assert {len(row["features"]) for row in features.collect()} == {len(FEATURES)}
    alone = known_features(of_level(days, level))
    assert alone.count() > 15
    assert alone.columns == features.columns
    assertDataFrameEqual(of_level(features, level), alone)


def test_the_level_is_the_last_feature_where_there_are_levels(days: DataFrame) -> None:
    rows = known_features(days, has_levels=True).collect()
    assert {(row["level"], row["features"][-1]) for row in rows} == {(1, 1.0), (2, 2.0)}


@pytest.mark.parametrize("level", [1, 2])
def test_labels_calibration_and_weights_of_a_level_are_those_of_the_level_alone(days: DataFrame, features: DataFrame, level: int) -> None:
    config = Tiers(horizon_days=20, label_rules=[LabelRule(sql="recent_one >= 6", tier="core", add=True)])
    # Two users who are silent at one level alone.
    after = days.where((F.col("event_date") >= F.lit(CUT)) & ~(F.col("user_id").isin("u1", "u2") & (F.col("level") == 2)))
    pairs = features.select("user_id", "interest_id", "level", "rule_tier", "recent_one")
    together = stored(labelled(pairs, after, config))
    alone = stored(labelled(of_level(pairs, level), of_level(after, level), config))
    assertDataFrameEqual(of_level(together, level), alone)
    assert {"u1", "u2"} <= {row["user_id"] for row in together.where("level = 1").collect()}
    calibration = calibrate(together)
    assert calibration.of_levels[level] == calibrate(alone).of_levels[1]
    said, said_alone = predictions(together, calibration), predictions(alone, calibrate(alone))
    assertDataFrameEqual(of_level(said, level), said_alone)
    examples = weigh(together.withColumn("cutoff", F.lit(CUT)))
    weights = examples.groupBy("user_id", "level").agg(F.sum("weight").alias("weight")).toPandas()["weight"]
    assert weights.tolist() == pytest.approx([1.0] * len(weights))


def raised(spark: SparkSession, said: dict[str, tuple[str, float, float, float]]) -> dict[str, tuple]:
    rows = [("u", f"category:{way}", *what, f"said of {way}") for way, what in said.items()]
    found = parents_raised(spark.createDataFrame(rows, TIER_ROWS)).collect()
    return {row["interest_id"].removeprefix("category:"): tuple(row)[2:] for row in found}


def test_a_parent_takes_what_was_said_of_its_best_child(spark: SparkSession) -> None:
    core, likelier_core, secondary, marginal = ("core", 0.5, 0.3, 0.2), ("core", 0.6, 0.3, 0.1), ("secondary", 0.3, 0.4, 0.3), (
        "marginal", 0.1, 0.2, 0.7,
    )  # fmt: skip
    said = {
        "A": marginal, "A > B": secondary, "A > B > C": core, "A > B > D": likelier_core,
        "E": core, "E > F": likelier_core, "E > F > F": marginal,
        "G": secondary, "G > H": marginal, "G > H > H": secondary,
    }  # fmt: skip
    found = raised(spark, said)
    assert found == {way: (*what, f"said of {way}") for way, what in said.items()} | {
        "A": (*likelier_core, "said of A > B > D"),
        "A > B": (*likelier_core, "said of A > B > D"),
        "G > H": (*secondary, "said of G > H > H"),
    }


def test_what_a_user_has_not_is_not_made_by_following(spark: SparkSession) -> None:
    """Evidence of a child may be borrowed where none of what holds it is."""
    assert raised(spark, {"A > B": ("core", 0.8, 0.1, 0.1)}) == {"A > B": ("core", 0.8, 0.1, 0.1, "said of A > B")}


WAYS = st.sampled_from(["A", "B", "A > A", "A > B", "B > C", "A > A > A", "A > A > B", "A > B > A", "B > C > D"])


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.tuples(st.sampled_from(["u", "v", "w"]), WAYS), st.tuples(st.sampled_from(TIERS), st.integers(0, 10)), min_size=5)
)
def test_no_parent_is_of_a_lower_tier_than_its_best_child(spark: SparkSession, said: dict[tuple[str, str], tuple[str, int]]) -> None:
    rows = [(user, f"category:{way}", tier, p / 10, (10 - p) / 20, (10 - p) / 20, "rule") for (user, way), (tier, p) in said.items()]
    given_ = spark.createDataFrame(rows, TIER_ROWS).coalesce(1)
    found = pd.DataFrame([row.asDict() for row in parents_raised(given_).collect()])
    assert set(zip(found["user_id"], found["interest_id"], strict=True)) == {row[:2] for row in rows}
    place = {(row.user_id, row.interest_id): TIERS.index(row.tier) for row in found.itertuples()}
    for user, interest, tier, *_ in rows:
        assert place[user, interest] <= TIERS.index(tier)
        way = interest.split(" > ")
        for depth in range(1, len(way)):
            assert place.get((user, " > ".join(way[:depth])), 0) <= place[user, interest]
    by_rule = {(row["user_id"], row["interest_id"]): row["tier"] for row in with_followed(given_, "tier", 3).collect()}
    assert by_rule == {(row.user_id, row.interest_id): row.tier for row in found.itertuples()}
    assert np.allclose(found[["p_core", "p_secondary", "p_marginal"]].sum(axis=1), 1.0)
    before = given_.toPandas()
    for row in found.itertuples():
        within = before[
            (before["user_id"] == row.user_id) & before["interest_id"].map(lambda i, of=row.interest_id: f"{i} > ".startswith(f"{of} > "))
        ]
        assert row.tier == min(within["tier"], key=TIERS.index)
        assert row.p_core in set(within.loc[within["tier"] == row.tier, "p_core"])
