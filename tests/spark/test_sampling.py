"""Samples by hash: about as many rows as wanted, however few, and the same ones every time."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.spark.sampling import PARTS, WHOLE_PARTS, sample_by_hash, sample_threshold

COUNTS = st.integers(1, 10**12)


@given(wanted=COUNTS, n_rows=COUNTS)
def test_the_threshold_is_the_share_wanted(wanted: int, n_rows: int) -> None:
    assume(wanted < n_rows)
    threshold = sample_threshold(wanted, n_rows)
    assert 1 <= threshold < PARTS**2
    # Exact in whole numbers: never more than wanted, and less by under a thousandth, or by less than one part of all.
    assert threshold * n_rows <= PARTS**2 * wanted
    assert (threshold + max(1, threshold / WHOLE_PARTS)) * n_rows > PARTS**2 * wanted


@given(wanted=COUNTS, more=COUNTS, n_rows=COUNTS)
def test_more_wanted_rows_keep_the_fewer(wanted: int, more: int, n_rows: int) -> None:
    assume(wanted + more < n_rows)
    assert sample_threshold(wanted, n_rows) <= sample_threshold(wanted + more, n_rows)


@given(wanted=COUNTS, n_rows=COUNTS)
def test_a_sample_of_a_thousandth_or_more_consists_of_whole_millionths(wanted: int, n_rows: int) -> None:
    assume(1000 * wanted >= n_rows > wanted)
    assert sample_threshold(wanted, n_rows) == 10**6 * (10**6 * wanted // n_rows)


def test_whole_millionths_are_those_of_one_hash(spark: SparkSession) -> None:
    rows = numbered(spark, 2000)
    by_one_hash = rows.where(F.pmod(F.xxhash64("key"), F.lit(10**6)) < 10**6 * 100 // 2000)
    found = keys(sample_by_hash(rows, "key", 100, 2000))
    assert found == keys(by_one_hash)
    assert 70 < len(found) < 130
    assert keys(sample_by_hash(rows.repartition(5, "key"), "key", 100, 2000)) == found


@pytest.mark.parametrize(("wanted", "n_rows"), [(2000, 2000), (3000, 2000)])
def test_all_rows_are_kept_where_there_are_no_more(spark: SparkSession, wanted: int, n_rows: int) -> None:
    assert sample_by_hash(numbered(spark, 2000), "key", wanted, n_rows).count() == 2000


def test_fewer_than_one_in_a_million_is_not_none(spark: SparkSession) -> None:
    """Of four million rows, two: half of a millionth."""
    n_rows = 4_000_000
    twenty = keys(sample_by_hash(numbered(spark, n_rows), "key", 20, n_rows))
    # The fewer are among the more, so that one pass over all rows is enough.
    two = keys(sample_by_hash(spark.createDataFrame([(key,) for key in twenty], "key bigint"), "key", 2, n_rows))
    assert 1 <= len(two) <= 6
    assert 10 <= len(twenty) <= 30
    assert set(two) < set(twenty)


def numbered(spark: SparkSession, n_rows: int) -> DataFrame:
    return spark.range(n_rows).select(F.col("id").alias("key"))


def keys(rows: DataFrame) -> list[int]:
    return sorted(row["key"] for row in rows.collect())
