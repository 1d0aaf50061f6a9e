"""Build the catalogue of interests that users touched before the cutoff.

An interest is an item category, a category of one level of a hierarchy, or a topic.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.ml.functions import vector_to_array
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.clustering.kmeans import add_unit_length, to_vector
from interest_tiers.interests.evidence import category_interest
from interest_tiers.interests.hierarchy import own_name, parent
from interest_tiers.text import add_terms

TOP_TERMS = 8
NAMING_TERMS = 3


def build_category_catalogue(days_of_items: DataFrame, items: DataFrame, vectors: DataFrame, languages: Sequence[str]) -> DataFrame:
    """Build the catalogue of categories, described by the items that users touched.

    days_of_items: (user_id, level, interest_id, item_id, ...), see evidence.item_days
    items:         (item_id, text, text_hash, category)
    vectors:       (interest_id, embedding array<float>)
    languages:     their stop words are left out of the terms
    Returns:       the columns of interests but as_of
    """
    described = _describe(days_of_items, items, vectors, languages)
    names = items.where(F.col("category").isNotNull()).select("category").distinct()
    named = names.select(category_interest(F.col("category")).alias("interest_id"), F.col("category").alias("name"))
    return _select_columns(described.join(named, "interest_id"), "category")


def build_hierarchy_catalogue(days_of_items: DataFrame, items: DataFrame, vectors: DataFrame, languages: Sequence[str]) -> DataFrame:
    """Build the catalogue of the categories of every level; see build_category_catalogue.

    days_of_items: of every level, see hierarchy.at_every_level
    """
    described = _describe(days_of_items, items, vectors, languages).withColumn("name", own_name(F.col("interest_id")))
    return _select_columns(described, "category", parent(F.col("interest_id")))


def build_topic_catalogue(days_of_items: DataFrame, items: DataFrame, vectors: DataFrame, languages: Sequence[str]) -> DataFrame:
    """Build the catalogue of topics, named by their most characteristic words; see build_category_catalogue.

    Topics with the same words are numbered. A topic without words is named by its id.
    """
    described = _describe(days_of_items, items, vectors, languages)
    words = F.array_join(F.slice("top_terms", 1, NAMING_TERMS), " · ")
    named = described.withColumn("words", F.when(F.size("top_terms") > 0, words).otherwise(F.col("interest_id")))
    place = F.row_number().over(Window.partitionBy("words").orderBy("interest_id"))
    # No word holds a bracket, so no other name can look like this one.
    name = F.when(F.col("place") == 1, F.col("words")).otherwise(F.concat("words", F.lit(" ("), "place", F.lit(")")))
    return _select_columns(named.withColumn("place", place).withColumn("name", name), "topic")


def _describe(days_of_items: DataFrame, items: DataFrame, vectors: DataFrame, languages: Sequence[str]) -> DataFrame:
    counts = days_of_items.groupBy("interest_id", "level").agg(
        F.countDistinct("item_id").alias("n_items"), F.countDistinct("user_id").alias("n_users")
    )
    terms = find_characteristic_terms(select_touched_texts(days_of_items, items), languages)
    described = counts.join(vectors, "interest_id", "left").join(terms, "interest_id", "left")
    return described.withColumn("top_terms", F.coalesce("top_terms", F.array().cast("array<string>")))


def _select_columns(named: DataFrame, kind: str, parent_id: Column | None = None) -> DataFrame:
    parent_id = F.lit(None).cast("string") if parent_id is None else parent_id
    described = named.withColumns({"kind": F.lit(kind), "parent_id": parent_id})
    return described.select("interest_id", "name", "kind", "embedding", "n_items", "n_users", "top_terms", "level", "parent_id")


def select_touched_texts(days_of_items: DataFrame, items: DataFrame, keys: Sequence[str] = ("interest_id", "level")) -> DataFrame:
    """Select the texts of the items that users touched.

    days_of_items: (level, interest_id, item_id, ...), see evidence.item_days
    items:         (item_id, text, text_hash, ...)
    keys:          the columns that name an interest; with rows of several cutoffs also the cutoff
    Returns:       (keys, text_hash, text, n_items bigint), n_items of the interest with this text
    """
    touched = days_of_items.select(*keys, "item_id").distinct()
    described = items.where(F.col("text").isNotNull()).select("item_id", "text_hash", "text")
    return touched.join(described, "item_id").groupBy(*keys, "text_hash", "text").agg(F.count(F.lit(1)).alias("n_items"))


def average_embeddings(texts: DataFrame, embeddings: DataFrame, keys: Sequence[str] = ("interest_id",)) -> DataFrame:
    """Average the embeddings of an interest's items; the mean has L2 norm 1, or is null where it has no direction.

    texts:      (keys, text_hash, n_items, ...), see select_touched_texts
    embeddings: (text_hash, embedding array<float>)
    keys:       the columns that name an interest; with rows of several cutoffs also the cutoff
    Returns:    (keys, embedding array<float>)
    """
    # Items share texts, so the mean goes over texts, each weighted by its items: far fewer rows, the same mean.
    weighted = texts.join(embeddings, "text_hash").withColumn("vector", to_vector(F.col("embedding")))
    mean = weighted.groupBy(*keys).agg(Summarizer.mean(F.col("vector"), F.col("n_items").cast("double")).alias("mean"))
    scaled = add_unit_length(mean.withColumn("mean", vector_to_array(F.col("mean"))), "mean")
    return scaled.select(*keys, F.col("mean").cast("array<float>").alias("embedding"))


def find_characteristic_terms(texts: DataFrame, languages: Sequence[str]) -> DataFrame:
    """Find the words that set an interest apart from the others of its level.

    A word scores tf * ln((N + 1) / df) (Salton and Buckley 1988). tf is the share of the interest's items whose text
    has the word, N the number of interests of the level, df the number of those with the word.

    texts:   (interest_id, level, text_hash, text, n_items), see select_touched_texts; words are those of text.add_terms
    Returns: (interest_id, top_terms array<string>), at most TOP_TERMS
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
