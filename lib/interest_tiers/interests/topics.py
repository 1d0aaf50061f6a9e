"""Find topics: interests made by clustering the texts of the items, for catalogues without categories.

Only texts of items touched before the cutoff decide what the topics are. Every other text, also a later one, gets the
topic with the nearest centre by cosine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyspark.ml.clustering import KMeansModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.clustering.kmeans import fit_best, order_by_size, order_points, scale_to_unit_length, to_vector
from interest_tiers.config import Interests
from interest_tiers.spark.sampling import sample_by_hash

#: Fits with different first centres; the one with the smallest sum of distances counts.
STARTS = 3


@dataclass(frozen=True)
class Topics:
    """Hold fitted topics.

    model:    None where there was no text
    places:   for each centre of the model, its position among the topics
    n_texts:  distinct texts touched before the cutoff
    n_fitted: texts of these that were fitted
    """

    model: KMeansModel | None
    places: tuple[int, ...]
    n_texts: int
    n_fitted: int

    @property
    def ids(self) -> list[str]:
        """Name the topics, the one with the most texts first; ids have no meaning beyond one cutoff."""
        return [f"topic:{number:04d}" for number in range(1, len(self.places) + 1)]

    @property
    def centres(self) -> np.ndarray:
        """Return the centres, float32 (topics, width), each of L2 norm 1, in the order of ids."""
        if self.model is None:
            return np.empty((0, 0), dtype=np.float32)
        return scale_to_unit_length(np.array(self.model.clusterCenters())[np.argsort(self.places)])


def select_seen_texts(interactions: DataFrame, items: DataFrame, embeddings: DataFrame) -> DataFrame:
    """Select the distinct texts of items that users touched; a vector of zeros is left out.

    interactions: (item_id, ...), all before the cutoff
    items:        (item_id, text_hash, ...)
    embeddings:   (text_hash, embedding array<float>) of one model
    Returns:      (text_hash, embedding)
    """
    touched = interactions.select("item_id").distinct()
    hashes = items.where(F.col("text_hash").isNotNull()).join(touched, "item_id", "left_semi").select("text_hash").distinct()
    return _with_direction(embeddings).join(hashes, "text_hash", "left_semi").select("text_hash", "embedding")


def fit_topics(texts: DataFrame, config: Interests) -> Topics:
    """Cluster texts by MLlib's KMeans on cosine distance, the same for any order and partitioning of the rows.

    Above max_fit_texts, the texts with the smallest hashes are fitted. Topics are ordered by their number of texts,
    ties by centre. Fewer distinct texts than topics give fewer topics, and no text gives none.

    texts: (text_hash, embedding), see select_seen_texts
    """
    n_texts = texts.count()
    drawn = sample_by_hash(texts, "text_hash", config.max_fit_texts, n_texts)
    points = order_points(drawn, "text_hash", "embedding", min(n_texts, config.max_fit_texts)).cache()
    try:
        n_fitted = points.count()
        if n_fitted == 0:
            return Topics(None, (), n_texts, 0)
        model = fit_best(points, config.topics, config.seed, STARTS)
        order = order_by_size(np.array(model.clusterCenters()), model.summary.clusterSizes)
    finally:
        points.unpersist()
    return Topics(model, tuple(int(place) for place in np.argsort(order)), n_texts, n_fitted)


def assign_topics(topics: Topics, items: DataFrame, embeddings: DataFrame) -> DataFrame:
    """Assign the nearest topic to every item with a text; a text without a vector, or with one of zeros, has none.

    items:      (item_id, text_hash, ...)
    embeddings: (text_hash, embedding array<float>) of one model
    Returns:    (item_id, interest_id)
    """
    if topics.model is None:
        return items.where(F.lit(False)).select("item_id", F.lit("").alias("interest_id"))
    # Items share texts, so each distinct text is placed once.
    hashes = items.where(F.col("text_hash").isNotNull()).select("text_hash").distinct()
    points = _with_direction(embeddings).join(hashes, "text_hash", "left_semi")
    placed = topics.model.transform(points.select("text_hash", to_vector(F.col("embedding")).alias("features")))
    ids = F.array(*[F.lit(topics.ids[place]) for place in topics.places])
    of_texts = placed.select("text_hash", ids[F.col("prediction")].alias("interest_id"))
    return items.select("item_id", "text_hash").join(of_texts, "text_hash").select("item_id", "interest_id")


def build_topic_vectors(topics: Topics, like: DataFrame) -> DataFrame:
    """Build rows from the centres.

    like:    any frame of the session to build in
    Returns: (interest_id, embedding array<float>), L2 norm 1
    """
    rows = [(name, [float(x) for x in centre]) for name, centre in zip(topics.ids, topics.centres, strict=True)]
    return like.sparkSession.createDataFrame(rows, "interest_id string, embedding array<float>")


def _with_direction(embeddings: DataFrame) -> DataFrame:
    """Leave out vectors of zeros, which have no cosine."""
    return embeddings.where(F.exists("embedding", lambda x: x != 0))
