"""Embeds the texts that a model has not embedded yet, in waves that a caller stores one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Embedding
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.embedding.texts import COUNTS, embed_texts, is_finite, select_pending_texts, split_into_waves
from interest_tiers.errors import InterestTiersError
from interest_tiers.spark.materialise import Materialise

#: Texts that a message names at most.
NAMED = 3


@dataclass(frozen=True)
class EmbeddedWave:
    """Hold the materialised vectors of one wave; the next wave replaces them.

    vectors: (text_hash, model_id, embedding array<float> of L2 norm 1, n_tokens, n_unknown, n_single), one row per text whose
             vector is finite
    n_texts: texts that were embedded
    n_cut:   texts longer than max_tokens
    broken:  hashes of texts whose vector has NaN or infinity, NAMED at most
    n_broken: number of these texts
    seconds: time to embed them
    """

    vectors: DataFrame
    n_texts: int
    n_cut: int
    seconds: float
    broken: tuple[str, ...] = ()
    n_broken: int = 0


def embed_pending_texts(
    texts: DataFrame, embedded: DataFrame | None, config: Embedding, materialise: Materialise, parallelism: int
) -> Iterator[EmbeddedWave]:
    """Embed each distinct text that has no vector of this model, wave by wave; yields nothing when every text has one.

    texts:       (text_hash, text)
    embedded:    (text_hash, model_id), or None before the first embedding
    parallelism: tasks that run at once
    Raises InterestTiersError when a wave has fewer vectors than texts; none of its vectors is yielded.
    """
    model = model_id(config)
    pending = materialise("pending", select_pending_texts(texts, embedded, model))
    for wave in split_into_waves(pending, pending.count(), parallelism):
        start = time.monotonic()
        # One name for all waves, so that staging holds one wave. Materialised because a merge reads its rows more than once.
        vectors = materialise("vectors", embed_texts(wave, config, parallelism))
        seconds = time.monotonic() - start
        n_texts = wave.count()
        n_cut, n_broken = _count_cut_and_broken(vectors, n_texts)
        is_good, broken = is_finite(F.col("embedding")), ()
        if n_broken:
            broken = tuple(row["text_hash"] for row in vectors.where(~is_good).orderBy("text_hash").limit(NAMED).collect())
        stored = vectors.where(is_good).select("text_hash", F.lit(model).alias("model_id"), "embedding", *COUNTS)
        yield EmbeddedWave(stored, n_texts, n_cut, seconds, broken, n_broken)


def _count_cut_and_broken(vectors: DataFrame, n_texts: int) -> tuple[int, int]:
    """Count the texts that were cut, and those whose vector is not finite.

    Raises InterestTiersError unless there are n_texts vectors, and where none of them is finite.
    """
    is_broken = ~is_finite(F.col("embedding"))
    counts = vectors.agg(
        F.count("embedding").alias("embedded"), F.count_if("is_cut").alias("cut"), F.count_if(is_broken).alias("broken")
    ).first()
    assert counts is not None  # an aggregate without keys has one row
    if counts["embedded"] != n_texts:
        raise InterestTiersError(
            f"{n_texts:,} texts went into the model and {counts['embedded']:,} vectors came out; use another embedding.backend"
        )
    if counts["broken"] == n_texts:
        raise InterestTiersError(
            f"the vectors of all {n_texts:,} texts have NaN or infinity. Set embedding.precision to fp32, or check the files of the model"
        )
    return counts["cut"], counts["broken"]
