"""Texts to vectors on Spark: each distinct text once per model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Embedding
from interest_tiers.embedding.backends import worker_encoder
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.embedding.precision import decide_precision
from interest_tiers.spark.worker import task_resources

#: A task that embeds more texts than this would be long to repeat when a worker is lost.
TEXTS_PER_TASK = 20_000

EMBEDDED = "text_hash string, embedding array<float>, is_cut boolean"


def pending_texts(texts: DataFrame, embedded: DataFrame | None, model_id: str) -> DataFrame:
    """Distinct texts without a vector of this model: text_hash, text.

    texts: text_hash, text. embedded: text_hash, model_id, or None when nothing was ever embedded.
    """
    distinct = texts.where(F.col("text").isNotNull()).groupBy("text_hash").agg(F.min("text").alias("text"))
    if embedded is None:
        return distinct
    done = embedded.where(F.col("model_id") == model_id).select("text_hash")
    return distinct.join(done, "text_hash", "left_anti")


def unused_vectors(embedded: DataFrame, texts: DataFrame, model_id: str | None) -> DataFrame:
    """Which vectors nothing refers to: text_hash, model_id.

    embedded: text_hash, model_id. texts: text_hash, those in use. model_id: the vectors of other models are unused too; None: those of any
    model may be used.
    """
    keys = embedded.select("text_hash", "model_id")
    used = texts.where(F.col("text_hash").isNotNull()).select("text_hash").distinct()
    of_gone_texts = keys.join(used, "text_hash", "left_anti")
    if model_id is None:
        return of_gone_texts
    is_other = F.col("model_id") != model_id
    return of_gone_texts.where(~is_other).unionByName(keys.where(is_other))


def waves(texts: DataFrame, n_texts: int, parallelism: int) -> Iterator[DataFrame]:
    """The texts in parts, each as many as the tasks that run at once can take; by hash, so that they are the same when read again.

    texts: text_hash, …. Each part is a unit of work that can be stored before the next begins.
    """
    n_waves = math.ceil(n_texts / (parallelism * TEXTS_PER_TASK))
    for wave in range(n_waves):
        yield texts if n_waves == 1 else texts.where(F.pmod(F.xxhash64("text_hash"), F.lit(n_waves)) == wave)


def embed_texts(texts: DataFrame, config: Embedding, n_tasks: int) -> DataFrame:
    """Embed texts.

    texts: text_hash, text; n_tasks: they are spread over so many tasks.
    Returns text_hash, embedding array<float> (L2 norm 1), is_cut (longer than config.max_tokens).
    """

    config = decide_precision(config, texts.sparkSession)
    spread = texts.repartition(n_tasks, "text_hash")
    if config.backend == "sparknlp":
        from interest_tiers.embedding.spark_nlp import embed_by_spark_nlp

        return embed_by_spark_nlp(spread.sortWithinPartitions(F.length("text"), "text_hash"), config)

    # Part of the workers' cache key: another model may be put at the same path later.
    fingerprint = read_model_folder(config.model).fingerprint

    # By Arrow because the model is Python and a vector a row of a matrix: pandas would take it apart into numbers.
    def embed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        device, threads = task_resources()
        encoder = worker_encoder(config, device, threads, fingerprint)
        for batch in batches:
            result = encoder.encode(batch.column("text").to_pylist(), config.batch_tokens)
            columns = {"text_hash": batch.column("text_hash"), "embedding": _arrays(result.vectors), "is_cut": pa.array(result.is_cut)}
            yield pa.RecordBatch.from_pydict(columns)

    # In an order of their own, so that the same texts meet in a batch again: with another neighbour a vector is rounded otherwise.
    return spread.sortWithinPartitions("text_hash").select("text_hash", "text").mapInArrow(embed, EMBEDDED)


def _arrays(rows: np.ndarray) -> pa.ListArray:
    """The rows of a matrix; nothing is copied."""
    n_rows, width = rows.shape
    return pa.ListArray.from_arrays(pa.array(np.arange(n_rows + 1, dtype=np.int32) * width), pa.array(rows.ravel()))
