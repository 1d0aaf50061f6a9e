"""Selects the texts to embed and embeds them on Spark, each distinct text once per model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Embedding
from interest_tiers.embedding.backends import worker_encoder
from interest_tiers.embedding.model_folder import fingerprint_encoder
from interest_tiers.embedding.precision import decide_precision
from interest_tiers.spark.worker import task_resources

#: Texts per task of a wave, on average. A lost task repeats its texts, a killed run those of one wave.
TEXTS_PER_TASK = 20_000

#: Counts of tokens that are stored with a vector; see encoder.TokenCounts.
COUNTS = ("n_tokens", "n_unknown", "n_single")

EMBEDDED = "text_hash string, embedding array<float>, is_cut boolean, n_tokens bigint, n_unknown bigint, n_single bigint"


def is_finite(vector: Column) -> Column:
    """Say whether a vector has neither NaN nor infinity, which would spoil every mean."""
    # NaN is larger than any other number to Spark.
    return (F.array_max(vector) < F.lit(math.inf)) & (F.array_min(vector) > F.lit(-math.inf))


def has_information() -> Column:
    """Say whether the model knows a token of the text; true for vectors of an earlier version, which have no counts.

    The vectors of all other texts are one and the same, so they say nothing of a text.
    """
    return F.coalesce(F.col("n_unknown") < F.col("n_tokens"), F.lit(True))


def select_pending_texts(texts: DataFrame, embedded: DataFrame | None, model_id: str) -> DataFrame:
    """Select the distinct texts without a vector of this model.

    texts:    (text_hash, text)
    embedded: (text_hash, model_id), or None before the first embedding
    Returns:  (text_hash, text), one row per text
    """
    distinct = texts.where(F.col("text").isNotNull()).groupBy("text_hash").agg(F.min("text").alias("text"))
    if embedded is None:
        return distinct
    done = embedded.where(F.col("model_id") == model_id).select("text_hash")
    return distinct.join(done, "text_hash", "left_anti")


def select_unused_vectors(embedded: DataFrame, texts: DataFrame, model_id: str | None) -> DataFrame:
    """Select the vectors whose text is no longer used.

    embedded: (text_hash, model_id)
    texts:    (text_hash), the texts in use
    model_id: vectors of other models count as unused; None keeps the vectors of every model
    Returns:  (text_hash, model_id), one row per unused vector
    """
    keys = embedded.select("text_hash", "model_id")
    used = texts.where(F.col("text_hash").isNotNull()).select("text_hash").distinct()
    of_gone_texts = keys.join(used, "text_hash", "left_anti")
    if model_id is None:
        return of_gone_texts
    is_other = F.col("model_id") != model_id
    return of_gone_texts.where(~is_other).unionByName(keys.where(is_other))


def split_into_waves(texts: DataFrame, n_texts: int, parallelism: int) -> Iterator[DataFrame]:
    """Split texts into waves of about TEXTS_PER_TASK texts per parallel task, so that each can be stored before the next.

    texts: (text_hash, ...). The split is by hash, so that a wave has the same texts when it is computed again.
    """
    n_waves = math.ceil(n_texts / (parallelism * TEXTS_PER_TASK))
    for wave in range(n_waves):
        yield texts if n_waves == 1 else texts.where(F.pmod(F.xxhash64("text_hash"), F.lit(n_waves)) == wave)


def embed_texts(texts: DataFrame, config: Embedding, n_tasks: int) -> DataFrame:
    """Embed texts on n_tasks tasks.

    texts:   (text_hash, text)
    Returns: (text_hash, embedding array<float> of L2 norm 1, is_cut boolean: longer than config.max_tokens,
             n_tokens, n_unknown, n_single bigint: see encoder.TokenCounts)
    """
    config = decide_precision(config, texts.sparkSession)
    spread = texts.repartition(n_tasks, "text_hash")
    if config.backend == "sparknlp":
        from interest_tiers.embedding.spark_nlp import embed_by_spark_nlp

        return embed_by_spark_nlp(spread.sortWithinPartitions(F.length("text"), "text_hash"), config)

    # Part of the workers' cache key: the model at this path can change while the workers live.
    fingerprint = fingerprint_encoder(config)

    # Arrow because the model is Python and its vectors are one matrix, which pandas would split into objects.
    def embed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        device, threads = task_resources()
        encoder = worker_encoder(config, device, threads, fingerprint)
        for batch in batches:
            result = encoder.encode(batch.column("text").to_pylist(), config.batch_tokens)
            columns = {"text_hash": batch.column("text_hash"), "embedding": _wrap_rows(result.vectors), "is_cut": pa.array(result.is_cut)}
            columns |= {name: pa.array(getattr(result.counts, name)) for name in COUNTS}
            yield pa.RecordBatch.from_pydict(columns)

    # Sorted so that a rerun forms the same batches: the other texts of a batch change the rounding of a vector.
    return spread.sortWithinPartitions("text_hash").select("text_hash", "text").mapInArrow(embed, EMBEDDED)


def _wrap_rows(rows: np.ndarray) -> pa.ListArray:
    """Wrap the rows of a matrix as Arrow lists, without a copy."""
    n_rows, width = rows.shape
    return pa.ListArray.from_arrays(pa.array(np.arange(n_rows + 1, dtype=np.int32) * width), pa.array(rows.ravel()))
