"""What every clustering shares: points as MLlib takes them, and an order of centres that means something."""

from __future__ import annotations

import numpy as np
from pyspark.sql import SparkSession

from interest_tiers.clustering.kmeans import order_by_size, order_points, scale_to_unit_length, to_vector


def test_features_are_the_same_numbers(spark: SparkSession) -> None:
    frame = spark.createDataFrame([([0.5, -0.25],)], "vector array<float>")
    assert frame.select(to_vector(frame["vector"])).first()[0].toArray().tolist() == [0.5, -0.25]  # type: ignore[index]


def test_rows_are_split_by_their_number_and_sorted_by_their_key(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(f"k{n}", [float(n)]) for n in (3, 1, 2)], "key string, point array<float>").repartition(3)
    one = order_points(rows, "key", "point", 50_000)
    assert [row["key"] for row in one.collect()] == ["k1", "k2", "k3"]
    assert one.rdd.getNumPartitions() == 1
    assert order_points(rows, "key", "point", 50_001).rdd.getNumPartitions() == 2


def test_the_largest_centre_comes_first_and_ties_go_by_coordinates() -> None:
    centres = np.array([[0.0, 2.0], [5.0, 5.0], [-3.0, 0.0], [0.6, -0.8]])
    assert order_by_size(centres, [4, 0, 4, 9, 0]) == [3, 2, 0, 1]
    np.testing.assert_allclose(scale_to_unit_length(centres[:1]), [[0.0, 1.0]])
