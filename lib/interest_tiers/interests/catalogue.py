"""The catalogue of interests: one per item category, per category of every level, or per topic, that anybody touched before the day."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.ml.functions import vector_to_array
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.clustering.kmeans import features
from interest_tiers.interests.evidence import category_interest
from interest_tiers.interests.hierarchy import own_name, parent
from interest_tiers.text import add_terms

TOP_TERMS = 8
NAMING_TERMS = 3


def category_catalogue(days_of_items: DataFrame, items: DataFrame, vectors: DataFrame, languages: Sequence[str]) -> DataFrame:
    """The categories with evidence, described by the items that users touched, and named as given.

    days_of_items: see evidence.item_days. items: item_id, text, text_hash, category. vectors: interest_id, embedding.
    languages: those whose stop words are no terms.
    Returns the columns of the table interests but as_of.
    """
    described = _described(days_of_items, items, vectors, languages)
    names = items.where(F.col("category").isNotNull()).select("category").distinct()
    named = names.select(category_interest(F.col("category")).alias("interest_id"), F.col("category").alias("name"))
    return _as_catalogue(described.join(named, "interest_id"), "category")


def hierarchy_catalogue(days_of_items: DataFrame, items: DataFrame, vectors: DataFrame, languages: Sequence[str]) -> DataFrame:
    """The categories of every level with evidence, described by the items that users touched, and named as given.

    days_of_items: see hierarchy.at_every_level. The other arguments and the columns as in category_catalogue.
    """
    described = _described(days_of_items, items, vectors, languages).withColumn("name", own_name(F.col("interest_id")))
    return _as_catalogue(described, "category", parent(F.col("interest_id")))


def topic_catalogue(days_of_items: DataFrame, items: DataFrame, vectors: DataFrame, languages: Sequence[str]) -> DataFrame:
    """The topics with evidence, described by the items that users touched, and named by their most characteristic words.

    A topic whose name another one has already is told apart by a number, and one without words is named by its id.
    Arguments and columns as in category_catalogue.
    """
    described = _described(days_of_items, items, vectors, languages)
    words = F.array_join(F.slice("top_terms", 1, NAMING_TERMS), " · ")
    named = described.withColumn("words", F.when(F.size("top_terms") > 0, words).otherwise(F.col("interest_id")))
    place = F.row_number().over(Window.partitionBy("words").orderBy("interest_id"))
    # No word holds a bracket, so no other name can look like this one.
    name = F.when(F.col("place") == 1, F.col("words")).otherwise(F.concat("words", F.lit(" ("), "place", F.lit(")")))
    return _as_catalogue(named.withColumn("place", place).withColumn("name", name), "topic")


def _described(days_of_items: DataFrame, items: DataFrame, vectors: DataFrame, languages: Sequence[str]) -> DataFrame:
    counts = days_of_items.groupBy("interest_id", "level").agg(
        F.countDistinct("item_id").alias("n_items"), F.countDistinct("user_id").alias("n_users")
    )
    terms = characteristic_terms(touched_texts(days_of_items, items), languages)
    described = counts.join(vectors, "interest_id", "left").join(terms, "interest_id", "left")
    return described.withColumn("top_terms", F.coalesce("top_terms", F.array().cast("array<string>")))


def _as_catalogue(named: DataFrame, kind: str, parent_id: Column | None = None) -> DataFrame:
    parent_id = F.lit(None).cast("string") if parent_id is None else parent_id
    described = named.withColumns({"kind": F.lit(kind), "parent_id": parent_id})
    return described.select("interest_id", "name", "kind", "embedding", "n_items", "n_users", "top_terms", "level", "parent_id")


def touched_texts(days_of_items: DataFrame, items: DataFrame) -> DataFrame:
    """The texts of the items touched: interest_id, text_hash, text, n_items (items of the interest with this text).

    Also level.
    """
    keys = ["interest_id", "level"]
    touched = days_of_items.select(*keys, "item_id").distinct()
    described = items.where(F.col("text").isNotNull()).select("item_id", "text_hash", "text")
    return touched.join(described, "item_id").groupBy(*keys, "text_hash", "text").agg(F.count(F.lit(1)).alias("n_items"))


def mean_embeddings(texts: DataFrame, embeddings: DataFrame) -> DataFrame:
    """Mean of the items' vectors, L2 norm 1: interest_id, embedding. texts: see touched_texts."""
    # Items share texts, so the mean goes over texts, each weighted by its items: far fewer rows, the same mean.
    weighted = texts.join(embeddings, "text_hash").withColumn("vector", features(F.col("embedding")))
    mean = weighted.groupBy("interest_id").agg(Summarizer.mean(F.col("vector"), F.col("n_items").cast("double")).alias("mean"))
    return mean.select("interest_id", _unit_length(vector_to_array(F.col("mean"))).cast("array<float>").alias("embedding"))


def characteristic_terms(texts: DataFrame, languages: Sequence[str]) -> DataFrame:
    """The words that set an interest apart: interest_id, top_terms (at most TOP_TERMS).

    texts: see touched_texts. Words are those of text.add_terms.
    A word scores tf * ln((N + 1) / df): tf the share of the interest's items whose text has it, N the number of
    interests, df those in which it occurs (Salton and Buckley 1988); where there are levels, N and df are those of the level.
    """
    size = texts.groupBy("interest_id", "level").agg(F.sum("n_items").alias("size"))
    terms = F.explode(F.array_distinct("terms")).alias("term")
    words = add_terms(texts, languages).select("interest_id", "level", "n_items", terms)
    counts = words.groupBy("interest_id", "level", "term").agg(F.sum("n_items").alias("n"))
    spread = counts.groupBy("level", "term").agg(F.count(F.lit(1)).alias("df"))
    total = size.groupBy("level").agg(F.count(F.lit(1)).alias("n_interests"))
    scored = counts.join(size, ["interest_id", "level"]).join(spread, ["level", "term"])
    scored = scored.join(F.broadcast(total), "level")
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
