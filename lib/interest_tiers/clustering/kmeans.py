"""Run MLlib's KMeans by cosine such that the order and partitioning of the rows change nothing; scale vectors to unit length."""

from __future__ import annotations

import math

import numpy as np
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.functions import array_to_vector
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

#: KMeans depends on how rows are split; the split depends on the number of rows alone, not on the machine.
ROWS_PER_PARTITION = 50_000

ITERATIONS = 50


def to_vector(vector: Column) -> Column:
    """Convert an array column to MLlib's vector."""
    return array_to_vector(vector.cast("array<double>"))


def order_points(rows: DataFrame, key: str, vector: str, n_rows: int) -> DataFrame:
    """Add features (MLlib's vector of the column vector); split and sort the rows by the unique column key alone."""
    ordered = rows.repartition(max(1, math.ceil(n_rows / ROWS_PER_PARTITION)), key).sortWithinPartitions(key)
    return ordered.withColumn("features", to_vector(ordered[vector]))


def fit_best(points: DataFrame, k: int, seed: int, starts: int) -> KMeansModel:
    """Fit from several starts and keep the model with the smallest sum of distances.

    Fewer distinct points than k give fewer centres.

    points: (features vector, ...), none of them zero, see order_points
    """
    fits = (KMeans(k=k, seed=seed + start, maxIter=ITERATIONS, distanceMeasure="cosine").fit(points) for start in range(starts))
    return min(fits, key=lambda model: model.summary.trainingCost)


def order_by_size(centres: np.ndarray, sizes: list[int]) -> list[int]:
    """Order positions of centres by cluster size, ties by coordinates, since MLlib's own numbers have no meaning.

    sizes: of the clusters; entries after the last centre are ignored
    """
    return sorted(range(len(centres)), key=lambda i: (-sizes[i], centres[i].tolist()))


def scale_to_unit_length(centres: np.ndarray) -> np.ndarray:
    """Scale centres (n, width) to L2 norm 1, float32; a zero vector stays one."""
    return (centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def add_unit_length(rows: DataFrame, vector: str, smallest_norm: float = 0.0) -> DataFrame:
    """Scale a column of vectors to L2 norm 1; null where the norm is at most smallest_norm.

    rows:    (vector array<double>, ...), by the name given
    Returns: the same columns
    """
    norm = F.sqrt(F.aggregate(vector, F.lit(0.0), lambda total, x: total + x * x))
    # A column of its own, so that it is computed once and not per element.
    scaled = F.when(F.col("_norm") > smallest_norm, F.transform(vector, lambda x: x / F.col("_norm")))
    return rows.withColumn("_norm", norm).withColumn(vector, scaled).drop("_norm")
