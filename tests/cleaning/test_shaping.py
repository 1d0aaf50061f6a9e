"""Rows of a source: joins never multiply them, lists and wide tables become rows, what is left out is marked."""

from __future__ import annotations

from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from interest_tiers.cleaning.shaping import AMBIGUOUS, LEFT_OUT, UNMATCHED, shape_rows, split_left_out
from interest_tiers.config import Source
from interest_tiers.errors import ConfigError

LINES = [("o1", "a"), ("o2", "b"), ("o3", "c"), (None, "d"), ("o4.0", "e")]


def source(**keys: Any) -> Source:
    return Source.model_validate({"path": "lines.csv"} | keys)


def shape(rows: DataFrame, *joined: DataFrame, **keys: Any) -> DataFrame:
    return shape_rows(rows, source(**keys), joined, "interactions", "lines.csv")


def rows_of(rows: DataFrame, *names: str) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in rows.select(*names).collect()), key=str)


def test_a_join_keeps_every_row_once_whatever_the_joined_table_holds(spark: SparkSession) -> None:
    lines = spark.createDataFrame(LINES, "order string, item string")
    orders = spark.createDataFrame(
        [("o1", "u1", "x"), ("o1", "u1", "x"), ("o2", "u2", "x"), ("o2", "u3", "x"), (" ", "u9", "x"), ("o4", "u4", None)],
        "order string, user string, shop string",
    )
    got = shape(lines, orders, join={"path": "orders.csv", "on": "order", "columns": ["user"]})
    assert rows_of(got, "item", "user", UNMATCHED, AMBIGUOUS) == [
        ("a", "u1", [], []),
        ("b", None, [], ["orders.csv"]),
        ("c", None, ["orders.csv"], []),
        ("d", None, ["orders.csv"], []),
        ("e", None, ["orders.csv"], []),
    ]
    assert got.columns == ["order", "item", "user", UNMATCHED, AMBIGUOUS]


def test_keys_are_compared_as_ids_by_several_columns_and_a_later_join_uses_an_earlier_one(spark: SparkSession) -> None:
    lines = spark.createDataFrame([(1.0, "de", "a"), (2.0, "de", "b")], "order double, shop string, item string")
    orders = spark.createDataFrame([("1", "de", 7), ("1", "fr", 8)], "id string, shop string, customer int")
    customers = spark.createDataFrame(
        [("7", Row(person="u7"), {"k": "v"})], "customer string, who struct<person: string>, more map<string,string>"
    )
    got = shape(
        lines,
        orders,
        customers,
        join=[
            {"path": "orders.csv", "on": {"order": "id", "shop": "shop"}},
            {"path": "customers.csv", "on": "customer", "columns": {"user": "who.person", "more": "more"}},
        ],
    )
    assert rows_of(got, "item", "user", "more", UNMATCHED) == [
        ("a", "u7", {"k": "v"}, []),
        ("b", None, None, ["orders.csv", "customers.csv"]),
    ]


@pytest.mark.parametrize(
    ("join", "told"),
    [
        ({"on": "ordre"}, r"^interactions\.join\[0\]\.on is 'ordre': lines\.csv has no such column; did you mean order\?"),
        ({"on": {"order": "id"}}, r"^interactions\.join\[0\]\.on is 'id': orders\.csv has no such column"),
        (
            {"on": "order"},
            r"^interactions\.join\[0\]: the rows of lines\.csv have a column 'item' already\. .*\[user\].*\{joined_item: item\}",
        ),
        ({"on": "order", "columns": ["person"]}, r"^interactions\.join\[0\]\.columns is 'person': orders\.csv has no such column"),
    ],
)
def test_a_join_that_does_not_fit_is_told(spark: SparkSession, join: dict[str, Any], told: str) -> None:
    lines, orders = (spark.createDataFrame([], text) for text in ("order string, item string", "order string, item string, user string"))
    with pytest.raises(ConfigError, match=told):
        shape(lines, orders, join={"path": "orders.csv"} | join)


def test_elements_of_an_array_or_of_sql_become_rows_and_a_row_without_one_stays(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("u1", ["a", "b"], "x|y"), ("u2", [], None)], "user string, items array<string>, cell string")
    assert rows_of(shape(rows, explode="items"), "user", "items") == [("u1", "a"), ("u1", "b"), ("u2", None)]
    by_sql = shape(rows, explode={"sql": "split(cell, '[|]')", "name": "cell"})
    assert rows_of(by_sql, "user", "cell") == [("u1", "x"), ("u1", "y"), ("u2", None)]
    assert rows_of(shape(rows, explode={"sql": "split(cell, '[|]')"}), "cell", "element")[1] == ("x|y", "y")


@pytest.mark.parametrize(
    ("explode", "told"),
    [
        ("basket", r"^interactions\.explode is 'basket': lines\.csv has no such column; it has user, cell"),
        (
            "cell",
            r"^interactions\.explode is 'cell': an array is expected, and in lines\.csv this is a string; SQL may .*split\(cell",
        ),
        ({"sql": "upper(cell)"}, r"^interactions\.explode\.sql is 'upper\(cell\)': an array is expected"),
        ({"sql": "split(cel, ',')"}, r"^interactions\.explode\.sql is .*which does not fit lines\.csv: "),
    ],
)
def test_what_is_no_array_is_told(spark: SparkSession, explode: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        shape(spark.createDataFrame([], "user string, cell string"), explode=explode)


def test_a_wide_table_becomes_a_row_per_cell_and_empty_rows_are_left_out(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("u1", 0.5, float("nan"), "3"), ("u2", None, None, " "), ("u3", 0.0, 2.0, "n/a")],
        "user string, `Art 1` double, `Art 2` double, other string",
    )
    kept, left_out = split_left_out(shape(rows, unpivot={"columns": ["Art *", "other"], "name": "art", "value": "stars"}))
    assert left_out is not None
    assert rows_of(kept, "user", "art", "stars") == [
        ("u1", "Art 1", "0.5"),
        ("u1", "other", "3"),
        ("u3", "Art 1", "0"),
        ("u3", "Art 2", "2"),
    ]
    assert rows_of(left_out, "user") == [("u2",)]
    same_kind = shape(rows, unpivot={"columns": "Art *"})
    assert same_kind.schema["value"].dataType.simpleString() == "double"


def test_flags_become_rows_where_they_are_set(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("u1", 1, "true"), ("u2", 0, "False"), ("u3", 0, "TRUE")], "user string, click int, like string")
    kept, left_out = split_left_out(
        shape(rows, unpivot={"columns": ["click", "like"], "name": "action", "value": "flag", "skip": [0, False]})
    )
    assert left_out is not None
    assert rows_of(kept, "user", "action") == [("u1", "click"), ("u1", "like"), ("u3", "like")]
    assert rows_of(left_out, "user") == [("u2",)]


@pytest.mark.parametrize(
    ("unpivot", "told"),
    [
        ({"columns": ["klick"]}, r"^interactions\.unpivot\.columns names 'klick': lines\.csv has no such column; it has user, click"),
        ({"columns": ["click"], "name": "user"}, r"^interactions\.unpivot: lines\.csv has a column 'user' that stays; give .*\.name"),
    ],
)
def test_a_wide_table_that_is_not_there_is_told(spark: SparkSession, unpivot: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        shape(spark.createDataFrame([], "user string, click int"), unpivot=unpivot)


def test_rows_are_left_out_by_every_condition_but_lines_that_cannot_be_read_stay(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("u1", "web", "1", None), ("u2", "test", "1", None), ("u3", "web", None, None), (None, None, None, "broken")],
        "user string, shop string, n string, _corrupt_record string",
    )
    got = shape(rows, where=["shop <> 'test'", "CAST(n AS INT) > 0"])
    assert rows_of(got, "user", LEFT_OUT) == [("u1", False), ("u2", True), ("u3", True), (None, False)]
    assert split_left_out(rows) == (rows, None)


def test_a_condition_that_does_not_fit_is_told(spark: SparkSession) -> None:
    with pytest.raises(ConfigError, match=r"^interactions\.where\[1\] is 'paid > 0', which does not fit lines\.csv"):
        shape(spark.createDataFrame([], "user string"), where=["user <> ''", "paid > 0"])
