"""Topics: which texts go together, not which numbers the topics get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from sklearn.metrics import adjusted_rand_score

from interest_tiers.config import Interests
from interest_tiers.interests.topics import Topics, assign_topics, build_topic_vectors, fit_topics, select_seen_texts

EMBEDDINGS = "text_hash string, embedding array<float>"
ITEMS = "item_id string, text_hash string"

#: Texts of each planted topic; their centres are the axes.
SIZES = (9, 17, 12, 5)
GROUPS = np.repeat(range(len(SIZES)), SIZES)
CONFIG = Interests(source="topic", topics=4)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    noise = np.random.default_rng(1).normal(scale=0.15, size=(sum(SIZES), 6))
    near = np.eye(6)[GROUPS] + noise
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


def texts_of(spark: SparkSession, vectors: Sequence[Sequence[float]] | np.ndarray) -> DataFrame:
    return spark.createDataFrame([(f"t{n:03}", [float(x) for x in vector]) for n, vector in enumerate(vectors)], EMBEDDINGS)


def placed(topics: Topics, items: DataFrame, embeddings: DataFrame) -> Mapping[str, str]:
    return {row["item_id"]: row["interest_id"] for row in assign_topics(topics, items, embeddings).collect()}


@pytest.fixture(scope="module")
def fitted(spark: SparkSession, points: np.ndarray) -> Topics:
    return fit_topics(texts_of(spark, points), CONFIG)


def test_planted_topics_are_found_the_largest_first(spark: SparkSession, points: np.ndarray, fitted: Topics) -> None:
    items = spark.createDataFrame([(f"i{n:03}", f"t{n:03}") for n in range(len(points))], ITEMS)
    found = placed(fitted, items, texts_of(spark, points))
    assert adjusted_rand_score(GROUPS, [found[f"i{n:03}"] for n in range(len(points))]) == 1.0
    by_size = sorted(range(len(SIZES)), key=lambda group: -SIZES[group])
    assert [found[f"i{list(GROUPS).index(group):03}"] for group in by_size] == ["topic:0001", "topic:0002", "topic:0003", "topic:0004"]
    means = np.stack([points[group == GROUPS].mean(axis=0, dtype=float) for group in by_size])
    np.testing.assert_allclose(fitted.centres, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5)
    assert (fitted.n_texts, fitted.n_fitted) == (sum(SIZES), sum(SIZES))


def test_order_and_partitioning_of_the_texts_change_nothing(spark: SparkSession, points: np.ndarray, fitted: Topics) -> None:
    again = fit_topics(texts_of(spark, points).orderBy("embedding").repartition(5), CONFIG)
    np.testing.assert_array_equal(again.centres, fitted.centres)
    assert again.ids == fitted.ids


def test_every_item_with_a_text_has_the_nearest_topic_a_later_one_too(spark: SparkSession, fitted: Topics) -> None:
    vectors = [[0.9, 0.3, 0.1, 0, 0, 0], [0, 0.1, 0, 0.8, 0, 0], [-1, 0.2, -1, -1, 0, 0], [0.0] * 6]
    embeddings = texts_of(spark, vectors)
    items = [("a", "t000"), ("a again", "t000"), ("b", "t001"), ("c", "t002"), ("zeros", "t003"), ("blank", None), ("not embedded", "t9")]
    topic_of_group = {group: f"topic:{place:04d}" for place, group in enumerate(sorted(range(4), key=lambda group: -SIZES[group]), 1)}
    assert placed(fitted, spark.createDataFrame(items, ITEMS), embeddings) == {
        "a": topic_of_group[0],
        "a again": topic_of_group[0],
        "b": topic_of_group[3],
        "c": topic_of_group[1],
    }


def test_centres_as_rows(spark: SparkSession, fitted: Topics) -> None:
    rows = build_topic_vectors(fitted, like=spark.range(1)).orderBy("interest_id").collect()
    assert [row["interest_id"] for row in rows] == fitted.ids
    np.testing.assert_array_equal(np.array([row["embedding"] for row in rows], dtype=np.float32), fitted.centres)


def test_only_texts_of_touched_items_are_seen_each_once(spark: SparkSession) -> None:
    items = spark.createDataFrame([("i1", "a"), ("i2", "a"), ("i3", "b"), ("i4", None), ("later", "c"), ("i5", "zeros")], ITEMS)
    touched = spark.createDataFrame([("i1",), ("i1",), ("i2",), ("i4",), ("i5",), ("unknown",)], "item_id string")
    vectors = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.6, 0.8], "zeros": [0.0, 0.0]}
    got = select_seen_texts(touched, items, spark.createDataFrame(list(vectors.items()), EMBEDDINGS))
    assert [(row["text_hash"], row["embedding"]) for row in got.collect()] == [("a", [1.0, 0.0])]


def test_fewer_different_texts_than_topics(spark: SparkSession) -> None:
    texts = texts_of(spark, [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    topics = fit_topics(texts, Interests(source="topic", topics=50))
    assert (len(topics.ids), topics.n_texts) == (3, 6)
    np.testing.assert_allclose(topics.centres, np.eye(3)[::-1], atol=1e-7)
    items = spark.createDataFrame([(f"i{n}", f"t{n:03}") for n in range(6)], ITEMS)
    assert [of for _, of in sorted(placed(topics, items, texts).items())] == ["topic:0003", *["topic:0002"] * 2, *["topic:0001"] * 3]


def test_one_text_is_one_topic_and_no_text_is_none(spark: SparkSession) -> None:
    one = fit_topics(texts_of(spark, [[0.6, 0.8]]), CONFIG)
    np.testing.assert_allclose(one.centres, [[0.6, 0.8]], atol=1e-7)
    none = fit_topics(texts_of(spark, []), CONFIG)
    assert (none.ids, none.n_texts, none.n_fitted) == ([], 0, 0)
    items = spark.createDataFrame([("a", "t000")], ITEMS)
    assert placed(none, items, texts_of(spark, [[0.6, 0.8]])) == {}
    assert build_topic_vectors(none, like=items).count() == 0


def test_of_many_texts_a_bounded_number_decides_the_same_ones_every_time(spark: SparkSession) -> None:
    random = np.random.default_rng(2)
    groups = random.integers(0, 2, 400)
    vectors = np.eye(3)[groups] + random.normal(scale=0.05, size=(400, 3))
    texts = texts_of(spark, vectors)
    few = CONFIG.model_copy(update={"topics": 2, "max_fit_texts": 100})
    topics, again = fit_topics(texts, few), fit_topics(texts.repartition(7), few)
    assert topics.n_texts == 400
    # Each text is drawn with the probability 1/4: three deviations around 100.
    assert abs(topics.n_fitted - 100) < 3 * sqrt(400 * 0.25 * 0.75)
    assert again.n_fitted == topics.n_fitted
    np.testing.assert_array_equal(again.centres, topics.centres)
    found = placed(topics, spark.createDataFrame([(str(n), f"t{n:03}") for n in range(400)], ITEMS), texts)
    assert adjusted_rand_score(groups, [found[str(n)] for n in range(400)]) == 1.0
