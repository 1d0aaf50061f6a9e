"""Builds further inputs of some networks: the user's event-days as a sequence, and the texts of the items touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import TierTraining
from interest_tiers.spark.worker import once_per_worker
from interest_tiers.tiers.cutoffs import PAIR_AT

#: Similar interests whose event-days are part of a sequence.
ALIKE_IN_SEQUENCE = 3

#: Newest items of a pair whose texts a network reads.
NEWEST_ITEMS = 8


def with_sequence(pairs: DataFrame, days: DataFrame, alike: DataFrame, config: TierTraining) -> DataFrame:
    """Add the newest event-days before the cutoff, in the interest and in the most similar ones, oldest first.

    pairs:   (cutoff, user_id, interest_id, ...)
    days:    (cutoff, user_id, interest_id, event_date, weight double, ...), from cutoffs.days_before_cutoffs
    alike:   (cutoff, interest_id, other_id, place int, ...), from features.similar_interests
    Returns: the columns of pairs and sequence array<float>, rows of pairs with at least one event-day

    A sequence has sequence_length × shapes.SEQUENCE_CHANNELS values; zeros pad it before the first event-day.
    """
    events = days.select(*PAIR_AT, F.datediff("cutoff", "event_date").alias("age"), "weight")
    lent = events.withColumnRenamed("interest_id", "other_id").join(
        alike.where(F.col("place") <= ALIKE_IN_SEQUENCE).select("cutoff", "interest_id", "other_id"), ["other_id", "cutoff"]
    )
    lent = lent.join(pairs.select(*PAIR_AT), PAIR_AT, "left_semi").select(*PAIR_AT, "age", "weight", F.lit(0.0).alias("is_own"))
    every = events.withColumn("is_own", F.lit(1.0)).unionByName(lent)
    newest = Window.partitionBy(*PAIR_AT).orderBy("age", F.desc("is_own"), "weight")
    placed = every.withColumn("place", F.row_number().over(newest)).withColumn("gap", F.lead("age").over(newest) - F.col("age"))
    event = F.struct((-F.col("place")).alias("order"), "age", "gap", "weight", "is_own")
    lists = (
        placed.where(F.col("place") <= config.sequence_length).groupBy(*PAIR_AT).agg(F.array_sort(F.collect_list(event)).alias("events"))
    )
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
    sequences = lists.select(*PAIR_AT, F.concat(padding, channels).alias("sequence"))
    return pairs.join(sequences, PAIR_AT)


def with_tokens(pairs: DataFrame, days_of_items: DataFrame, items: DataFrame, model: str, max_tokens: int) -> DataFrame:
    """Add the tokens of the newest items that the user touched in the interest before the cutoff, newest first.

    pairs:         (cutoff, user_id, interest_id, ...)
    days_of_items: (cutoff, user_id, interest_id, item_id, event_date, ...), days before the cutoff
    items:         (item_id, text)
    model:         folder of the language model
    Returns:       the columns of pairs and tokens array<int>

    There are max_tokens token ids, each one higher than the model's; zeros pad them after the last.
    """
    touched = days_of_items.groupBy(*PAIR_AT, "item_id").agg(F.max("event_date").alias("last_day"))
    newest = Window.partitionBy(*PAIR_AT).orderBy(F.desc("last_day"), "item_id")
    placed = touched.withColumn("place", F.row_number().over(newest)).where(F.col("place") <= NEWEST_ITEMS)
    with_text = placed.join(items.where("text IS NOT NULL").select("item_id", "text"), "item_id")
    texts = with_text.groupBy(*PAIR_AT).agg(F.array_sort(F.collect_list(F.struct("place", "text"))).alias("newest"))
    text = F.array_join(F.transform("newest", lambda item: item["text"]), ". ")
    # Two pairs rarely have the same text, so a distinct before tokenising would not pay.
    every = pairs.select(*PAIR_AT).join(texts.select(*PAIR_AT, text.alias("text")), PAIR_AT, "left")

    # Part of the workers' cache key: another model may be put at the same path later.
    version = (Path(model) / "tokenizer.json").stat().st_mtime_ns

    @F.pandas_udf("array<int>")  # type: ignore[call-overload]
    def tokens(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        for batch in batches:
            yield pd.Series(list(_token_ids(batch.fillna("").tolist(), model, version, max_tokens)), dtype=object)

    return pairs.join(every.select(*PAIR_AT, tokens(F.col("text")).alias("tokens")), PAIR_AT)


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
