"""Parquet: times in nanoseconds, as pandas writes them, and files that are none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.errors import ConfigError
from interest_tiers.sources.readers import read_source

NANOS = 1_500_000_000_123_456_789


def write(path: Path, **columns: pa.Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, version="2.6")


def test_nanoseconds_are_cut_to_microseconds_at_any_depth(spark: SparkSession, tmp_path: Path) -> None:
    nested = pa.list_(pa.struct([("at", pa.timestamp("ns")), ("id", pa.int64())]))
    write(
        tmp_path / "a.parquet",
        local=pa.array([NANOS, -1, None], pa.timestamp("ns")),
        utc=pa.array([NANOS, 1, None], pa.timestamp("ns", tz="UTC")),
        of=pa.array([[{"at": NANOS, "id": NANOS}], [], None], nested),
        by=pa.array([[("k", NANOS)], [], None], pa.map_(pa.string(), pa.timestamp("ns"))),
        number=pa.array([NANOS, 1, None], pa.int64()),
    )
    got = read_source(spark, str(tmp_path / "a.parquet"), "parquet", {})
    assert got.schema.simpleString() == (
        "struct<local:timestamp_ntz,utc:timestamp,of:array<struct<at:timestamp_ntz,id:bigint>>,by:map<string,timestamp_ntz>,number:bigint>"
    )
    texts = got.selectExpr("string(local)", "string(utc)", "string(of.at[0])", "of.id[0]", "string(by['k'])", "number")
    time = "2017-07-14 02:40:00.123456"
    assert [tuple(row) for row in texts.collect()] == [
        (time, time, time, NANOS, time, NANOS),
        ("1969-12-31 23:59:59.999999", "1970-01-01 00:00:00", None, None, None, 1),
        (None,) * 6,
    ]


def test_nanoseconds_and_microseconds_in_folders_are_one_column(spark: SparkSession, tmp_path: Path) -> None:
    """The first file has microseconds, so that only the merge of the schemas shows the others."""
    write(tmp_path / "day=1" / "a.parquet", u=pa.array(["u1"]), at=pa.array([NANOS // 1000], pa.timestamp("us", tz="UTC")))
    write(tmp_path / "day=2" / "a.parquet", u=pa.array(["u2"]), at=pa.array([NANOS], pa.timestamp("ns", tz="UTC")), n=pa.array([NANOS]))
    write(tmp_path / "day=3" / "a.parquet", u=pa.array(["u3"]), at=pa.array([NANOS], pa.timestamp("ns", tz="UTC")), n=pa.array([2.5]))
    got = read_source(spark, str(tmp_path), "parquet", {}, file_column="file").select("u", "at", "day", "n", "file")
    at = datetime.fromtimestamp(NANOS // 10**9, UTC).replace(microsecond=123456)
    expected = [("u1", at, 1, None, "a.parquet"), ("u2", at, 2, str(NANOS), "a.parquet"), ("u3", at, 3, "2.5", "a.parquet")]
    assertDataFrameEqual(got, spark.createDataFrame(expected, "u string, at timestamp, day int, n string, file string"))
    # Files without nanoseconds are read as before.
    alone = read_source(spark, str(tmp_path / "day=1"), "parquet", {})
    assert alone.schema.simpleString() == "struct<u:string,at:timestamp>"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"user,item\nu1,i1\n", r"a\.parquet: cannot be read as parquet: it begins with 'user,item\\nu1,i1\\n'; set the format"),
        (b"PK\x03\x04\x00", "it is a zip archive or a workbook"),
    ],
)
def test_a_file_that_is_no_parquet_is_told_by_what_it_is(spark: SparkSession, tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        read_source(spark, str(tmp_path), "parquet", {})


def test_the_name_of_the_file_is_a_column_that_files_must_not_have(spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path / "a b.parquet", u=pa.array(["u1"]))
    assert read_source(spark, str(tmp_path), "parquet", {}, file_column="file").collect() == [("u1", "a b.parquet")]
    with pytest.raises(ConfigError, match=r"file_column is 'U': .* has a column of that name; choose another"):
        read_source(spark, str(tmp_path), "parquet", {}, file_column="U")
