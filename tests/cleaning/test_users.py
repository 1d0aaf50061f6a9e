"""Users: all who acted and all who are known, with whatever is known of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.cleaning.quarantine import to_quarantine
from interest_tiers.cleaning.users import assess_users, list_users
from interest_tiers.config import UserSource
from interest_tiers.errors import ConfigError
from interest_tiers.sources.readers import read_source
from interest_tiers.storage.schemas import USERS

SOURCE = UserSource.model_validate({"path": "users.csv", "columns": {"user_id": "who"}})
SCHEMA = "who string, age string, `home town` string, children int"


def active(spark: SparkSession, *users: str) -> DataFrame:
    return spark.createDataFrame([(user,) for user in users], "user_id string")


def users_of(rows: DataFrame) -> dict[str, dict[str, str]]:
    assert rows.schema.fieldNames() == USERS.schema.fieldNames()
    collected = rows.collect()
    assert len({row["user_id"] for row in collected}) == len(collected)
    return {row["user_id"]: row["attributes"] for row in collected}


def test_every_other_column_is_an_attribute_and_missing_values_are_none(spark: SparkSession) -> None:
    raw = spark.createDataFrame([("1.0", "25-34", "Ulm", 2), ("2", None, "", None), ("3", None, None, None)], SCHEMA)
    got = users_of(list_users(active(spark), assess_users(raw, SOURCE, "users.csv")))
    assert got == {"1": {"age": "25-34", "home town": "Ulm", "children": "2"}, "2": {}, "3": {}}


def test_those_who_acted_and_those_who_are_known_are_all_there_once(spark: SparkSession) -> None:
    raw = spark.createDataFrame([("known", "25-34", None, None), ("both", "35-44", None, None)], SCHEMA)
    got = users_of(list_users(active(spark, "both", "acted", "acted"), assess_users(raw, SOURCE, "users.csv")))
    assert got == {"known": {"age": "25-34"}, "both": {"age": "35-44"}, "acted": {}}


def test_without_a_source_the_users_are_those_who_acted(spark: SparkSession) -> None:
    assert users_of(list_users(active(spark, "b", "a", "a"), None)) == {"a": {}, "b": {}}


def test_of_several_rows_the_first_by_alphabet_stands(spark: SparkSession) -> None:
    rows = [("1", "45-54", None, None), ("1.0", "25-34", "Ulm", None), ("1", "25-34", "Aix", None), ("1", "25-34", "Aix", None)]
    for raw in (spark.createDataFrame(rows, SCHEMA).coalesce(1), spark.createDataFrame(rows[::-1], SCHEMA).repartition(3)):
        got = users_of(list_users(active(spark), assess_users(raw, SOURCE, "users.csv")))
        assert got == {"1": {"age": "25-34", "home town": "Aix"}}


def test_rows_that_cannot_be_used_end_in_the_quarantine(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("who,age\n1,25-34\n,35-44\nnan,45-54\n4\n5,55-64,6\n", encoding="utf-8")
    assessed = assess_users(read_source(spark, str(tmp_path / "users.csv"), "csv", {}), SOURCE, "users.csv")
    assert users_of(list_users(active(spark), assessed)) == {"1": {"age": "25-34"}}
    rows = to_quarantine(assessed, F.lit("users"), "run-1").collect()
    assert sorted(row["reasons"] for row in rows) == [["row: cannot be read"]] * 2 + [["user_id: missing"]] * 2
    assert {(row["source"], row["event_date"]) for row in rows} == {("users", None)}


def test_a_source_of_ids_alone_has_no_attributes(spark: SparkSession) -> None:
    raw = spark.createDataFrame([(7.0,), (None,)], "who double")
    assessed = assess_users(raw, SOURCE, "users.parquet")
    got = {tuple(row) for row in assessed.select("user_id", F.size("attributes"), F.array_join("reasons", ";"), "raw").collect()}
    assert got == {("7", 0, "", None), (None, 0, "user_id: missing", "{}")}
    assert users_of(list_users(active(spark), assessed)) == {"7": {}}


def test_a_missing_id_column_is_told(spark: SparkSession) -> None:
    with pytest.raises(ConfigError, match=r"^users\.columns\.user_id is 'who': users\.csv has no such column; .*it has whom, age$"):
        assess_users(spark.createDataFrame([], "whom string, age string"), SOURCE, "users.csv")


def test_attributes_are_chosen_named_and_cleaned(spark: SparkSession) -> None:
    rows = [("1", "35", "Ulm &amp; Neu-Ulm", 2), ("2", "n/a", "(not set)", 3)]
    raw = spark.createDataFrame(rows, SCHEMA)
    columns = {"user_id": "who", "attributes": {"decade": {"sql": "floor(age / 10) * 10"}, "town": "home town"}}
    chosen = UserSource.model_validate({"path": "users.csv", "missing": "(not set)", "columns": columns})
    got = users_of(list_users(active(spark), assess_users(raw, chosen, "users.csv")))
    assert got == {"1": {"decade": "30", "town": "Ulm & Neu-Ulm"}, "2": {}}
    none = chosen.model_copy(update={"columns": chosen.columns.model_copy(update={"attributes": {}})})
    assert users_of(list_users(active(spark), assess_users(raw, none, "users.csv"))) == {"1": {}, "2": {}}
    wrong = UserSource.model_validate({"path": "users.csv", "columns": {"user_id": "who", "attributes": ["age", "towns"]}})
    with pytest.raises(ConfigError, match=r"^users\.columns\.attributes\.towns is 'towns': users\.csv has no such column"):
        assess_users(raw, wrong, "users.csv")
