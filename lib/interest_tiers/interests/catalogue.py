"""The catalogue of interests: one per item category that anybody touched before the day."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.evidence import category_interest
from interest_tiers.text import tokens

TOP_TERMS = 8


def interest_catalogue(days_of_items: DataFrame, items: DataFrame, embeddings: DataFrame, stop_words: Sequence[str]) -> DataFrame:
    """The interests with evidence, described by the items that users touched.

    days_of_items: see evidence.item_days. items: item_id, text, text_hash, category. embeddings: text_hash,
    embedding, of one model.
    Returns the columns of the table interests but as_of.
    """
    counts = days_of_items.groupBy("interest_id").agg(
        F.countDistinct("item_id").alias("n_items"), F.countDistinct("user_id").alias("n_users")
    )
    texts = touched_texts(days_of_items, items)
    names = items.where(F.col("category").isNotNull()).select("category").distinct()
    named = names.select(category_interest(F.col("category")).alias("interest_id"), F.col("category").alias("name"))
    return (
        counts.join(named, "interest_id")
        .join(mean_embeddings(texts, embeddings), "interest_id", "left")
        .join(characteristic_terms(texts, stop_words), "interest_id", "left")
        .select(
            "interest_id",
            "name",
            F.lit("category").alias("kind"),
            "embedding",
            "n_items",
            "n_users",
            F.coalesce("top_terms", F.array().cast("array<string>")).alias("top_terms"),
        )
    )


def touched_texts(days_of_items: DataFrame, items: DataFrame) -> DataFrame:
    """The texts of the items touched: interest_id, text_hash, text, n_items (items of the interest with this text)."""
    touched = days_of_items.select("interest_id", "item_id").distinct()
    described = items.where(F.col("text").isNotNull()).select("item_id", "text_hash", "text")
    return touched.join(described, "item_id").groupBy("interest_id", "text_hash", "text").agg(F.count(F.lit(1)).alias("n_items"))


def mean_embeddings(texts: DataFrame, embeddings: DataFrame) -> DataFrame:
    """Mean of the items' vectors, L2 norm 1: interest_id, embedding. texts: see touched_texts."""
    # Items share texts, so the mean goes over texts, each weighted by its items: far fewer rows, the same mean.
    weighted = texts.join(embeddings, "text_hash").withColumn("vector", array_to_vector(F.col("embedding").cast("array<double>")))
    mean = weighted.groupBy("interest_id").agg(Summarizer.mean(F.col("vector"), F.col("n_items").cast("double")).alias("mean"))
    return mean.select("interest_id", _unit_length(vector_to_array(F.col("mean"))).cast("array<float>").alias("embedding"))


def characteristic_terms(texts: DataFrame, stop_words: Sequence[str]) -> DataFrame:
    """The words that set an interest apart: interest_id, top_terms (at most TOP_TERMS).

    A word scores tf * ln((N + 1) / df): tf the share of the interest's items whose text has it, N the number of
    interests, df those in which it occurs (Salton and Buckley 1988).
    """
    size = texts.groupBy("interest_id").agg(F.sum("n_items").alias("size"))
    words = texts.select("interest_id", "n_items", F.explode(F.array_distinct(tokens(F.col("text"), stop_words))).alias("term"))
    counts = words.groupBy("interest_id", "term").agg(F.sum("n_items").alias("n"))
    spread = counts.groupBy("term").agg(F.count(F.lit(1)).alias("df"))
    total = size.agg(F.count(F.lit(1)).alias("n_interests"))
    scored = counts.join(size, "interest_id").join(spread, "term").crossJoin(F.broadcast(total))
    # N + 1, so that a word found in the only interest there is still counts.
    scored = scored.withColumn("score", F.col("n") / F.col("size") * F.log((F.col("n_interests") + 1) / F.col("df")))
    best = Window.partitionBy("interest_id").orderBy(F.desc("score"), "term")
    top = scored.withColumn("place", F.row_number().over(best)).where(F.col("place") <= TOP_TERMS)
    return top.groupBy("interest_id").agg(
        F.expr("transform(array_sort(collect_list(struct(place, term))), x -> x.term)").alias("top_terms")
    )


def _unit_length(array: Column) -> Column:
    norm = F.sqrt(F.aggregate(array, F.lit(0.0), lambda total, x: total + x * x))
    return F.when(norm > 0, F.transform(array, lambda x: x / norm))
