"""The files behind a path, their state, and whether a file belongs to a source."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from interest_tiers.sources.files import first_file, is_behind, list_files
from interest_tiers.sources.readers import read_source


def test_the_files_behind_a_path_and_their_state(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a b[1].csv").write_text("user\nu1\n", encoding="utf-8")
    [file] = list_files(spark, str(tmp_path), "csv", {}).collect()
    assert file["path"].endswith("/a b[1].csv")
    assert file["state"].startswith("8 bytes, 2")
    assert read_source(spark, str(tmp_path), "csv", {}).select("user").collect() == [("u1",)]


def test_a_file_is_behind_the_path_that_lists_it(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("a b[1].csv", "other.csv"):
        (tmp_path / name).write_text("user\nu1\n", encoding="utf-8")
    spark.range(1).write.format("delta").save(str(tmp_path / "table"))
    glob, table = f"{tmp_path}/a*.csv", str(tmp_path / "table")
    assert is_behind(spark, f"file://{tmp_path}/a%20b[1].csv", glob, "csv", {})
    assert is_behind(spark, f"file:{tmp_path}/a b[1].csv", glob, "csv", {})
    assert not is_behind(spark, f"file://{tmp_path}/other.csv", glob, "csv", {})
    assert is_behind(spark, f"file://{table}/part-0.parquet", table, "delta", {})
    assert not is_behind(spark, f"file://{table}-2/part-0.parquet", table, "delta", {})


def test_one_file_behind_a_path_is_found_without_a_job(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("day=1/_temporary", "day=2"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("_SUCCESS", ".hidden", "day=1/_temporary/part.csv", "day=2/a b.csv"):
        (tmp_path / name).write_text("user\n", encoding="utf-8")
    assert first_file(spark, str(tmp_path)) == f"file:{tmp_path}/day=2/a b.csv"
    assert first_file(spark, f"{tmp_path}/day=*/*.csv") == f"file:{tmp_path}/day=2/a b.csv"
    assert first_file(spark, f"{tmp_path}/day=1") is None
    assert first_file(spark, f"{tmp_path}/absent") is None
