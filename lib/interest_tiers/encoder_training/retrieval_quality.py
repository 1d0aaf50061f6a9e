"""Measures how well a model retrieves the other texts of a basket: recall among the texts nearest to one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

#: Nearest texts per query, the k of recall at k.
NEAREST = 100

#: Vectors in one product with the queries; bounds the memory of a task.
BLOCK = 2048

#: Score of a text with itself. Below every cosine, so that a query never retrieves itself.
NO_SCORE = -2.0


def judged_baskets(baskets: DataFrame, candidates: DataFrame) -> DataFrame:
    """Keep the candidate texts of each basket, and only baskets with two or more of them.

    baskets:    (user_id, basket bigint, text_hash)
    candidates: (text_hash)
    Returns:    (user_id, basket bigint, text_hash), one row per text of a basket
    """
    known = baskets.join(candidates.select("text_hash"), "text_hash", "left_semi")
    n_texts = F.count(F.lit(1)).over(Window.partitionBy("user_id", "basket"))
    return known.withColumn("n_texts", n_texts).where("n_texts >= 2").select("user_id", "basket", "text_hash")


def sought(queries: DataFrame, baskets: DataFrame) -> DataFrame:
    """Pair each query with its ground truth: every other text of its basket.

    queries: (basket bigint, text_hash)
    baskets: (user_id, basket bigint, text_hash), from judged_baskets
    Returns: (basket bigint, query_hash, text_hash), one row per text to retrieve
    """
    by_hash = queries.select("basket", F.col("text_hash").alias("query_hash"))
    return by_hash.join(baskets.select("basket", "text_hash"), "basket").where("query_hash <> text_hash")


def nearest_texts(vectors: DataFrame, query_hashes: DataFrame, n_tasks: int) -> DataFrame:
    """Find the NEAREST texts by cosine to each query text, exactly; the query itself is left out.

    vectors:      (text_hash, embedding array<float> of L2 norm 1)
    query_hashes: (text_hash), one row per query text
    Returns:      (query_hash, text_hash), at most NEAREST rows per query

    The vectors of the queries must fit the driver and every task; fine_tuning.max_queries bounds their number.
    A task compares BLOCK texts at a time and holds NEAREST per query.
    """
    rows = vectors.join(query_hashes, "text_hash", "left_semi").orderBy("text_hash").collect()
    names = pd.Index([row["text_hash"] for row in rows])
    queries = np.array([row["embedding"] for row in rows], dtype=np.float32)

    # A pandas function because numpy multiplies matrices; over an iterator because a task keeps the best of all its batches.
    def best_of_task(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        scores = np.zeros((len(names), 0), dtype=np.float32)
        texts = np.zeros((len(names), 0), dtype=object)
        for batch in batches:
            for start in range(0, len(batch), BLOCK):
                block = batch.iloc[start : start + BLOCK]
                there = block["text_hash"].to_numpy()
                found = queries @ np.stack(block["embedding"].tolist()).astype(np.float32).T
                own = names.get_indexer(there)
                found[own[own >= 0], np.flatnonzero(own >= 0)] = NO_SCORE
                scores, texts = _best(np.hstack([scores, found]), np.hstack([texts, np.broadcast_to(there, found.shape)]))
        if texts.shape[1]:
            yield pd.DataFrame({"query_hash": names, "texts": list(texts), "scores": list(scores)})

    spread = vectors.select("text_hash", "embedding").repartition(n_tasks, "text_hash").sortWithinPartitions("text_hash")
    of_tasks = spread.mapInPandas(best_of_task, "query_hash string, texts array<string>, scores array<float>")
    listed = of_tasks.select("query_hash", F.explode(F.arrays_zip("texts", "scores")).alias("found"))
    rank = F.row_number().over(Window.partitionBy("query_hash").orderBy(F.desc("found.scores"), "found.texts"))
    ranked = listed.where(F.col("found.scores") > NO_SCORE).withColumn("rank", rank)
    return ranked.where(F.col("rank") <= NEAREST).select("query_hash", F.col("found.texts").alias("text_hash"))


def popular_texts(baskets: DataFrame, candidates: DataFrame, query_hashes: DataFrame) -> DataFrame:
    """Retrieve the NEAREST most frequent texts for each query: the popularity baseline.

    baskets:      (user_id, basket bigint, text_hash); a text counts once per basket
    candidates:   (text_hash)
    query_hashes: (text_hash), one row per query text
    Returns:      (query_hash, text_hash), at most NEAREST rows per query
    """
    counted = baskets.join(candidates.select("text_hash"), "text_hash", "left_semi").groupBy("text_hash").count()
    popular = counted.orderBy(F.desc("count"), "text_hash").limit(NEAREST + 1)
    offered = query_hashes.select(F.col("text_hash").alias("query_hash")).crossJoin(F.broadcast(popular)).where("query_hash <> text_hash")
    rank = F.row_number().over(Window.partitionBy("query_hash").orderBy(F.desc("count"), "text_hash"))
    return offered.withColumn("rank", rank).where(F.col("rank") <= NEAREST).select("query_hash", "text_hash")


def recall(sought: DataFrame, nearest: DataFrame) -> float:
    """Compute the mean recall over the queries: the share of a query's texts that are among the nearest.

    sought:  (basket bigint, query_hash, text_hash), the ground truth
    nearest: (query_hash, text_hash), the retrieved texts
    """
    found = sought.join(nearest.withColumn("is_found", F.lit(1.0)), ["query_hash", "text_hash"], "left")
    of_query = found.groupBy("basket", "query_hash").agg(F.avg(F.coalesce("is_found", F.lit(0.0))).alias("recall"))
    mean = of_query.agg(F.avg("recall").alias("recall")).first()
    assert mean is not None  # an aggregate without keys has one row
    return float(mean["recall"])


def _best(scores: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the NEAREST columns with the highest scores of each row, unsorted."""
    if scores.shape[1] <= NEAREST:
        return scores, texts
    kept = np.argpartition(-scores, NEAREST - 1, axis=1)[:, :NEAREST]
    return np.take_along_axis(scores, kept, axis=1), np.take_along_axis(texts, kept, axis=1)
