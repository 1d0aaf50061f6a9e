"""Turn what users write into evidence for the interest with the nearest embedding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import UserTexts
from interest_tiers.errors import ConfigError
from interest_tiers.text import hash_text

#: Every worker holds their embeddings: 100 MB at a width of 1,024.
MAX_INTERESTS = 25_000


def select_written_texts(interactions: DataFrame) -> DataFrame:
    """Select the distinct texts of users.

    interactions: (text, ...)
    Returns:      (text_hash, text)
    """
    written = interactions.where(F.col("text").isNotNull()).select("text").distinct()
    return written.select(hash_text(F.col("text")).alias("text_hash"), "text")


def find_nearest_interests(texts: DataFrame, interests: DataFrame, min_similarity: float) -> DataFrame:
    """Find the interest nearest to each text by cosine, where the cosine is min_similarity or more.

    texts:     (text_hash, embedding array<float>), L2 norm 1
    interests: (interest_id, embedding array<float>), L2 norm 1; ties go to the first id
    Returns:   (text_hash, interest_id)

    Raises ConfigError when there are more than MAX_INTERESTS.
    """
    known = interests.where(F.col("embedding").isNotNull()).orderBy("interest_id").limit(MAX_INTERESTS + 1).collect()
    if len(known) > MAX_INTERESTS:
        raise ConfigError(f"interests.user_texts compares every text with every interest, and there are more than {MAX_INTERESTS:,}")
    if not known:
        return texts.select("text_hash", F.lit("").alias("interest_id")).where(F.lit(False))
    ids = [row["interest_id"] for row in known]
    embeddings = texts.sparkSession.sparkContext.broadcast(np.array([row["embedding"] for row in known], dtype=np.float32))

    # A pandas function because a product of matrices is what this is.
    def place(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            similarities = np.vstack(batch["embedding"].tolist()) @ embeddings.value.T
            nearest = similarities.argmax(axis=1)
            is_near = similarities[np.arange(len(batch)), nearest] >= min_similarity
            yield pd.DataFrame({"text_hash": batch["text_hash"][is_near], "interest_id": [ids[place] for place in nearest[is_near]]})

    return texts.select("text_hash", "embedding").mapInPandas(place, "text_hash string, interest_id string")


def build_text_days(interactions: DataFrame, nearest: DataFrame, item_interests: DataFrame, config: UserTexts, level: int = 1) -> DataFrame:
    """Build the days on which users wrote about another interest than that of the item under which they wrote.

    Rows have no item (item_id is null) and no value. A text about the item's own interest is left out, since
    evidence.item_days counts its interaction.

    interactions:   (user_id, item_id, event_date, text, ...)
    nearest:        (text_hash, interest_id), see find_nearest_interests
    item_interests: (item_id, interest_id), of the level given
    Returns:        the columns of evidence.item_days
    """
    written = interactions.where(F.col("text").isNotNull()).select(
        "user_id", "item_id", "event_date", hash_text(F.col("text")).alias("text_hash")
    )
    elsewhere = written.join(nearest, "text_hash").join(item_interests, ["item_id", "interest_id"], "left_anti")
    days = elsewhere.groupBy("user_id", "interest_id", "event_date").agg(F.count(F.lit(1)).alias("n_interactions"))
    return days.select(
        "user_id",
        "interest_id",
        F.lit(None).cast("string").alias("item_id"),
        "event_date",
        F.lit(float(config.weight)).alias("weight"),
        "n_interactions",
        F.lit(0.0).alias("value"),
        F.lit(level).cast("bigint").alias("level"),
    )
