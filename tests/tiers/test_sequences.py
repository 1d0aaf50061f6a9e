"""Sequences of event-days and tokens of texts, by hand."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.config import TierTraining
from interest_tiers.tiers.cutoffs import days_before_cutoffs
from interest_tiers.tiers.sequences import with_sequence, with_tokens
from tests.embedding.folders import bert_of_words

CUT = date(2024, 6, 1)


def ago(days: int) -> date:
    return CUT - timedelta(days=days)


def at_cut(days: DataFrame) -> DataFrame:
    return days_before_cutoffs(days, [CUT])


def with_cut(rows: DataFrame) -> DataFrame:
    return rows.withColumn("cutoff", F.lit(CUT))


def test_the_newest_event_days_of_the_interest_and_of_those_like_it(spark: SparkSession) -> None:
    """Tea is like coffee: its days are in coffee's sequence where the user has coffee; what happens from the cut on is in none."""
    days = spark.createDataFrame(
        [("u", "coffee", ago(9), 1.0), ("u", "coffee", ago(4), 1.0), ("u", "coffee", ago(1), 2.0), ("u", "tea", ago(2), 1.0),
         ("u", "coffee", ago(0), 5.0), ("v", "tea", ago(3), 1.0)],
        "user_id string, interest_id string, event_date date, weight double",
    ).transform(at_cut)  # fmt: skip
    pairs = spark.createDataFrame([("u", "coffee"), ("u", "tea"), ("v", "tea")], "user_id string, interest_id string").transform(with_cut)
    alike = spark.createDataFrame([("coffee", "tea", 1), ("tea", "water", 1)], "interest_id string, other_id string, place int").transform(
        with_cut
    )
    found = with_sequence(pairs, days, alike, TierTraining(sequence_length=3))
    sequences = {(row["user_id"], row["interest_id"]): np.array(row["sequence"]).reshape(3, 5) for row in found.collect()}
    # Age, days to the event-day before, weight (each as ln(1 + x)), own, there. The day nine days ago is the fourth, and no more there.
    ln = np.log1p
    expected = [[ln(4), ln(5), ln(1), 1, 1], [ln(2), ln(2), ln(1), 0, 1], [ln(1), ln(1), ln(2), 1, 1]]
    np.testing.assert_allclose(sequences["u", "coffee"], expected, rtol=1e-6)
    np.testing.assert_allclose(sequences["u", "tea"], [[0] * 5, [0] * 5, [ln(2), 0, ln(1), 1, 1]], rtol=1e-6)
    np.testing.assert_allclose(sequences["v", "tea"], [[0] * 5, [0] * 5, [ln(3), 0, ln(1), 1, 1]], rtol=1e-6)


def test_the_texts_of_the_newest_items_as_tokens(spark: SparkSession, tmp_path: Path) -> None:
    model = str(bert_of_words(tmp_path / "bert", ["green", "black", "tea"]))
    days = spark.createDataFrame(
        [("u", "tea", "i1", ago(5)), ("u", "tea", "i2", ago(2)), ("u", "tea", "i1", ago(9)), ("u", "tea", "i3", ago(0)),
         ("v", "tea", "i4", ago(1))],
        "user_id string, interest_id string, item_id string, event_date date",
    ).transform(at_cut)  # fmt: skip
    items = spark.createDataFrame([("i1", "green tea"), ("i2", "black"), ("i3", "tea"), ("i4", None)], "item_id string, text string")
    pairs = spark.createDataFrame([("u", "tea"), ("v", "tea")], "user_id string, interest_id string").transform(with_cut)
    found = {row["user_id"]: row["tokens"] for row in with_tokens(pairs, days, items, model, 8).collect()}
    from transformers import AutoTokenizer

    ids = [token + 1 for token in AutoTokenizer.from_pretrained(model)("black. green tea")["input_ids"]]
    assert found["u"] == [*ids, *[0] * (8 - len(ids))]
    empty = [token + 1 for token in AutoTokenizer.from_pretrained(model)("")["input_ids"]]
    assert found["v"] == [*empty, *[0] * (8 - len(empty))]
