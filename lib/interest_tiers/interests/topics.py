"""Topics: interests found by clustering the texts of the items, for catalogues without categories.

Only texts of items that somebody touched before the day decide what the topics are; every other text, a later one
among them, belongs to the topic whose centre is nearest by cosine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyspark.ml.clustering import KMeansModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.clustering.kmeans import best_fit, by_size, features, in_fixed_order, unit_length
from interest_tiers.config import Interests
from interest_tiers.spark.sampling import sample_by_hash

#: Fits with different first centres; the one with the smallest sum of distances counts.
STARTS = 3


@dataclass(frozen=True)
class Topics:
    """model: None where there was no text. places: for each centre of the model, its place among the topics.

    n_texts: distinct texts touched before the day. n_fitted: those that decided what the topics are.
    """

    model: KMeansModel | None
    places: tuple[int, ...]
    n_texts: int
    n_fitted: int

    @property
    def ids(self) -> list[str]:
        """Ids of the topics, the topic of the most texts first; they mean nothing beyond one as_of."""
        return [f"topic:{number:04d}" for number in range(1, len(self.places) + 1)]

    @property
    def centres(self) -> np.ndarray:
        """float32 (topics, width), each of L2 norm 1, in the order of ids."""
        if self.model is None:
            return np.empty((0, 0), dtype=np.float32)
        return unit_length(np.array(self.model.clusterCenters())[np.argsort(self.places)])


def seen_texts(interactions: DataFrame, items: DataFrame, embeddings: DataFrame) -> DataFrame:
    """The distinct texts of the items that somebody touched: text_hash, embedding; texts without a direction are left out.

    interactions: item_id, …, all before the day. items: item_id, text_hash. embeddings: text_hash, embedding, of one model.
    """
    touched = interactions.select("item_id").distinct()
    hashes = items.where(F.col("text_hash").isNotNull()).join(touched, "item_id", "left_semi").select("text_hash").distinct()
    return _with_direction(embeddings).join(hashes, "text_hash", "left_semi").select("text_hash", "embedding")


def fit_topics(texts: DataFrame, config: Interests) -> Topics:
    """Cluster texts by MLlib's KMeans on cosine distance, the same for any order and partitioning of the rows.

    texts: see seen_texts. Above max_fit_texts, those with the smallest hashes decide, the same ones every time.
    Topics are ordered by the number of texts, ties by their centres. Fewer than asked for come out where fewer texts
    differ, and none where there is no text.
    """
    n_texts = texts.count()
    drawn = sample_by_hash(texts, "text_hash", config.max_fit_texts, n_texts)
    points = in_fixed_order(drawn, "text_hash", "embedding", min(n_texts, config.max_fit_texts)).cache()
    try:
        n_fitted = points.count()
        if n_fitted == 0:
            return Topics(None, (), n_texts, 0)
        model = best_fit(points, config.topics, config.seed, STARTS)
        order = by_size(np.array(model.clusterCenters()), model.summary.clusterSizes)
    finally:
        points.unpersist()
    return Topics(model, tuple(int(place) for place in np.argsort(order)), n_texts, n_fitted)


def topics_of_items(topics: Topics, items: DataFrame, embeddings: DataFrame) -> DataFrame:
    """The nearest topic of every item that has a text: item_id, interest_id.

    items: item_id, text_hash. embeddings: text_hash, embedding, of one model. Items without a text, or whose text has
    no vector or no direction, have no topic.
    """
    if topics.model is None:
        return items.where(F.lit(False)).select("item_id", F.lit("").alias("interest_id"))
    # Items share texts, so each distinct text is placed once.
    hashes = items.where(F.col("text_hash").isNotNull()).select("text_hash").distinct()
    points = _with_direction(embeddings).join(hashes, "text_hash", "left_semi")
    placed = topics.model.transform(points.select("text_hash", features(F.col("embedding")).alias("features")))
    ids = F.array(*[F.lit(topics.ids[place]) for place in topics.places])
    of_texts = placed.select("text_hash", ids[F.col("prediction")].alias("interest_id"))
    return items.select("item_id", "text_hash").join(of_texts, "text_hash").select("item_id", "interest_id")


def topic_vectors(topics: Topics, like: DataFrame) -> DataFrame:
    """The centres as rows: interest_id, embedding array<float> of L2 norm 1. like: any frame of the session to make them in."""
    rows = [(name, [float(x) for x in centre]) for name, centre in zip(topics.ids, topics.centres, strict=True)]
    return like.sparkSession.createDataFrame(rows, "interest_id string, embedding array<float>")


def _with_direction(embeddings: DataFrame) -> DataFrame:
    """A vector of zeros has no cosine with any other."""
    return embeddings.where(F.exists("embedding", lambda x: x != 0))
