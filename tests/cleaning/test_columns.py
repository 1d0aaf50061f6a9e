"""Columns of a source: ids, times and numbers as people really write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType
from pyspark.testing import assertDataFrameEqual

from interest_tiers.cleaning.columns import identifier, instant, number, require_columns, require_sql, require_time_format, source_column
from interest_tiers.config import OccurredAt, SqlColumn
from interest_tiers.errors import ConfigError

NAN, INFINITY = float("nan"), float("inf")


def check(
    spark: SparkSession,
    kind: str,
    pairs: Sequence[tuple[Any, Any]],
    change: Callable[[Column, DataType], Column],
    result: str = "string",
) -> None:
    """Every given value becomes the expected one."""
    given = spark.createDataFrame([(i, value) for i, (value, _) in enumerate(pairs)], f"position int, given {kind}").coalesce(1)
    got = given.select("position", change(F.col("given"), given.schema["given"].dataType).cast(result).alias("got"))
    expected = spark.createDataFrame([(i, value) for i, (_, value) in enumerate(pairs)], f"position int, got {result}")
    assertDataFrameEqual(got, expected)


ID_TEXTS = [
    ("17850", "17850"),
    ("17850.0", "17850"),
    ("17850.000", "17850"),
    ("17850.7", "17850.7"),
    ("17850.70", "17850.70"),
    ("17850.", "17850."),
    ("0017850", "0017850"),
    ("0017850.0", "0017850"),
    ("-17850.0", "-17850"),
    ("9223372036854775807", "9223372036854775807"),
    ("123456789012345678901234567890", "123456789012345678901234567890"),
    ("1.785E7", "1.785E7"),
    ("85123A", "85123A"),
    ("1.0.0", "1.0.0"),
    ("  17850 ", "17850"),
    ("17850\t", "17850"),
    ("\u00a017850.0\r\n", "17850"),
    ("Zo\u00eb \U0001f36e", "Zo\u00eb \U0001f36e"),
    ("0", "0"),
    ("nancy", "nancy"),
    (None, None),
    ("", None),
    ("   ", None),
    ("\t", None),
    ("\u00a0", None),
    ("null", None),
    ("NULL", None),
    ("NaN", None),
    ("None", None),
    ("N/A", None),
    ("\u200bu1", "u1"),
    ('"NaN"', None),
    ('"-Infinity"', None),
    ("Infinity", "Infinity"),
]


def test_an_id_in_text_loses_a_tail_of_zeros_and_nothing_else(spark: SparkSession) -> None:
    check(spark, "string", ID_TEXTS, identifier)


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [
        (
            "double",
            [
                (17850.0, "17850"),
                (1.785e7, "17850000"),
                (9007199254740991.0, "9007199254740991"),
                (1e300, "1.0E300"),
                (17850.7, "17850.7"),
                (-3.0, "-3"),
                (-0.0, "0"),
                (NAN, None),
                (None, None),
            ],
        ),
        ("float", [(17850.0, "17850"), (12345678.0, "12345678"), (NAN, None), (None, None)]),
        ("bigint", [(9223372036854775807, "9223372036854775807"), (-9223372036854775808, "-9223372036854775808"), (0, "0"), (None, None)]),
        ("decimal(38,18)", [(Decimal("17850"), "17850"), (Decimal("0"), "0"), (Decimal("-2"), "-2"), (None, None)]),
        ("decimal(6,1)", [(Decimal("17850.7"), "17850.7"), (Decimal("17850.0"), "17850")]),
        ("binary", [(bytearray(b"17850"), "17850"), (bytearray(b""), None)]),
    ],
)
def test_an_id_that_is_a_number_prints_in_full(spark: SparkSession, kind: str, pairs: list[tuple[Any, Any]]) -> None:
    check(spark, kind, pairs, identifier)


def times(**how: Any) -> Callable[[Column, DataType], Column]:
    settings = OccurredAt(column="t", **how)
    return lambda column, kind: instant(column, kind, settings)


@pytest.mark.parametrize(
    ("kind", "how", "pairs"),
    [
        (
            "bigint",
            {"unit": "s"},
            [
                (0, "1970-01-01 00:00:00"),
                (1507550400, "2017-10-09 12:00:00"),
                (-1, "1969-12-31 23:59:59"),
                (1507550400000, None),  # milliseconds read as seconds: beyond the year 9999
                (9223372036854775807, None),
                (-9223372036854775808, None),
                (None, None),
            ],
        ),
        ("bigint", {}, [(1507550400, "2017-10-09 12:00:00")]),
        ("int", {"timezone": "Asia/Tokyo"}, [(1507550400, "2017-10-09 12:00:00")]),  # a count has no zone
        ("bigint", {"unit": "ms"}, [(1507550400123, "2017-10-09 12:00:00.123"), (1507550400, "1970-01-18 10:45:50.4")]),
        ("bigint", {"unit": "us"}, [(1507550400123456, "2017-10-09 12:00:00.123456")]),
        ("double", {"unit": "s"}, [(1507550400.25, "2017-10-09 12:00:00.25"), (NAN, None), (INFINITY, None), (1e300, None)]),
        ("decimal(20,6)", {"unit": "s"}, [(Decimal("1507550400.000001"), "2017-10-09 12:00:00.000001")]),
        (
            "string",
            {"unit": "s"},
            [
                ("1507550400", "2017-10-09 12:00:00"),
                (" 1507550400.5 ", "2017-10-09 12:00:00.5"),
                ("1.5075504E9", "2017-10-09 12:00:00"),
                ("1507550400.0000019", "2017-10-09 12:00:00.000002"),
                ("soon", None),
                ("", None),
                ("9" * 40, None),
            ],
        ),
        ("string", {"unit": "ms"}, [("1507550400123.5", "2017-10-09 12:00:00.1235")]),
    ],
)
def test_counts_since_1970(spark: SparkSession, kind: str, how: dict[str, Any], pairs: list[tuple[Any, Any]]) -> None:
    check(spark, kind, pairs, times(**how))


ISO_TEXTS = [
    ("2017-10-09", "2017-10-09 04:00:00"),
    ("2017-10-09 12:00:00", "2017-10-09 16:00:00"),
    ("2017-10-09T12:00:00.123456789", "2017-10-09 16:00:00.123456"),
    ("2017-10-09T12:00", "2017-10-09 16:00:00"),
    ("2017-12-09 12:00:00", "2017-12-09 17:00:00"),
    ("2017-03-12 02:30:00", "2017-03-12 07:30:00"),  # no clock showed it: the hour was skipped
    ("2017-11-05 01:30:00", "2017-11-05 05:30:00"),  # two clocks showed it: the earlier one
    ("2017", "2017-01-01 05:00:00"),
    (" 2017-10-09\t", "2017-10-09 04:00:00"),
    ("2017-10-09T12:00:00Z", "2017-10-09 12:00:00"),
    ("2017-10-09T12:00:00.5+02:00", "2017-10-09 10:00:00.5"),
    ("2017-10-09 12:00:00-0700", "2017-10-09 19:00:00"),
    ("2017-10-09 12:00:00 +05:30", "2017-10-09 06:30:00"),
    ("2017-10-09 12:00:00 UTC", "2017-10-09 12:00:00"),
    ("2017-10-09 12:00:00 Europe/Berlin", "2017-10-09 10:00:00"),
    ("2017-10-09 12:00:00 GMT+2", "2017-10-09 10:00:00"),
    ("2017-10-09 25:00:00", None),
    ("2017-02-30", None),
    ("2017-13-01", None),
    ("12:30:00", None),  # never today's date
    ("T12:30", None),
    ("50000-01-01", None),
    ("+294247-01-10T03:00:54", None),
    ("-290308-12-21T19:59:05", None),
    ("0000-01-01", None),
    ("9999-12-31T23:00:00", None),
    ("1507550400", None),
    ("3/10/14:1:01", None),
    ("now", None),
    ("", None),
    (None, None),
]


def test_iso_texts_in_a_zone_with_summer_time(spark: SparkSession) -> None:
    check(spark, "string", ISO_TEXTS, times(timezone="America/New_York"))


@pytest.mark.parametrize(
    ("how", "pairs"),
    [
        ({"timezone": "Asia/Kolkata"}, [("2017-10-09 12:00:00", "2017-10-09 06:30:00"), ("2017-10-09 12:00:00Z", "2017-10-09 12:00:00")]),
        (
            {"timezone": "Europe/Berlin"},
            [("2017-03-26 01:59:59", "2017-03-26 00:59:59"), ("2017-03-26 03:00:00", "2017-03-26 01:00:00")],
        ),
        ({"timezone": "Pacific/Kiritimati"}, [("2017-10-09", "2017-10-08 10:00:00")]),
        (
            {"format": "M/d/yyyy H:mm", "timezone": "Europe/London"},
            [
                ("7/1/2011 8:26", "2011-07-01 07:26:00"),
                ("12/1/2010 8:26", "2010-12-01 08:26:00"),
                (" 12/1/2010 8:26 ", "2010-12-01 08:26:00"),
                ("2011-07-01 08:26:00", None),
                ("13/1/2010 8:26", None),
                ("nonsense", None),
                ("", None),
                (None, None),
            ],
        ),
        (
            {"format": "dd/MMM/yyyy:HH:mm:ss Z", "timezone": "Asia/Tokyo"},  # the text's own zone stands
            [("09/Oct/2017:12:00:00 -0700", "2017-10-09 19:00:00"), ("09/Oct/2017:12:00:00", None)],
        ),
        ({"format": "yyyy-MM-dd'Z'HH:mm", "timezone": "Asia/Tokyo"}, [("2017-10-09Z12:00", "2017-10-09 03:00:00")]),
        ({"format": "yyyyMMdd"}, [("20171009", "2017-10-09 00:00:00"), ("2017", None)]),
    ],
)
def test_texts_in_other_zones_and_formats(spark: SparkSession, how: dict[str, Any], pairs: list[tuple[Any, Any]]) -> None:
    check(spark, "string", pairs, times(**how))


def test_digits_that_a_format_describes_are_no_count(spark: SparkSession) -> None:
    check(spark, "int", [(20171009, "2017-10-09 00:00:00"), (20171399, None)], times(format="yyyyMMdd"))


def test_a_column_of_a_time_type(spark: SparkSession) -> None:
    far = [
        "timestamp'2017-07-09 12:00:00'",
        "timestamp'+50000-01-01 00:00:00'",
        "timestamp_ntz'2017-07-09 12:00:00'",
        "timestamp_ntz'+294247-01-10 03:00:54'",
        "date'2017-07-09'",
    ]
    given = spark.sql("SELECT " + ", ".join(f"{value} AS c{i}" for i, value in enumerate(far)))
    in_zone = times(timezone="America/New_York")
    got = given.select(*[in_zone(F.col(f.name), f.dataType).cast("string") for f in given.schema.fields]).first()
    assert tuple(got) == ("2017-07-09 12:00:00", None, "2017-07-09 16:00:00", None, "2017-07-09 04:00:00")


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [
        (
            "string",
            [("1.5", 1.5), (" 2 ", 2.0), ("-3e2", -300.0), ("", None), ("1,5", None), ("1e400", None), ("NaN", None), ("-Infinity", None)],
        ),
        ("double", [(1.5, 1.5), (NAN, None), (INFINITY, None), (-INFINITY, None), (1.7976931348623157e308, 1.7976931348623157e308)]),
        ("decimal(10,2)", [(Decimal("12.34"), 12.34), (None, None)]),
        ("bigint", [(7, 7.0)]),
    ],
)
def test_numbers_are_finite_doubles_or_null(spark: SparkSession, kind: str, pairs: list[tuple[Any, Any]]) -> None:
    check(spark, kind, pairs, lambda column, kind: number(column, kind), result="double")


def test_columns_are_found_by_their_literal_names(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(1, 2, 3)], ["a.b", "c d", "e`f"])
    assert tuple(rows.select(source_column("a.b"), source_column("c d"), source_column("e`f")).first()) == (1, 2, 3)


def test_a_column_that_is_not_there_is_named_with_the_nearest(spark: SparkSession) -> None:
    raw = spark.createDataFrame([(1, 2)], ["household_id", "product_id"])
    require_columns(raw, {"interactions.columns.user_id": "household_id"}, "t.parquet")
    with pytest.raises(ConfigError) as told:
        require_columns(raw, {"interactions.columns.user_id": "houshold_id"}, "t.parquet")
    assert str(told.value) == (
        "interactions.columns.user_id is 'houshold_id': t.parquet has no such column; did you mean household_id?; "
        "it has household_id, product_id"
    )
    with pytest.raises(ConfigError, match=r"'zzz': t\.parquet has no such column; it has household_id, product_id$"):
        require_columns(raw, {"interactions.columns.item_id": "zzz"}, "t.parquet")


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("quantity >", "which does not fit t.parquet: [PARSE_SYNTAX_ERROR] Syntax error"),
        ("", "which does not fit t.parquet: [PARSE_"),
        ("nope > 1", "which does not fit t.parquet: [UNRESOLVED_COLUMN.WITH_SUGGESTION]"),
        ("quantity", "a condition is expected, and this is a int"),
        ("'yes'", "a condition is expected, and this is a string"),
        ("count(*) > 1", "which does not fit t.parquet: [INVALID_WHERE_CONDITION]"),
    ],
)
def test_a_rule_that_does_not_fit_is_told_with_its_key(spark: SparkSession, rule: str, told: str) -> None:
    raw = spark.createDataFrame([(1,)], "quantity int")
    with pytest.raises(ConfigError) as error:
        require_sql(raw, "interactions.keep[0]", rule, "t.parquet")
    assert str(error.value).startswith(f"interactions.keep[0] is {rule!r}")
    assert told in str(error.value)


@pytest.mark.parametrize("sql", ["_metadata.file_name", "concat(INPUT_FILE_NAME(), 'x')"])
def test_sql_that_names_the_file_is_told_the_setting_for_it(spark: SparkSession, tmp_path: Path, sql: str) -> None:
    """On rows as the reader gives them it would pass, and fail later, or give an empty name."""
    (tmp_path / "a.csv").write_text("u\nu1\n", encoding="utf-8")
    raw = spark.read.csv(str(tmp_path), header=True)
    told = r"a row has lost its file there\. Set file_column: NAME for the source, and use the column NAME"
    with pytest.raises(ConfigError, match=told):
        require_columns(raw, {"items.columns.text[0]": SqlColumn(sql=sql)}, "a.csv")
    with pytest.raises(ConfigError, match=told):
        require_sql(raw, "interactions.keep[0]", f"{sql} = 'a.csv'", "a.csv")


@pytest.mark.parametrize("sql", ["sum(quantity)", "explode(array(1, 2))", "row_number() OVER (ORDER BY quantity)", "nope + 1"])
def test_sql_that_is_no_value_of_one_row_is_refused(spark: SparkSession, sql: str) -> None:
    raw = spark.createDataFrame([(1,)], "quantity int")
    with pytest.raises(ConfigError, match=r"interactions\.columns\.value is .*, which does not fit t\.parquet"):
        require_columns(raw, {"interactions.columns.value": SqlColumn(sql=sql)}, "t.parquet")


def test_a_field_of_a_column_that_is_text_is_told(spark: SparkSession) -> None:
    raw = spark.createDataFrame([], "product string, _corrupt_record string")
    with pytest.raises(ConfigError, match=r"product is a string\. Where it holds JSON, use \{sql: .*; it has product$"):
        require_columns(raw, {"items.columns.category": "product.kind"}, "t.json")


def test_a_rule_that_fits_passes(spark: SparkSession) -> None:
    raw = spark.createDataFrame([(1, "a")], "quantity int, `the state` string")
    require_sql(raw, "interactions.keep[0]", "quantity > 0 AND `the state` LIKE 'a%'", "t.parquet")


@pytest.mark.parametrize("pattern", ["YYYY-MM-dd", "day and month", "yyyy-MM-dd'T"])
def test_a_time_format_that_spark_does_not_know_is_told_before_any_row_is_read(spark: SparkSession, pattern: str) -> None:
    raw = spark.createDataFrame([("2017",)], "t string")
    with pytest.raises(ConfigError) as told:
        require_time_format(raw, "interactions.columns.occurred_at.format", ["iso", pattern])
    assert str(told.value).startswith(f"interactions.columns.occurred_at.format is {pattern!r}: not a datetime pattern of Spark")


@pytest.mark.parametrize("pattern", [None, "M/d/yyyy H:mm", "dd/MMM/yyyy:HH:mm:ss Z"])
def test_time_formats_that_spark_knows_pass(spark: SparkSession, pattern: str | None) -> None:
    require_time_format(spark.createDataFrame([("2017",)], "t string"), "interactions.columns.occurred_at.format", pattern and [pattern])


def test_times_do_not_depend_on_the_time_zone_of_this_process(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    rows = spark.createDataFrame([("2017-10-09 12:00:00",)], "t string")
    read = rows.select(times(timezone="UTC")(F.col("t"), rows.schema["t"].dataType).alias("t"))
    seen = []
    for zone in ("UTC", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        seen.append(read.select(F.col("t").cast("string"), F.unix_timestamp("t"), F.to_date("t").cast("string")).first())
    monkeypatch.undo()
    time.tzset()
    assert seen[0] == seen[1]
    assert tuple(seen[0]) == ("2017-10-09 12:00:00", int(datetime.fromisoformat("2017-10-09T12:00:00+00:00").timestamp()), "2017-10-09")


def test_names_of_days_are_read_wherever_they_stand(spark: SparkSession) -> None:
    pairs = {
        "EEE MMM dd HH:mm:ss Z yyyy": [("Tue Apr 03 18:17:18 +0000 2012", "2012-04-03 18:17:18"), ("Apr 03 18:17:18 +0000 2012", None)],
        "EEE, d MMM yyyy HH:mm:ss Z": [("Tue, 3 Apr 2012 18:17:18 -0200", "2012-04-03 20:17:18"), ("Tuesday, 3 Apr 2012", None)],
        "EEE MMM d HH:mm:ss z yyyy": [("Tue Apr  3 18:17:18 UTC 2012", "2012-04-03 18:17:18")],
        "EEEE d MMMM yyyy": [("Saturday 3 March 2012", "2012-03-03 00:00:00"), ("thurs. 1 March 2012", "2012-03-01 00:00:00")],
        "yyyy-MM-dd EEE HH:mm": [("2012-04-03 Tue 18:17", "2012-04-03 18:17:00")],
        "yyyy-MM-dd'E'HH": [("2012-04-03E18", "2012-04-03 18:00:00")],
    }
    for pattern, times in pairs.items():
        how = OccurredAt(column="at", format=[pattern])
        require_time_format(spark.range(1), "format", how.format)
        # A time without its day's name is read too.
        expected = [(text, "2012-04-03 18:17:18" if text.startswith("Apr") else time) for text, time in times]
        check(spark, "string", expected, lambda column, kind, how=how: instant(column, kind, how))  # type: ignore[misc]


def test_several_formats_are_tried_in_order(spark: SparkSession) -> None:
    pairs = [("3/10/14:1:01", "2014-03-10 01:01:00"), ("2014-03-10T01:01:00Z", "2014-03-10 01:01:00"), ("10.3.2014", None)]
    check(spark, "string", pairs, times(format=["M/d/yy:H:mm", "iso"]))


def test_the_unit_of_every_count_by_its_size(spark: SparkSession) -> None:
    counts = ["1507550400", "1507550400000", "1507550400000000"]
    check(spark, "string", [(count, "2017-10-09 12:00:00") for count in counts], times(unit="auto"))
