"""Measure the mean and the covariance of many points in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F


@dataclass(frozen=True)
class Moments:
    """Hold the number of points, their mean (width,) and their covariance (width, width)."""

    n: int
    mean: np.ndarray
    covariance: np.ndarray

    def principal(self, first: int, count: int, smallest: float = 1e-12) -> tuple[np.ndarray, np.ndarray]:
        """Return variances and directions (width, n) of the components from first on, largest first; none below smallest.

        The sign of a direction is arbitrary; its largest loading is made positive, so that a rerun gives the same.
        """
        values, vectors = np.linalg.eigh(self.covariance)
        kept = [i for i in np.argsort(-values)[first : first + count] if values[i] > smallest]
        return values[kept], fix_signs(vectors[:, kept])


def measure_moments(rows: DataFrame, read: Callable[[pa.RecordBatch], np.ndarray], width: int) -> Moments:
    """Measure the moments of the points that read makes of batches of rows: (rows in the batch, width)."""

    def sum_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = np.zeros((width + 1, width + 1))
        for batch in batches:
            points = np.hstack([np.ones((len(batch), 1)), read(batch)])
            total += points.T @ points
        yield pa.RecordBatch.from_arrays([pa.array(np.arange(total.size)), pa.array(total.ravel())], ["place", "value"])

    summed = rows.mapInArrow(sum_partition, "place bigint, value double").groupBy("place").agg(F.sum("value").alias("value"))
    total = np.zeros((width + 1, width + 1))
    found = summed.toPandas()  # bounded by the width
    total.ravel()[found["place"].to_numpy()] = found["value"].to_numpy()
    n = total[0, 0]
    mean = total[0, 1:] / max(n, 1)
    return Moments(int(n), mean, total[1:, 1:] / max(n, 1) - np.outer(mean, mean))


def fix_signs(directions: np.ndarray) -> np.ndarray:
    """Make the largest loading of every direction (width, n) positive."""
    return directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
