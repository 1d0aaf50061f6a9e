"""Bootstrap intervals of means over users."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from interest_tiers.intervals import BUCKETS, Estimate, assign_bucket, divide_sums, estimate, estimate_difference


def interval_of(values: np.ndarray, samples: int = 2000) -> tuple[float, float, float]:
    found = estimate([values, np.ones(len(values))], divide_sums, samples)
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
    assert estimate([np.array([1.0, 30.0]), np.array([10.0, 30.0])], divide_sums, 100).value == pytest.approx(31 / 40)


def test_a_single_group_has_no_interval() -> None:
    assert estimate([np.array([3.0]), np.array([4.0])], divide_sums, 100) == Estimate(0.75, None, None)


def test_a_paired_difference_is_that_of_numpy_and_ignores_what_both_models_share() -> None:
    """Users differ far more than models do: the interval of the difference is that of the differences."""
    random = np.random.default_rng(5)
    of_users, gap = random.normal(10, 5, size=300), random.normal(0.2, 0.5, size=300)
    users = np.ones(300)
    found = estimate_difference([of_users + gap, users], [of_users, users], divide_sums, 5000)
    assert found.lower is not None
    assert found.upper is not None
    half = 1.96 * gap.std() / math.sqrt(300)
    assert found.value == pytest.approx(gap.mean())
    assert (found.value - found.lower, found.upper - found.value) == pytest.approx((half, half), rel=0.1)
    assert found.lower > 0
    _, lower, upper = interval_of(of_users)
    assert upper - lower > 5 * (found.upper - found.lower), "by themselves the two models overlap"
    alone = estimate([gap, users], divide_sums, 5000)
    assert (found.lower, found.upper) == pytest.approx((alone.lower, alone.upper))


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.integers(1, 50)), min_size=1, max_size=20))
@settings(max_examples=25, deadline=None)
def test_a_difference_changes_its_sign_when_the_models_change_places(groups: list[tuple[float, float, int]]) -> None:
    one, other, users = (np.array(column, dtype=float) for column in zip(*groups, strict=True))
    there = estimate_difference([one, users], [other, users], divide_sums, 200)
    back = estimate_difference([other, users], [one, users], divide_sums, 200)
    assert there.value == -back.value
    assert estimate_difference([one, users], [one, users], divide_sums, 200).value == 0
    if len(groups) > 1:
        assert there.lower is not None and there.upper is not None and back.lower is not None and back.upper is not None
        assert (there.lower, there.upper) == pytest.approx((-back.upper, -back.lower), rel=1e-9, abs=1e-9)
        assert there.lower <= there.upper
    else:
        assert there == Estimate(there.value)


def test_users_fall_into_even_groups_by_their_id_alone(spark: SparkSession) -> None:
    users = spark.range(20_000).selectExpr("concat('u', id) AS user_id")
    first = users.select("user_id", assign_bucket().alias("bucket")).toPandas().set_index("user_id")["bucket"]
    again = users.repartition(7).select("user_id", assign_bucket().alias("bucket")).toPandas().set_index("user_id")["bucket"]
    assert first.sort_index().equals(again.sort_index())
    sizes = first.value_counts()
    assert (sorted(sizes.index), sizes.sum()) == (list(range(BUCKETS)), 20_000)
    assert sizes.std() < 2 * math.sqrt(20_000 / BUCKETS)
