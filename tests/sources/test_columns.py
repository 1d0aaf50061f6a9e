"""Schemas of several files as one."""

from __future__ import annotations

from pyspark.sql import SparkSession

from interest_tiers.sources.columns import merge_columns


def test_columns_are_merged_unless_their_types_differ(spark: SparkSession) -> None:
    left, right, other = (
        spark.createDataFrame([], text).schema
        for text in ("a string, s struct<x: array<struct<p: int>>>", "b int, s struct<x: array<struct<q: int>>>", "a bigint")
    )
    merged = merge_columns(left, right)
    assert merged is not None
    assert merged.simpleString() == "struct<a:string,s:struct<x:array<struct<p:int,q:int>>>,b:int>"
    assert merge_columns(left, other) is None
