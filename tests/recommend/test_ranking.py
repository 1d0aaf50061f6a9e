"""Ranks, and the reasons that a person reads."""

from __future__ import annotations

from datetime import date

from pyspark.sql import SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.recommend.ranking import explain, limit_equal_texts, rank_items

AS_OF = date(2018, 1, 1)


def test_the_best_k_per_user_ties_by_item(spark: SparkSession) -> None:
    candidates = [
        ("u1", "i4", 1.0), ("u1", "i2", 1.0), ("u1", "i1", 0.5), ("u1", "i5", 3.0), ("u1", "i3", 1.0),
        ("u2", "i1", 0.1),
    ]  # fmt: skip
    expected = [("u1", "i5", 3.0, 1), ("u1", "i2", 1.0, 2), ("u1", "i3", 1.0, 3), ("u2", "i1", 0.1, 1)]
    got = rank_items(spark.createDataFrame(candidates, "user_id string, item_id string, score double"), 3)
    assertDataFrameEqual(got, spark.createDataFrame(expected, "user_id string, item_id string, score double, rank bigint"))


def test_equal_texts_crowd_no_list(spark: SparkSession) -> None:
    candidates = [("u1", "i1", 1.0), ("u1", "i2", 3.0), ("u1", "i3", 3.0), ("u1", "i4", 0.5), ("u1", "i5", 0.1), ("u2", "i1", 1.0)]
    texts = [("i1", "case"), ("i2", "case"), ("i3", "case"), ("i4", None)]  # i5 is not in the catalogue
    frame = spark.createDataFrame(candidates, "user_id string, item_id string, score double")
    got = limit_equal_texts(frame, spark.createDataFrame(texts, "item_id string, text_hash string"), 2)
    assertDataFrameEqual(got, frame.where("NOT (user_id = 'u1' AND item_id = 'i1')"))


def test_reasons(spark: SparkSession) -> None:
    ranked = [
        ("u1", "dairy", "milk", 3.5, 12, date(2017, 12, 29), "c01", 0.5, 1),
        ("u1", "dairy", "cheese", 2.5, 1, date(2017, 12, 31), None, None, 2),
        ("u1", "beer", "lager", 1.5, None, None, "c02", 0.126, 3),
        ("u2", "beer", "lager", 2.0, 1, date(2017, 12, 31), "c03", 0.9, 1),  # a cluster without a row: only habit
        ("u2", "dairy", "milk", 1.0, None, None, "c01", 1.0, 2),
        ("u2", "dairy", "cheese", 0.5, None, None, "c01", 0.0049, 3),
        ("u2", "dairy", "butter", 0.4, None, None, "c01", 0.01, 4),
    ]
    schema = (
        "user_id string, interest_id string, item_id string, score double, n_days bigint, last_day date, "
        "cluster_id string, cluster_share double, rank bigint"
    )
    tiers = [("u1", "dairy", "core"), ("u1", "beer", "secondary"), ("u2", "beer", "core"), ("u2", "dairy", "marginal")]
    interests = [("dairy", "DAIRY 100%"), ("beer", "BEER")]
    clusters = [("c01", "DAIRY · EGGS"), ("c02", "BEER")]
    got = explain(
        spark.createDataFrame(ranked, schema),
        spark.createDataFrame(tiers, "user_id string, interest_id string, tier string"),
        spark.createDataFrame(interests, "interest_id string, name string"),
        spark.createDataFrame(clusters, "cluster_id string, name string"),
        AS_OF,
    )
    reasons = [
        "yours on 12 days, last 3 days ago; 50 % of the cluster DAIRY · EGGS had it; DAIRY 100%, a core interest",
        "yours on 1 day, last 1 day ago; DAIRY 100%, a core interest",
        "13 % of the cluster BEER had it; BEER, a secondary interest",
        "yours on 1 day, last 1 day ago; BEER, a core interest",
        "100 % of the cluster DAIRY · EGGS had it; DAIRY 100%, a marginal interest",
        "less than 1 % of the cluster DAIRY · EGGS had it; DAIRY 100%, a marginal interest",
        "1 % of the cluster DAIRY · EGGS had it; DAIRY 100%, a marginal interest",
    ]
    places = [
        ("u1", 1, "milk", 3.5, "dairy", "core", "c01"),
        ("u1", 2, "cheese", 2.5, "dairy", "core", None),
        ("u1", 3, "lager", 1.5, "beer", "secondary", "c02"),
        ("u2", 1, "lager", 2.0, "beer", "core", "c03"),
        ("u2", 2, "milk", 1.0, "dairy", "marginal", "c01"),
        ("u2", 3, "cheese", 0.5, "dairy", "marginal", "c01"),
        ("u2", 4, "butter", 0.4, "dairy", "marginal", "c01"),
    ]
    expected = [(*place, reason) for place, reason in zip(places, reasons, strict=True)]
    assertDataFrameEqual(
        got,
        spark.createDataFrame(
            expected,
            "user_id string, rank bigint, item_id string, score double, interest_id string, tier string, cluster_id string, reason string",
        ),
    )
