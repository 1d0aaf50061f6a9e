"""Texts: what normalise, text_hash and tokens make of awkward ones."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.text import masked_example, normalise, text_hash, tokens

TEXTS_AND_NORMAL_FORMS = [
    (None, None),
    ("", None),
    ("   ", None),
    ("\u00a0", None),
    ("\u3000\u2003 \u0085", None),
    ("milk", "milk"),
    ("  fat  milk ", "fat milk"),
    ("fat\u00a0milk", "fat milk"),
    ("fat\u2003\u00a0 milk", "fat milk"),
    ("\u5168\u8102\u3000\u725b\u4e73", "\u5168\u8102 \u725b\u4e73"),
    ("two\r\nlines\tand\x00control", "two lines and control"),
    ("Cr\u00e8me br\u00fbl\u00e9e \U0001f36e", "Cr\u00e8me br\u00fbl\u00e9e \U0001f36e"),
    ("AT&amp;T", "AT&amp;T"),
]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \t\n\x00\x1f\x7f\x85\u00a0\u1680\u2009\u2028\u3000"))


def reference_normalise(text: str | None) -> str | None:
    """The same rule in Python, whose class of white space is Unicode's."""
    if text is None:
        return None
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip(" ") or None


def transformed(spark: SparkSession, texts: list[str | None], *steps: Column) -> list[tuple]:
    """What the columns are for each text (column ``text``), in the order of the texts."""
    rows = spark.createDataFrame(list(enumerate(texts)), "position int, text string")
    return [tuple(row) for row in rows.coalesce(1).orderBy("position").select(*steps).collect()]


def test_normalise_makes_one_blank_of_white_space_and_null_of_blank_texts(spark: SparkSession) -> None:
    given_texts = spark.createDataFrame([(text,) for text, _ in TEXTS_AND_NORMAL_FORMS], "text string")
    expected = spark.createDataFrame(TEXTS_AND_NORMAL_FORMS, "text string, normal string")
    assertDataFrameEqual(given_texts.withColumn("normal", normalise(given_texts.text)), expected)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.none() | TEXTS, min_size=40, max_size=120))
def test_normalise_agrees_with_the_reference_and_is_idempotent(spark: SparkSession, texts: list[str | None]) -> None:
    got = transformed(spark, texts, normalise(F.col("text")), normalise(normalise(F.col("text"))))
    expected = [reference_normalise(text) for text in texts]
    assert got == [(normal, normal) for normal in expected]


def test_text_hash_is_the_sha256_of_the_utf8_text(spark: SparkSession) -> None:
    got = transformed(spark, ["milk", "Cr\u00e8me", None], text_hash(F.col("text")))
    assert got == [(hashlib.sha256(b"milk").hexdigest(),), (hashlib.sha256("Cr\u00e8me".encode()).hexdigest(),), (None,)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Fat MILK, 2 % (organic)", ["fat", "milk", "organic"]),
        ("rock 'n' roll don't 'quoted'", ["rock", "roll", "don't", "quoted"]),
        ("cr\u00e8me cre\u0300me \u0b9a\u0bbf\u0bb5", ["cr\u00e8me", "cre\u0300me", "\u0b9a\u0bbf\u0bb5"]),
        ("", []),
        ("a 1 - '' ''''", []),
        (None, None),
    ],
)
def test_tokens_are_lower_case_words_of_two_letters_or_more(spark: SparkSession, text: str | None, words: list[str] | None) -> None:
    assert transformed(spark, [text], tokens(F.col("text"))) == [(words,)]


def test_tokens_leave_stop_words_out_and_keep_the_order_and_repeats(spark: SparkSession) -> None:
    assert transformed(spark, ["The milk of the cow, the milk"], tokens(F.col("text"), ["the", "of"])) == [(["milk", "cow", "milk"],)]


def test_an_example_shows_keys_and_hides_values(spark: SparkSession) -> None:
    raw = r'{"age":42,"text":"he said \"hi\": bye, Zoë!","_corrupt_record":"{\"user\":\"u4\"}"}'
    shown = spark.createDataFrame([(raw,)], "raw string").select(masked_example(F.col("raw"))).first()
    expected = r'{"age":00,"text":"xx xxxx \"xx\": xxx, xxx!","_corrupt_record":"{\"xxxx\":\"x0\"}"}'
    assert shown is not None
    assert shown[0] == expected
