"""How well a model finds the other texts of a basket: recall among the texts nearest to one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

#: Among so many nearest texts the others of the basket are sought.
NEAREST = 100

#: So many vectors are compared with the queries at once.
BLOCK = 2048

#: Of a text with itself, below every cosine.
NO_SCORE = -2.0


def judged_baskets(baskets: DataFrame, candidates: DataFrame) -> DataFrame:
    """The texts of each basket that are candidates, where there are two or more: user_id, basket, text_hash.

    baskets: user_id, basket, text_hash. candidates: text_hash.
    """
    known = baskets.join(candidates.select("text_hash"), "text_hash", "left_semi")
    n_texts = F.count(F.lit(1)).over(Window.partitionBy("user_id", "basket"))
    return known.withColumn("n_texts", n_texts).where("n_texts >= 2").select("user_id", "basket", "text_hash")


def sought(queries: DataFrame, baskets: DataFrame) -> DataFrame:
    """What each query is to find: basket, query_hash, text_hash, for every other text of its basket.

    queries: basket, text_hash. baskets: see judged_baskets.
    """
    asked = queries.select("basket", F.col("text_hash").alias("query_hash"))
    return asked.join(baskets.select("basket", "text_hash"), "basket").where("query_hash <> text_hash")


def nearest_texts(vectors: DataFrame, query_hashes: DataFrame, n_tasks: int) -> DataFrame:
    """The NEAREST texts by cosine to each query text, the query itself left out: query_hash, text_hash. Exact.

    vectors: text_hash, embedding of L2 norm 1. query_hashes: text_hash, each once; so few that their vectors fit the driver
    and every task (fine_tuning.max_queries). A task compares BLOCK texts at a time and holds NEAREST per query.
    """
    asked = vectors.join(query_hashes, "text_hash", "left_semi").orderBy("text_hash").collect()
    names = pd.Index([row["text_hash"] for row in asked])
    queries = np.array([row["embedding"] for row in asked], dtype=np.float32)

    # A pandas function over an iterator because products of matrices are numpy's, and a task keeps the best of all its batches.
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
    """The NEAREST texts of a model that knows no more than how many baskets had each: query_hash, text_hash; see nearest_texts."""
    counted = baskets.join(candidates.select("text_hash"), "text_hash", "left_semi").groupBy("text_hash").count()
    popular = counted.orderBy(F.desc("count"), "text_hash").limit(NEAREST + 1)
    offered = query_hashes.select(F.col("text_hash").alias("query_hash")).crossJoin(F.broadcast(popular)).where("query_hash <> text_hash")
    rank = F.row_number().over(Window.partitionBy("query_hash").orderBy(F.desc("count"), "text_hash"))
    return offered.withColumn("rank", rank).where(F.col("rank") <= NEAREST).select("query_hash", "text_hash")


def recall(sought: DataFrame, nearest: DataFrame) -> float:
    """Mean over the queries of the share of the sought texts that are among the nearest.

    sought: basket, query_hash, text_hash. nearest: query_hash, text_hash.
    """
    found = sought.join(nearest.withColumn("is_found", F.lit(1.0)), ["query_hash", "text_hash"], "left")
    of_query = found.groupBy("basket", "query_hash").agg(F.avg(F.coalesce("is_found", F.lit(0.0))).alias("recall"))
    mean = of_query.agg(F.avg("recall").alias("recall")).first()
    assert mean is not None  # an aggregate without keys has one row
    return float(mean["recall"])


def _best(scores: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The NEAREST columns of each row with the highest scores, in no order."""
    if scores.shape[1] <= NEAREST:
        return scores, texts
    kept = np.argpartition(-scores, NEAREST - 1, axis=1)[:, :NEAREST]
    return np.take_along_axis(scores, kept, axis=1), np.take_along_axis(texts, kept, axis=1)
