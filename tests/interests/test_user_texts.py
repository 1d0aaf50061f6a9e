"""What users write as evidence, by hand."""

from __future__ import annotations

import hashlib
from datetime import date

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.config import BehaviourWeight, UserTexts
from interest_tiers.errors import ConfigError
from interest_tiers.interests import user_texts
from interest_tiers.interests.evidence import item_days
from interest_tiers.interests.features import user_interests
from interest_tiers.interests.user_texts import build_text_days, find_nearest_interests, select_written_texts

DAY, LATER = date(2024, 3, 1), date(2024, 3, 2)
INTERACTIONS = "user_id string, item_id string, event_date date, text string"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def vectors(spark: SparkSession, name: str, **of: list[float]) -> DataFrame:
    return spark.createDataFrame(list(of.items()), f"{name} string, embedding array<float>")


def test_each_text_is_there_once_by_the_hash_that_items_have(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("u", "i1", DAY, "nice"), ("v", "i1", LATER, "nice"), ("v", "i1", LATER, None)], INTERACTIONS)
    assertDataFrameEqual(select_written_texts(rows), spark.createDataFrame([(sha("nice"), "nice")], "text_hash string, text string"))


def test_a_text_speaks_for_the_nearest_interest_above_the_bound(spark: SparkSession) -> None:
    texts = vectors(spark, "text_hash", milk=[1.0, 0.0], between=[0.8, 0.6], far=[0.0, -1.0], tie=[0.6, 0.8])
    interests = vectors(spark, "interest_id", b=[0.0, 1.0], a=[1.0, 0.0], c=[0.0, 1.0])
    interests = interests.union(spark.createDataFrame([("unnamed", None)], interests.schema))
    got = {row["text_hash"]: row["interest_id"] for row in find_nearest_interests(texts, interests, 0.7).collect()}
    assert got == {"milk": "a", "between": "a", "tie": "b"}
    assert find_nearest_interests(texts, interests, 0.9).count() == 1
    assert find_nearest_interests(texts, interests.where("embedding IS NULL"), -1).isEmpty()


def test_more_interests_than_workers_can_hold_are_refused(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_texts, "MAX_INTERESTS", 1)
    two = vectors(spark, "interest_id", a=[1.0], b=[0.5])
    with pytest.raises(ConfigError, match=r"there are more than 1$"):
        find_nearest_interests(vectors(spark, "text_hash", t=[1.0]), two, 0.4)


def test_writing_is_a_day_of_evidence_for_another_interest_than_the_items(spark: SparkSession) -> None:
    rows = [
        ("u", "bread", DAY, "milk"),
        ("u", "bread", DAY, "more milk"),
        ("u", "milk", LATER, "milk"),  # the item speaks for it already
        ("v", "bread", DAY, "nothing near"),
        ("v", "of no interest", LATER, "milk"),
        ("v", "bread", DAY, None),
    ]
    interactions = spark.createDataFrame(rows, INTERACTIONS)
    nearest = spark.createDataFrame([(sha("milk"), "dairy"), (sha("more milk"), "dairy")], "text_hash string, interest_id string")
    item_interests = spark.createDataFrame([("milk", "dairy"), ("bread", "bakery")], "item_id string, interest_id string")
    got = build_text_days(interactions, nearest, item_interests, UserTexts(weight=0.5))
    assert sorted(map(tuple, got.collect())) == [("u", "dairy", None, DAY, 0.5, 2, 0.0, 1), ("v", "dairy", None, LATER, 0.5, 1, 0.0, 1)]

    seen = interactions.select("user_id", "item_id", F.lit("view").alias("behaviour"), "event_date", F.lit(2.0).alias("value"))
    days = item_days(seen, item_interests, {"view": BehaviourWeight(weight=0.2)}).unionByName(got)
    pairs = user_interests(days, date(2024, 3, 3), half_life_days=1.0, horizon_days=30).where("user_id = 'u'")
    dairy, bakery = (pairs.where(F.col("interest_id") == name).collect()[0] for name in ("dairy", "bakery"))
    # Wrote two half-lives ago, saw one ago.
    assert dairy["evidence"] == pytest.approx(0.5 / 4 + 0.2 / 2)
    assert (dairy["n_days"], dairy["n_items"], dairy["n_interactions"], dairy["total_value"]) == (2, 1, 3, 2.0)
    assert (bakery["evidence"], bakery["n_interactions"]) == (pytest.approx(0.2 / 4), 2)
