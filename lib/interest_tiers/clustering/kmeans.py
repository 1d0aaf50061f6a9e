"""MLlib's KMeans by cosine such that the same vectors give the same clusters, however their rows are split and ordered."""

from __future__ import annotations

import math

import numpy as np
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.functions import array_to_vector
from pyspark.sql import Column, DataFrame

#: KMeans depends on how rows are split; the split depends on the number of rows alone, not on the machine.
ROWS_PER_PARTITION = 50_000

ITERATIONS = 50


def features(vector: Column) -> Column:
    """An array column as MLlib takes it."""
    return array_to_vector(vector.cast("array<double>"))


def in_fixed_order(rows: DataFrame, key: str, vector: str, n_rows: int) -> DataFrame:
    """The rows as MLlib takes them (the column vector as features), split and sorted by the unique column key alone."""
    ordered = rows.repartition(max(1, math.ceil(n_rows / ROWS_PER_PARTITION)), key).sortWithinPartitions(key)
    return ordered.withColumn("features", features(ordered[vector]))


def best_fit(points: DataFrame, k: int, seed: int, starts: int) -> KMeansModel:
    """The start with the smallest sum of distances: a single one may end far from the best partition.

    points: see in_fixed_order; none of them zero. Fewer centres than k come out where fewer points differ.
    """
    fits = (KMeans(k=k, seed=seed + start, maxIter=ITERATIONS, distanceMeasure="cosine").fit(points) for start in range(starts))
    return min(fits, key=lambda model: model.summary.trainingCost)


def by_size(centres: np.ndarray, sizes: list[int]) -> list[int]:
    """Positions of the centres, that of the most points first, ties by coordinates: numbers of MLlib's own have no meaning.

    sizes: of the clusters; what follows after the last centre is ignored.
    """
    return sorted(range(len(centres)), key=lambda i: (-sizes[i], centres[i].tolist()))


def unit_length(centres: np.ndarray) -> np.ndarray:
    """Centres (n, width) as float32 of L2 norm 1."""
    return (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float32)
