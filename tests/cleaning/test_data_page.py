"""docs/data.md: every snippet is a config that loads, and gives what its table shows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.cleaning.interactions import assess_interactions
from interest_tiers.cleaning.items import assess_items, build_catalogue, count_item_versions
from interest_tiers.cleaning.quarantine import is_good
from interest_tiers.cleaning.shaping import shape_rows, split_left_out
from interest_tiers.cleaning.users import assess_users
from interest_tiers.config import Config, Source, load_config
from interest_tiers.interests.evidence import behaviour_weight
from tests.conftest import LIGHT_SETTINGS

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
TODAY = date(2024, 6, 1)

#: What a snippet leaves out.
BASE = {
    "name": "page",
    "locations": {"data": "/data"},
    "interactions": {
        "path": "{data}/log.csv",
        "columns": {"user_id": "user", "item_id": "item", "occurred_at": "at", "behaviour": {"literal": "view"}},
    },
    "items": {"path": "{data}/items.csv", "columns": {"item_id": "item", "text": "title", "category": "category"}},
    "behaviours": {"view": 1.0},
}


@dataclass
class Entry:
    """A section of the page: input rows, joined tables by file name, the snippet, and the rows that it gives."""

    title: str
    rows: str | None = None
    is_json: bool = False
    tables: dict[str, str] = field(default_factory=dict)
    snippet: str | None = None
    header: list[str] = field(default_factory=list)
    expected: list[list[str]] = field(default_factory=list)


def read_entries() -> list[Entry]:
    entries = []
    for section in re.split(r"^### ", PAGE.read_text(encoding="utf-8").split("\n## What is refused")[0], flags=re.MULTILINE)[1:]:
        title, _, body = re.split(r"^## ", section, flags=re.MULTILINE)[0].partition("\n")
        entry = Entry(title)
        for info, text in re.findall(r"^```(\S.*)\n((?:.*\n)*?)```$", body, flags=re.MULTILINE):
            language, _, name = info.partition(" ")
            if language == "yaml":
                entry.snippet = text
            elif name:
                entry.tables[name] = text
            else:
                entry.rows, entry.is_json = text, language == "json"
        lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in re.findall(r"^\|.*$", body, flags=re.MULTILINE)]
        if lines:
            entry.header, entry.expected = lines[0], lines[2:]
        entries.append(entry)
    return entries


ENTRIES = read_entries()
RUN = [entry for entry in ENTRIES if entry.expected]


def load(entry: Entry, folder: Path) -> Config:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in BASE.items() if not entry.snippet or f"\n{k}:" not in f"\n{entry.snippet}"}))
    with path.open("a", encoding="utf-8") as file:
        file.write(entry.snippet or "")
    return load_config(path)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.snippet], ids=lambda entry: entry.title)
def test_every_snippet_is_a_config(entry: Entry, tmp_path: Path) -> None:
    assert load(entry, tmp_path).name == "page"


def test_the_page_has_forty_shapes_and_most_are_run() -> None:
    assert len(ENTRIES) >= 40
    assert len(RUN) >= 35


def frame(spark: SparkSession, text: str, is_json: bool = False) -> DataFrame:
    if is_json:
        return spark.read.option("primitivesAsString", True).json(spark.sparkContext.parallelize(text.splitlines()))
    header, *rows = csv.reader(io.StringIO(text))
    return spark.createDataFrame([[cell or None for cell in row] for row in rows], ", ".join(f"`{name}` string" for name in header))


def shaped(spark: SparkSession, entry: Entry, source: Source, key: str) -> DataFrame:
    assert entry.rows is not None
    joined = [frame(spark, entry.tables[join.path.rpartition("/")[2]]) for join in source.join]
    return split_left_out(shape_rows(frame(spark, entry.rows, entry.is_json), source, joined, key, source.path))[0]


def interactions_of(spark: SparkSession, entry: Entry, config: Config) -> DataFrame:
    name, source = next(iter(config.named_sources.items()))
    nothing = spark.sql("SELECT '' AS item_id WHERE false")  # empty at planning, so that its join goes away
    rows = shaped(spark, entry, source, "interactions")
    assessed = assess_interactions(rows, source, name, source.path, config.behaviours, config.values, nothing, TODAY)
    return assessed.where(is_good()).withColumn("weight", F.round(behaviour_weight(config.weights), 3))


def items_of(spark: SparkSession, entry: Entry, config: Config) -> DataFrame:
    assessed = assess_items(shaped(spark, entry, config.items, "items"), config.items, "items.csv", config.interests.levels)
    catalogue = build_catalogue(count_item_versions(assessed)).where("NOT is_dropped")
    return catalogue.withColumn("levels", F.array_join("levels", ", "))


def users_of(spark: SparkSession, entry: Entry, config: Config) -> DataFrame:
    assert config.users is not None
    assessed = assess_users(shaped(spark, entry, config.users, "users"), config.users, "users.csv")
    pairs = F.transform(F.map_entries("attributes"), lambda pair: F.concat(pair["key"], F.lit("="), pair["value"]))
    return assessed.where(is_good()).withColumn("attributes", F.array_join(pairs, ", "))


def kind_of(entry: Entry) -> Callable[[SparkSession, Entry, Config], DataFrame]:
    if "attributes" in entry.header:
        return users_of
    return interactions_of if "user_id" in entry.header else items_of


def as_text(rows: DataFrame, name: str) -> Column:
    return F.coalesce(F.col(name).cast("string"), F.lit(""))


def test_every_table_is_what_cleaning_gives(spark: SparkSession, tmp_path: Path) -> None:
    def given(entry: Entry) -> DataFrame:
        rows = kind_of(entry)(spark, entry, load(entry, tmp_path))
        return rows.select(F.lit(entry.title).alias("title"), F.array(*[as_text(rows, name) for name in entry.header]).alias("row"))

    # One job for all of them.
    spark.conf.set("spark.sql.shuffle.partitions", "1")
    found: dict[str, list[Any]] = {entry.title: [] for entry in RUN}
    try:
        for row in reduce(DataFrame.unionByName, map(given, RUN)).collect():
            found[row["title"]].append(row["row"])
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", LIGHT_SETTINGS["spark.sql.shuffle.partitions"])
    assert {title: sorted(rows) for title, rows in found.items()} == {entry.title: sorted(entry.expected) for entry in RUN}
