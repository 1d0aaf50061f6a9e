"""Which rows and which texts name a user."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.cleaning.forgetting import drop_forgotten, drop_rows_naming, extract_values, extract_words, find_keys_naming

DOCUMENTS, DEPTH = 300, 3

#: Ids and their look-alikes: parts of one another, numbers in other forms, quotes, escapes and other scripts.
IDS = ["9001", "90012", "19001", "9001.5", "17850000", "a b", 'say "hi"', "back\\slash", "línea\nnueva", "用户", "\U0001f36e", "a:b", "x,y"]


def any_value(draw: random.Random, depth: int = DEPTH) -> Any:
    """A value of JSON, often an id or something that looks like one."""
    kind = draw.randrange(8 if depth else 5)
    if kind == 0:
        return draw.choice([None, True, False, "", "a note on 9001 and 90012"])
    if kind == 1:
        return draw.choice([9001, 90012, 17850000.0, 9001.25, -9001])
    if kind < 5:
        return draw.choice(IDS)
    if kind == 5:
        return [any_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    return {draw.choice(["user", "a", "b", *IDS]): any_value(draw, depth - 1) for _ in range(draw.randrange(4))}


def texts_in(value: Any) -> set[str]:
    """Every value and key, by Python's own parser."""
    if isinstance(value, dict):
        return set(value).union(*[texts_in(part) for part in value.values()])
    if isinstance(value, list):
        return set().union(*[texts_in(part) for part in value])
    if isinstance(value, float) and value.is_integer():
        return {str(int(value)), str(value)}
    if value is None or isinstance(value, bool):
        return set()
    return {str(value)}


def test_the_values_of_a_row_are_those_that_a_parser_finds(spark: SparkSession) -> None:
    draw = random.Random(5)
    rows = [{"row": any_value(draw), "k": any_value(draw)} for _ in range(DOCUMENTS)]
    # Doubles as Spark prints them, from ten million on in exponents.
    texts = [json.dumps(row, ensure_ascii=draw.random() < 0.5).replace("17850000.0", "1.785E7") for row in rows]
    frame = spark.createDataFrame(list(enumerate(texts)), "n int, raw string").select("n", extract_values(F.col("raw")).alias("names"))
    got = {row["n"]: set(row["names"]) - {"1.785E7", "17850000.0"} for row in frame.collect()}
    expected = {n: texts_in(row) - {"1.785E7", "17850000.0"} for n, row in enumerate(rows)}
    # Brackets at the start of a text are taken apart; no value here has them.
    assert {n: names - {""} for n, names in got.items()} == {n: names - {""} for n, names in expected.items()}
    assert sum("9001" in names for names in expected.values()) > DOCUMENTS / 10


@pytest.fixture(scope="module")
def named(spark: SparkSession) -> dict[str, set[str]]:
    """What the texts below name, all of them found by one query."""
    raws = {
        "line": json.dumps({"_corrupt_record": '9001,"two words";2017-01-01'}),
        "json in a value": json.dumps({"payload": '{"user": 9001, "b": ["7"]}'}),
        "broken": '{"user": "9001", "note": "never en',
        "bad escape": '{"user": "9001", "path": "C:\\x"}',
        "long": json.dumps({"note": "\\" * 300_000 + "é", "user": "9001"}),
    }
    frame = spark.createDataFrame(list(raws.items()), "name string, raw string")
    return {row["name"]: set(row["names"]) for row in frame.select("name", extract_values(F.col("raw")).alias("names")).collect()}


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ("line", {"9001", "two words", "two", "2017-01-01"}),
        ("json in a value", {"9001", "7"}),
        ("broken", {"9001"}),
        ("bad escape", {"9001"}),
        ("long", {"9001", "user"}),
    ],
)
def test_lines_inner_json_and_broken_json_are_taken_apart(named: dict[str, set[str]], raw: str, names: set[str]) -> None:
    assert names <= named[raw]


def test_a_message_is_taken_apart(spark: SparkSession) -> None:
    texts = [
        "user_vectors: two rows to merge have the same key {'user_id': 'a b', 'as_of': 1}",
        "CHECK constraint c violated by row with values:\n - user_id : x y z\n - n : 5",
        "stopped at user 9001.",
        "stopped at user=9001, at once",
    ]
    frame = spark.createDataFrame(list(enumerate(texts)), "n int, text string")
    got = {row["n"]: set(row["names"]) for row in frame.select("n", extract_words(F.col("text")).alias("names")).collect()}
    for n, name in enumerate(["a b", "x y z", "9001", "9001"]):
        assert name in got[n], texts[n]


def test_rows_of_the_forgotten_stay_away_and_rows_without_a_user_stay(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("9001", 1), ("90012", 2), (None, 3), ("9001", 4)], "user_id string, n int")
    forgotten = spark.createDataFrame([(hashlib.sha256(b"9001").hexdigest(),)], "user_hash string")
    kept = drop_forgotten(rows, forgotten)
    assert kept.columns == ["user_id", "n"]
    assert sorted(row["n"] for row in kept.collect()) == [2, 3]


def test_rows_that_name_the_forgotten_stay_away(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("h1", '{"a": ["9001"]}'), ("h2", '{"a": "90012"}'), ("h3", "{}"), ("h4", None)], "key string, raw string"
    )
    forgotten = spark.createDataFrame([(hashlib.sha256(b"9001").hexdigest(),)], "user_hash string")
    kept = drop_rows_naming(rows, "key", extract_values(F.col("raw")), forgotten)
    assert sorted(row["key"] for row in kept.collect()) == ["h2", "h3", "h4"]
    users = spark.createDataFrame([("9001",)], "user_id string")
    assert [tuple(row) for row in find_keys_naming(rows, ("key",), extract_values(F.col("raw")), users).collect()] == [("h1",)]
