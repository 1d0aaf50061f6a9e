"""Reduce the vectors of item texts to what sets items apart: the common components are removed (Arora et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from interest_tiers.clustering.moments import measure_moments

#: First components that nearly all texts share, and components after them that are kept.
COMMON, KEPT = 1, 32


@dataclass(frozen=True)
class Reading:
    """Hold how a text vector is reduced: (vector - mean) @ directions. mean: (width,). directions: (width, kept)."""

    mean: np.ndarray
    directions: np.ndarray


def fit_reading(embeddings: DataFrame) -> Reading | None:
    """Fit the reduction on texts; None where there are too few of them to differ.

    embeddings: (text_hash, embedding array<float>), each text once
    """
    first = embeddings.first()
    if first is None:
        return None
    width = len(first["embedding"])
    moments = measure_moments(embeddings.select("embedding"), lambda batch: _read(batch.column("embedding"), width), width)
    _, directions = moments.principal(COMMON, KEPT)
    return Reading(moments.mean, directions) if directions.shape[1] else None


def reduce_texts(items: DataFrame, embeddings: DataFrame, reading: Reading) -> DataFrame:
    """Reduce the vector of every item that has one.

    items:      (item_id, text_hash, ...)
    embeddings: (text_hash, embedding array<float>)
    Returns:    (item_id, vector array<double>)
    """
    width = len(reading.mean)

    def reduce(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            reduced = (_read(batch.column("embedding"), width) - reading.mean) @ reading.directions
            offsets = pa.array(np.arange(len(batch) + 1) * reduced.shape[1], pa.int32())
            vectors = pa.ListArray.from_arrays(offsets, pa.array(reduced.ravel()))
            yield pa.RecordBatch.from_arrays([batch.column("text_hash"), vectors], ["text_hash", "vector"])

    reduced = embeddings.select("text_hash", "embedding").mapInArrow(reduce, "text_hash string, vector array<double>")
    return items.select("item_id", "text_hash").join(reduced, "text_hash").select("item_id", "vector")


def _read(vectors: pa.ListArray, width: int) -> np.ndarray:
    return vectors.flatten().to_numpy().reshape(len(vectors), width).astype(np.float64)
