"""What is a folder and what a schema of a catalog; texts in SQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers.errors import WarehouseError
from interest_tiers.storage.address import is_catalog
from interest_tiers.storage.location import text_literal
from interest_tiers.storage.warehouse import Warehouse


@pytest.mark.parametrize("location", ["main.tiers", "my-catalog.schema", "main.my-schema", "m_1.s_2"])
def test_two_names_with_a_dot_are_a_catalog(location: str) -> None:
    assert is_catalog(location)


@pytest.mark.parametrize("location", ["./a.b", "build/demo", "s3a://bucket/a.b", "demo", "a.b.c", "a.b/", ".a.b", "../x"])
def test_all_else_is_a_folder(location: str) -> None:
    assert not is_catalog(location)


def test_a_catalog_with_a_hyphen_makes_no_folder(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WarehouseError, match=r"--warehouse my-catalog.schema: there is no such schema. .* or write ./my-catalog.schema"):
        Warehouse(spark, "my-catalog.schema")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["plain", "the user's", "a\\b", "'", "\\'", 'say "so"'])
def test_a_text_in_sql_is_the_text(spark: SparkSession, text: str) -> None:
    assert spark.sql(f"SELECT {text_literal(text)} AS text").collect() == [(text,)]
