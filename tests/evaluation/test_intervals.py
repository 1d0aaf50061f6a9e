"""Bootstrap intervals of means over users."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pyspark.sql import SparkSession

from interest_tiers.evaluation.intervals import BUCKETS, Estimate, bucket, estimate, ratio


def interval_of(values: np.ndarray, samples: int = 2000) -> tuple[float, float, float]:
    found = estimate([values, np.ones(len(values))], ratio, samples)
    assert found.lower is not None
    assert found.upper is not None
    return found.value, found.lower, found.upper


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).exponential(size=400)
    value, lower, upper = interval_of(values, samples=5000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert value == pytest.approx(values.mean())
    assert lower < value < upper
    assert (value - lower, upper - value) == pytest.approx((half, half), rel=0.1)


def test_the_interval_shrinks_with_the_root_of_the_groups() -> None:
    values = np.random.default_rng(2).normal(size=1600)
    widths = {}
    for n in (100, 400, 1600):
        _, lower, upper = interval_of(values[:n])
        widths[n] = upper - lower
    assert widths[100] / widths[400] == pytest.approx(2, rel=0.2)
    assert widths[400] / widths[1600] == pytest.approx(2, rel=0.2)


def test_the_same_groups_give_the_same_interval() -> None:
    values = np.random.default_rng(3).normal(size=50)
    assert interval_of(values) == interval_of(values)


def test_large_groups_weigh_more() -> None:
    """The mean over users and not over groups: 1 user of 10 in the first group, 30 of 30 in the second."""
    assert estimate([np.array([1.0, 30.0]), np.array([10.0, 30.0])], ratio, 100).value == pytest.approx(31 / 40)


def test_a_single_group_has_no_interval() -> None:
    assert estimate([np.array([3.0]), np.array([4.0])], ratio, 100) == Estimate(0.75, None, None)


def test_users_fall_into_even_groups_by_their_id_alone(spark: SparkSession) -> None:
    users = spark.range(20_000).selectExpr("concat('u', id) AS user_id")
    first = users.select("user_id", bucket().alias("bucket")).toPandas().set_index("user_id")["bucket"]
    again = users.repartition(7).select("user_id", bucket().alias("bucket")).toPandas().set_index("user_id")["bucket"]
    assert first.sort_index().equals(again.sort_index())
    sizes = first.value_counts()
    assert (sorted(sizes.index), sizes.sum()) == (list(range(BUCKETS)), 20_000)
    assert sizes.std() < 2 * math.sqrt(20_000 / BUCKETS)
