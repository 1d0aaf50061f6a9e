"""Recall of baskets: beside an exact search by numpy, and on baskets worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.encoder_training.retrieval_quality import NEAREST, judged_baskets, nearest_texts, popular_texts, recall, sought

BASKETS = "user_id string, basket bigint, text_hash string"


def hashes(spark: SparkSession, *names: str) -> DataFrame:
    return spark.createDataFrame([(name,) for name in names], "text_hash string")


def listed(nearest: DataFrame) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in nearest.collect():
        found.setdefault(row["query_hash"], set()).add(row["text_hash"])
    return found


@pytest.mark.parametrize("n_tasks", [1, 3])
def test_the_nearest_are_those_of_an_exact_search(spark: SparkSession, n_tasks: int) -> None:
    random = np.random.default_rng(1)
    vectors = random.normal(size=(350, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"t{n}" for n in range(350)]
    rows = spark.createDataFrame(list(zip(names, vectors.tolist(), strict=True)), "text_hash string, embedding array<float>")
    found = listed(nearest_texts(rows, hashes(spark, *names[:20]), n_tasks))
    for query in range(20):
        scores = vectors @ vectors[query]
        scores[query] = -2
        assert found[names[query]] == {names[n] for n in np.argsort(-scores)[:NEAREST]}


def test_all_others_are_near_where_there_are_few(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("a", [1.0, 0.0]), ("b", [-1.0, 0.0]), ("c", [0.0, 1.0])], "text_hash string, embedding array<float>")
    assert listed(nearest_texts(rows, hashes(spark, "a", "c"), 2)) == {"a": {"b", "c"}, "c": {"a", "b"}}


def test_recall_is_the_share_of_the_other_texts_averaged_over_queries(spark: SparkSession) -> None:
    """a is asked in two baskets: of {b, c} one is near, of {d} none: (1/2 + 0) / 2; the text x is no candidate."""
    rows = [("u", 1, "a"), ("u", 1, "b"), ("u", 1, "c"), ("u", 1, "x"), ("v", 2, "a"), ("v", 2, "d"), ("v", 3, "a"), ("v", 3, "x")]
    judged = judged_baskets(spark.createDataFrame(rows, BASKETS), hashes(spark, "a", "b", "c", "d"))
    assert sorted((row["basket"], row["text_hash"]) for row in judged.collect()) == [(1, "a"), (1, "b"), (1, "c"), (2, "a"), (2, "d")]
    asked = sought(judged.where("text_hash = 'a'"), judged)
    assert sorted((row["basket"], row["query_hash"], row["text_hash"]) for row in asked.collect()) == [
        (1, "a", "b"), (1, "a", "c"), (2, "a", "d"),
    ]  # fmt: skip
    nearest = spark.createDataFrame([("a", "b"), ("a", "z"), ("d", "c")], "query_hash string, text_hash string")
    assert recall(asked, nearest) == 0.25


def test_the_most_frequent_texts_are_the_same_for_every_query_but_for_itself(spark: SparkSession) -> None:
    """120 texts, the n-th in n baskets: those of the 100 largest numbers, and the next one where the query is among them."""
    rows = spark.range(1, 121).selectExpr("'u' AS user_id", "explode(sequence(1, id)) AS basket", "concat('t', id) AS text_hash")
    candidates = rows.select("text_hash").distinct().unionByName(hashes(spark, "never touched"))
    found = listed(popular_texts(rows, candidates, hashes(spark, "t120", "t1")))
    assert found == {"t1": {f"t{n}" for n in range(21, 121)}, "t120": {f"t{n}" for n in range(20, 120)}}
    assert "t119" not in listed(popular_texts(rows, candidates.where("text_hash <> 't119'"), hashes(spark, "t1")))["t1"]
