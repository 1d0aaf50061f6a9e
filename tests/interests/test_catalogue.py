"""The catalogue of interests: counts, mean vectors and words, against numpy and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from math import log

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertSchemaEqual

from interest_tiers.interests.catalogue import (
    TOP_TERMS,
    average_embeddings,
    build_category_catalogue,
    build_topic_catalogue,
    find_characteristic_terms,
    select_touched_texts,
)
from interest_tiers.storage.schemas import INTERESTS

DAY = date(2017, 10, 9)
DAYS = "user_id string, interest_id string, item_id string, event_date date, level long"
VECTORS = {"whole milk": [1.0, 0.0, 0.0], "skim milk": [0.0, 1.0, 0.0], "steel hammer": [0.0, 0.6, 0.8], "never touched": [0.0, 0.0, 1.0]}
#: item, text, category
ITEMS = [
    ("m1", "whole milk", "DAIRY"),
    ("m2", "whole milk", "DAIRY"),
    ("m3", "whole milk", "DAIRY"),
    ("m4", "skim milk", "DAIRY"),
    ("m5", None, "DAIRY"),
    ("h1", "steel hammer", "TOOLS"),
    ("h2", "never touched", "TOOLS"),
    ("r1", "whole milk", None),
    ("o1", None, "OTHER"),
]
TOUCHED = [("u1", "m1"), ("u1", "m2"), ("u2", "m2"), ("u2", "m3"), ("u1", "m4"), ("u3", "m5"), ("u1", "h1"), ("u9", "o1")]


def items(spark: SparkSession, rows: Sequence[tuple] = ITEMS) -> DataFrame:
    described = [(item, text, text and f"hash of {text}", category) for item, text, category in rows]
    return spark.createDataFrame(described, "item_id string, text string, text_hash string, category string")


def days_of_items(spark: SparkSession, touched: Sequence[tuple[str, str]] = TOUCHED, rows: Sequence[tuple] = ITEMS) -> DataFrame:
    category = {item: of for item, _, of in rows}
    days = [(user, f"category:{category[item]}", item, DAY, 1) for user, item in touched]
    return spark.createDataFrame(days, DAYS)


def embeddings(spark: SparkSession) -> DataFrame:
    rows = [(f"hash of {text}", vector) for text, vector in VECTORS.items()]
    return spark.createDataFrame(rows, "text_hash string, embedding array<float>")


def texts(spark: SparkSession, rows: Sequence[tuple[str, str, int]]) -> DataFrame:
    described = [(interest, 1, f"hash of {text}", text, n) for interest, text, n in rows]
    return spark.createDataFrame(described, "interest_id string, level long, text_hash string, text string, n_items long")


def top_terms(spark: SparkSession, rows: Sequence[tuple[str, str, int]], languages: Sequence[str] = ()) -> dict[str, list[str]]:
    return {row["interest_id"]: row["top_terms"] for row in find_characteristic_terms(texts(spark, rows), languages).collect()}


def test_the_catalogue_by_hand(spark: SparkSession) -> None:
    vectors = average_embeddings(select_touched_texts(days_of_items(spark), items(spark)), embeddings(spark))
    got = build_category_catalogue(days_of_items(spark), items(spark), vectors, [])
    contract = INTERESTS.schema
    assert got.columns == [name for name in contract.fieldNames() if name != "as_of"]
    assertSchemaEqual(got.schema, spark.createDataFrame([], contract).drop("as_of").schema)
    rows = {row["interest_id"]: row for row in got.collect()}
    assert {key: (row["name"], row["kind"], row["n_items"], row["n_users"], row["top_terms"]) for key, row in rows.items()} == {
        "category:DAIRY": ("DAIRY", "category", 5, 3, ["milk", "whole", "skim"]),
        "category:TOOLS": ("TOOLS", "category", 1, 1, ["hammer", "steel"]),
        "category:OTHER": ("OTHER", "category", 1, 1, []),
    }
    mean = np.mean([VECTORS["whole milk"]] * 3 + [VECTORS["skim milk"]], axis=0)
    assert rows["category:DAIRY"]["embedding"] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert rows["category:TOOLS"]["embedding"] == pytest.approx(VECTORS["steel hammer"], abs=1e-6)
    assert rows["category:OTHER"]["embedding"] is None


def test_texts_count_the_items_touched_once_each(spark: SparkSession) -> None:
    got = select_touched_texts(days_of_items(spark, [*TOUCHED, *TOUCHED]), items(spark))
    assert {(row["interest_id"], row["text"], row["n_items"]) for row in got.collect()} == {
        ("category:DAIRY", "whole milk", 3),
        ("category:DAIRY", "skim milk", 1),
        ("category:TOOLS", "steel hammer", 1),
    }


def test_mean_vectors_equal_numpy_over_items_for_any_partitioning(spark: SparkSession) -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(20, 5)).astype(np.float32)
    counted = [(f"interest {n % 3}", f"text {n}", int(random.integers(1, 50))) for n in range(20)]
    embedded = spark.createDataFrame(
        [(f"hash of text {n}", vectors[n].tolist()) for n in range(20)], "text_hash string, embedding array<float>"
    )
    for parts in (1, 4):
        got = average_embeddings(texts(spark, counted).repartition(parts), embedded)
        by_interest = {row["interest_id"]: row["embedding"] for row in got.collect()}
        for interest in ("interest 0", "interest 1", "interest 2"):
            members = np.repeat(vectors, [n if of == interest else 0 for of, _, n in counted], axis=0).astype(float)
            mean = members.mean(axis=0)
            assert by_interest[interest] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
            assert np.linalg.norm(by_interest[interest]) == pytest.approx(1, abs=1e-6)


def test_vectors_that_cancel_out_give_none(spark: SparkSession) -> None:
    embedded = spark.createDataFrame([("hash of a", [1.0, 0.0]), ("hash of b", [-1.0, 0.0])], "text_hash string, embedding array<float>")
    assert average_embeddings(texts(spark, [("A", "a", 2), ("A", "b", 2)]), embedded).first()["embedding"] is None


def test_words_are_ordered_by_share_times_rarity_and_ties_by_alphabet(spark: SparkSession) -> None:
    rows = [
        ("A", "organic milk milk", 6),
        ("A", "Cheese, organic", 3),
        ("A", "ant bee", 1),
        ("B", "organic hammer", 1),
        ("C", "organic saw", 1),
    ]
    # of interest A: milk 6/10 ln 4, cheese 3/10 ln 4, organic 9/10 ln 4/3, ant and bee 1/10 ln 4
    assert 0.6 * log(4) > 0.3 * log(4) > 0.9 * log(4 / 3) > 0.1 * log(4)
    assert top_terms(spark, rows) == {"A": ["milk", "cheese", "organic", "ant", "bee"], "B": ["hammer", "organic"], "C": ["saw", "organic"]}


def test_stop_words_and_masks_are_no_words_and_an_interest_of_them_alone_has_none(spark: SparkSession) -> None:
    rows = [("A", "the milk of [user] [user], see [url]", 6), ("B", "o leite da vaca", 3), ("C", "of [email]", 1)]
    assert top_terms(spark, rows, ["english", "portuguese"]) == {"A": ["milk", "see"], "B": ["leite", "vaca"]}


def test_chinese_interests_have_words_and_no_sentences(spark: SparkSession) -> None:
    rows = [("A", "\u6211\u4eec\u7684\u9c9c\u725b\u5976", 1), ("A", "\u725b\u5976", 1), ("B", "\u9c9c\u8336", 1)]
    assert top_terms(spark, rows, ["chinese"]) == {"A": ["\u725b\u5976", "\u9c9c\u725b"], "B": ["\u9c9c\u8336"]}


def test_the_words_of_the_only_interest_count(spark: SparkSession) -> None:
    assert top_terms(spark, [("A", "milk", 2), ("A", "milk bread", 1)]) == {"A": ["milk", "bread"]}


def test_at_most_so_many_words(spark: SparkSession) -> None:
    letters = "abcdefghijklmnop"
    rows = [("A", " ".join(2 * letter for letter in letters), 1)]
    assert top_terms(spark, rows) == {"A": [2 * letter for letter in letters[:TOP_TERMS]]}


def test_nothing_touched_is_no_interest(spark: SparkSession) -> None:
    vectors = spark.createDataFrame([], "interest_id string, embedding array<float>")
    assert build_category_catalogue(days_of_items(spark, []), items(spark), vectors, []).count() == 0


def test_topics_are_named_by_their_words_and_told_apart_where_words_are_the_same(spark: SparkSession) -> None:
    rows = [
        ("m1", "whole milk", None), ("m2", "milk", None), ("h1", "steel hammer", None), ("h2", "steel hammer", None),
        ("h3", "steel hammer", None), ("x", "of the", None), ("b", "whole milk fresh organic", None),
    ]  # fmt: skip
    of = {"m1": 1, "m2": 1, "h1": 2, "h2": 3, "h3": 4, "x": 5, "b": 6}
    days = [("u1", f"topic:{of[item]:04d}", item, DAY, 1) for item, _, _ in rows]
    touched = spark.createDataFrame(days, DAYS)
    centres = [(f"topic:{number:04d}", [0.6, 0.8]) for number in (1, 2, 3, 4, 5, 6, 7)]  # nobody touched the seventh
    vectors = spark.createDataFrame(centres, "interest_id string, embedding array<float>")
    got = build_topic_catalogue(touched, items(spark, rows), vectors, ["english"])
    assertSchemaEqual(got.schema, spark.createDataFrame([], INTERESTS.schema).drop("as_of").schema)
    found = {row["interest_id"]: row for row in got.collect()}
    assert {interest: row["name"] for interest, row in found.items()} == {
        "topic:0001": "milk · whole",
        "topic:0002": "hammer · steel",
        "topic:0003": "hammer · steel (2)",
        "topic:0004": "hammer · steel (3)",
        "topic:0005": "topic:0005",
        "topic:0006": "fresh · organic · milk",
    }
    assert {row["kind"] for row in found.values()} == {"topic"}
    assert found["topic:0001"]["n_items"] == 2
    assert found["topic:0001"]["embedding"] == pytest.approx([0.6, 0.8])
