"""What some networks read beside features: the user's event-days as a sequence, and the texts of what the user did."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import TierTraining
from interest_tiers.interests.evidence import PAIR
from interest_tiers.spark.worker import once_per_worker

#: So many of the interests most alike lend their event-days to a sequence.
ALIKE_IN_SEQUENCE = 3

#: Texts of so many of the newest items stand for what a user did in an interest.
NEWEST_ITEMS = 8


def with_sequence(pairs: DataFrame, days: DataFrame, alike: DataFrame, cut: date, config: TierTraining) -> DataFrame:
    """Add sequence: the newest event-days before the cut in the interest and in those most alike, oldest first.

    pairs: user_id, interest_id, … days: see evidence.interest_days. alike: see features.similar_interests. Returns an array<float> of
    sequence_length × the channels of networks.SEQUENCE_CHANNELS, zeros before the first event-day.
    """
    before = days.where(F.col("event_date") < F.lit(cut))
    events = before.select(*PAIR, F.datediff(F.lit(cut), F.col("event_date")).alias("age"), "weight")
    lent = events.withColumnRenamed("interest_id", "other_id").join(
        alike.where(F.col("place") <= ALIKE_IN_SEQUENCE).select("interest_id", "other_id"), "other_id"
    )
    lent = lent.join(pairs.select(*PAIR), PAIR, "left_semi").select(*PAIR, "age", "weight", F.lit(0.0).alias("is_own"))
    every = events.withColumn("is_own", F.lit(1.0)).unionByName(lent)
    newest = Window.partitionBy(*PAIR).orderBy("age", F.desc("is_own"), "weight")
    placed = every.withColumn("place", F.row_number().over(newest)).withColumn("gap", F.lead("age").over(newest) - F.col("age"))
    event = F.struct((-F.col("place")).alias("order"), "age", "gap", "weight", "is_own")
    lists = placed.where(F.col("place") <= config.sequence_length).groupBy(*PAIR).agg(F.array_sort(F.collect_list(event)).alias("events"))
    channels = F.flatten(
        F.transform(
            "events",
            lambda e: F.array(
                F.log1p(e["age"]),
                F.log1p(F.coalesce(e["gap"], F.lit(0))),
                F.signum(e["weight"]) * F.log1p(F.abs(e["weight"])),
                e["is_own"],
                F.lit(1.0),
            ),
        )
    ).cast("array<float>")
    from interest_tiers.tiers.shapes import SEQUENCE_CHANNELS

    n_missing = (F.lit(config.sequence_length) - F.size("events")) * SEQUENCE_CHANNELS
    padding = F.array_repeat(F.lit(0.0).cast("float"), n_missing)
    sequences = lists.select(*PAIR, F.concat(padding, channels).alias("sequence"))
    return pairs.join(sequences, PAIR)


def with_tokens(pairs: DataFrame, days_of_items: DataFrame, items: DataFrame, cut: date, model: str, max_tokens: int) -> DataFrame:
    """Add tokens: the texts of the newest items that the user touched in the interest before the cut, newest first.

    pairs: user_id, interest_id, … days_of_items: see evidence.item_days. items: item_id, text. model: the folder of the language
    model. Returns an array<int> of max_tokens token ids, each one higher than in the model, zeros after the last.
    """
    touched = days_of_items.where(F.col("event_date") < F.lit(cut)).groupBy(*PAIR, "item_id").agg(F.max("event_date").alias("last_day"))
    newest = Window.partitionBy(*PAIR).orderBy(F.desc("last_day"), "item_id")
    placed = touched.withColumn("place", F.row_number().over(newest)).where(F.col("place") <= NEWEST_ITEMS)
    with_text = placed.join(items.where("text IS NOT NULL").select("item_id", "text"), "item_id")
    texts = with_text.groupBy(*PAIR).agg(F.array_sort(F.collect_list(F.struct("place", "text"))).alias("newest"))
    text = F.array_join(F.transform("newest", lambda item: item["text"]), ". ")
    # A text for a user and interest is rarely that of another: no distinct first.
    every = pairs.select(*PAIR).join(texts.select(*PAIR, text.alias("text")), PAIR, "left")

    # Part of the workers' cache key: another model may be put at the same path later.
    version = (Path(model) / "tokenizer.json").stat().st_mtime_ns

    @F.pandas_udf("array<int>")  # type: ignore[call-overload]
    def tokens(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        for batch in batches:
            yield pd.Series(list(_token_ids(batch.fillna("").tolist(), model, version, max_tokens)), dtype=object)

    return pairs.join(every.select(*PAIR, tokens(F.col("text")).alias("tokens")), PAIR)


def _token_ids(texts: list[str], model: str, version: int, max_tokens: int) -> np.ndarray:
    ids = _tokenizer(model, version)(texts, truncation=True, max_length=max_tokens, add_special_tokens=True)["input_ids"]
    padded = np.zeros((len(texts), max_tokens), dtype=np.int32)
    for row, of_text in enumerate(ids):
        padded[row, : len(of_text)] = np.array(of_text, dtype=np.int32) + 1
    return padded


@once_per_worker
def _tokenizer(model: str, version: int) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, trust_remote_code=False)
