"""Put what a user did into one row: evidence by interest, the items that the user had, and the sum of their text vectors.

Interests and items are columns of sparse rows. A vocabulary names the columns and bounds them, and with them every row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.ml.functions import vector_to_array
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.clustering.kmeans import to_vector

#: Columns of the interests, those with the most evidence.
MAX_INTERESTS = 5_000

#: Columns of the items, those of the most users.
MAX_ITEMS = 20_000

#: Evidence is summed over users in whole millionths: sums of doubles depend on the order of the rows.
TOTAL_PARTS = 1e6


@dataclass(frozen=True)
class Vocabulary:
    """Name the columns of profiles.

    interests, items: ids in the order of their columns
    evidence:         of each interest, over all users
    n_users:          users of each item
    """

    interests: tuple[str, ...] = ()
    evidence: tuple[float, ...] = ()
    items: tuple[str, ...] = ()
    n_users: tuple[int, ...] = ()


def is_evidence() -> Column:
    """Say whether the column evidence is above 0 and finite; NaN is larger than any other number."""
    return (F.col("evidence") > 0) & (F.col("evidence") < float("inf"))


def select_had_items(item_days: DataFrame) -> DataFrame:
    """Select the items that users had, each once.

    item_days: (user_id, item_id, weight, ...), all before the cutoff; item_id may be null
    Returns:   (user_id, item_id), the pairs with a day of weight above 0
    """
    return item_days.where(F.col("item_id").isNotNull() & (F.col("weight") > 0)).select("user_id", "item_id").distinct()


def find_vocabulary(pairs: DataFrame | None, had: DataFrame | None, min_item_users: int) -> Vocabulary:
    """Find the interests with the most evidence and the items of the most users; ties go by id.

    pairs: (user_id, interest_id, evidence, ...); None without the block interests
    had:   (user_id, item_id), each once; None without the block items
    """
    interests, items = [], []
    if pairs is not None:
        total = F.sum(F.floor(F.col("evidence") * TOTAL_PARTS)).alias("total")
        known = pairs.where(is_evidence()).groupBy("interest_id").agg(total).where("total > 0")
        interests = known.orderBy(F.desc("total"), "interest_id").limit(MAX_INTERESTS).collect()
    if had is not None:
        used = had.groupBy("item_id").agg(F.count(F.lit(1)).alias("n_users")).where(F.col("n_users") >= min_item_users)
        items = used.orderBy(F.desc("n_users"), "item_id").limit(MAX_ITEMS).collect()
    return Vocabulary(
        tuple(row["interest_id"] for row in interests),
        tuple(row["total"] / TOTAL_PARTS for row in interests),
        tuple(row["item_id"] for row in items),
        tuple(row["n_users"] for row in items),
    )


def build_profiles(
    pairs: DataFrame, had: DataFrame | None, texts: DataFrame | None, interests: Mapping[str, int], items: Sequence[str]
) -> DataFrame:
    """Put every user of pairs into one row.

    pairs:     (user_id, interest_id, evidence, n_days, ...)
    had:       (user_id, item_id), each once; None without the blocks items and text
    texts:     (item_id, vector array<float>) of items; None without the block text
    interests: column of every known interest; several ids may share one
    items:     ids in the order of their columns
    Returns:   (user_id, n_events double, interests array<struct<column int, evidence double>>, items array<int>,
               text array<double>, n_texts double), arrays in the order of columns; n_events counts the user's days of all
               interests, text is the sum over n_texts items and null without any
    """
    spark = pairs.sparkSession
    columns = F.broadcast(spark.createDataFrame(list(interests.items()), "interest_id string, column int"))
    by_column = (
        pairs.withColumn("evidence", F.when(is_evidence(), F.col("evidence")).otherwise(F.lit(0.0)))
        .join(columns, "interest_id", "left")
        .groupBy("user_id", "column")
        .agg(F.sum("evidence").alias("evidence"), F.sum("n_days").alias("n_days"))
    )
    # A user has one entry for each column at most, so that what is gathered is bounded by the vocabulary.
    entry = F.when(F.col("column").isNotNull() & (F.col("evidence") > 0), F.struct("column", "evidence"))
    rows = by_column.groupBy("user_id").agg(
        F.sum("n_days").cast("double").alias("n_events"), F.array_sort(F.collect_list(entry)).alias("interests")
    )
    nothing = {"items": F.array().cast("array<int>"), "text": F.lit(None).cast("array<double>"), "n_texts": F.lit(0.0)}
    if had is not None and items:
        known = F.broadcast(spark.createDataFrame(list(zip(items, range(len(items)), strict=True)), "item_id string, column int"))
        of_users = had.join(known, "item_id").groupBy("user_id").agg(F.array_sort(F.collect_list("column")).alias("items"))
        rows = rows.join(of_users, "user_id", "left").withColumn("items", F.coalesce("items", nothing.pop("items")))
    if had is not None and texts is not None:
        vectors = texts.select("item_id", to_vector(F.col("vector")).alias("features"))
        summed = had.join(vectors, "item_id").groupBy("user_id")
        of_users = summed.agg(Summarizer.sum(F.col("features")).alias("text"), F.count(F.lit(1)).cast("double").alias("n_texts"))
        of_users = of_users.withColumn("text", vector_to_array(F.col("text")))
        rows = rows.join(of_users, "user_id", "left").withColumn("n_texts", F.coalesce("n_texts", F.lit(0.0)))
        nothing = {name: value for name, value in nothing.items() if name == "items"}
    return rows.withColumns(nothing).select("user_id", "n_events", "interests", "items", "text", "n_texts")
