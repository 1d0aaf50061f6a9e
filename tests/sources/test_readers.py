"""Raw rows: formats, shapes and faults of files that people really have."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.errors import ConfigError
from interest_tiers.sources.files import list_files
from interest_tiers.sources.readers import read_source

CSV = '\ufeffuser,comment,price\nu1,"two\nlines, ""quoted""",1.5\n u2 ,,"2,5"\nu3,"a \\ backslash",\n'


def test_csv_is_read_as_the_standard_says(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(CSV, encoding="utf-8")
    got = read_source(spark, str(path), "csv", {})
    expected = [
        ("u1", 'two\nlines, "quoted"', "1.5", None),
        (" u2 ", None, "2,5", None),
        ("u3", "a \\ backslash", None, None),
    ]
    assertDataFrameEqual(got, spark.createDataFrame(expected, "user string, comment string, price string, _corrupt_record string"))


def test_a_broken_csv_row_lands_whole_in_the_corrupt_record(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item\nu1,i1\nu2\nu3,i3,more\nu4,i4\n", encoding="utf-8")
    got = {row["_corrupt_record"] or row["user"] for row in read_source(spark, str(path), "csv", {}).collect()}
    assert got == {"u1", "u2", "u3,i3,more", "u4"}


def test_the_reader_takes_the_options_of_the_config(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("u1;i1\nu2;i2\n", encoding="utf-8")
    got = read_source(spark, str(path), "csv", {"header": "false", "sep": ";", "mode": "DROPMALFORMED"})
    assertDataFrameEqual(got.select("_c0", "_c1"), spark.createDataFrame([("u1", "i1"), ("u2", "i2")], "_c0 string, _c1 string"))


def test_parquet_keeps_its_types(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "events")
    events = spark.createDataFrame([(1, 2.5)], "user int, price double")
    events.write.parquet(path)
    assertDataFrameEqual(read_source(spark, path, "parquet", {}), events)


@pytest.mark.parametrize("reader_format", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["absent.csv", "*.absent"])
def test_a_missing_path_is_named(spark: SparkSession, tmp_path: Path, name: str, reader_format: str) -> None:
    path = f"{tmp_path}/{name}"
    with pytest.raises(ConfigError) as refused:
        read_source(spark, path, reader_format, {})
    assert str(refused.value) == f"{path}: no such file, folder or glob; correct the path in the config"


def test_an_empty_csv_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.touch()
    with pytest.raises(ConfigError, match="the file has no header and no rows"):
        read_source(spark, str(path), "csv", {})


def test_a_folder_without_parquet_files_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read as parquet: it holds no such file"):
        read_source(spark, str(tmp_path), "parquet", {})


def test_csv_files_with_other_columns_are_read_by_name_whatever_their_order(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffuser,item\nu1,i1\n".encode())
    (tmp_path / "b.csv").write_text("item,user,price\ni2,u2,3\n", encoding="utf-8")
    with gzip.open(tmp_path / "c.csv.gz", "wt", encoding="utf-8") as packed:
        packed.write("user,item\nu3,i3\n")
    (tmp_path / "empty.csv").touch()
    got = read_source(spark, str(tmp_path), "csv", {}).select("user", "item", "price")
    expected = [("u1", "i1", None), ("u2", "i2", "3"), ("u3", "i3", None)]
    assertDataFrameEqual(got, spark.createDataFrame(expected, "user string, item string, price string"))


def test_another_separator_and_encoding(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_bytes("user;item\nZoë;Crème\n".encode("iso-8859-1"))
    got = read_source(spark, str(tmp_path / "events.csv"), "csv", {"sep": ";", "encoding": "ISO-8859-1"})
    assert [tuple(row) for row in got.collect()] == [("Zoë", "Crème", None)]


def test_json_keeps_the_digits_of_numbers_and_the_lines_that_are_none(spark: SparkSession, tmp_path: Path) -> None:
    lines = ['{"user":17850.0,"id":-9007199254740993}', '{"user":"007","id":1,"added":true}', "no json", '{"user":{"nested":1}}', ""]
    (tmp_path / "events.jsonl").write_text("\n".join(lines), encoding="utf-8")
    got = read_source(spark, str(tmp_path / "events.jsonl"), "json", {})
    assert sorted(got.select("user", "id", "added", "_corrupt_record").collect(), key=str) == sorted(
        [
            ("17850.0", "-9007199254740993", None, None),
            ("007", "1", "true", None),
            (None, None, None, "no json"),
            ('{"nested":1}', None, None, None),
        ],
        key=str,
    )


def test_nested_events_are_an_array_and_a_line_of_another_shape_cannot_be_read(spark: SparkSession, tmp_path: Path) -> None:
    lines = [
        '{"user":"u1","history":[{"item":"i1","product":{"title":"a"}},{"item":"i2"}]}',
        '{"user":"u2","history":[]}',
        '{"user":"u3","history":null}',
        '{"user":"u4","history":"of another shape"}',
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines), encoding="utf-8")
    got = read_source(spark, str(tmp_path / "events.jsonl"), "json", {}, explode="history")
    rows = got.select("user", "history.item", "history.product.title", F.col("_corrupt_record").isNotNull()).collect()
    assert sorted(map(tuple, rows), key=str) == sorted(
        [
            ("u1", ["i1", "i2"], ["a", None], False),
            ("u2", [], [], False),
            ("u3", None, None, False),
            ("u4", None, None, True),
        ],
        key=str,
    )


def test_parquet_files_whose_types_differ_are_read_as_texts_that_say_the_same(spark: SparkSession, tmp_path: Path) -> None:
    spark.createDataFrame([(17850,)], "user bigint").write.parquet(str(tmp_path / "day=2024-01-01"))
    spark.createDataFrame([(17850.0, "i1"), (17850.7, "i2")], "user double, item string").write.parquet(str(tmp_path / "day=2024-01-02"))
    got = read_source(spark, str(tmp_path), "parquet", {})
    expected = [("17850", None), ("17850", "i1"), ("17850.7", "i2")]
    assertDataFrameEqual(got.select("user", "item"), spark.createDataFrame(expected, "user string, item string"))
    assert got.select("day").distinct().count() == 2


def test_a_column_that_only_some_parquet_files_have(spark: SparkSession, tmp_path: Path) -> None:
    spark.createDataFrame([("u1",)], "user string").write.parquet(str(tmp_path / "a.parquet"))
    spark.createDataFrame([("u2", 2)], "user string, added int").write.parquet(str(tmp_path / "b.parquet"))
    got = read_source(spark, f"{tmp_path}/*.parquet", "parquet", {})
    assertDataFrameEqual(got, spark.createDataFrame([("u1", None), ("u2", 2)], "user string, added int"))


def test_a_delta_table_and_a_folder_that_is_none(spark: SparkSession, tmp_path: Path) -> None:
    events = spark.createDataFrame([("u1", 1)], "user string, n int")
    events.write.format("delta").save(str(tmp_path / "table"))
    assertDataFrameEqual(read_source(spark, str(tmp_path / "table"), "delta", {}), events)
    with pytest.raises(ConfigError, match="cannot be read as delta"):
        read_source(spark, str(tmp_path), "delta", {})


def test_columns_that_differ_by_case_alone_are_told(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"User":"u1","user":"u2"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"User|user"):
        read_source(spark, str(tmp_path / "events.jsonl"), "json", {})


@pytest.mark.parametrize("second", ["user,item\nu2,i2\n", "item,user\ni2,u2\n"])
def test_folders_that_say_a_column_do_so_whether_headers_differ_or_not(spark: SparkSession, tmp_path: Path, second: str) -> None:
    for day, text in (("2024-01-01", "user,item\nu1,i1\n"), ("2024-01-02", second)):
        (tmp_path / f"day={day}").mkdir()
        (tmp_path / f"day={day}" / "events.csv").write_text(text, encoding="utf-8")
    got = read_source(spark, str(tmp_path), "csv", {}).select("user", "item", F.col("day").cast("string"))
    expected = [("u1", "i1", "2024-01-01"), ("u2", "i2", "2024-01-02")]
    assertDataFrameEqual(got, spark.createDataFrame(expected, "user string, item string, day string"))


def test_a_packed_file_that_is_cut_short_is_told(spark: SparkSession, tmp_path: Path) -> None:
    whole = gzip.compress("\n".join(f'{{"user":"u{n}","n":{n * 7919 % 10007}}}' for n in range(50_000)).encode())
    (tmp_path / "events.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"events\.jsonl\.gz: cannot be read as json: a packed file is cut short or damaged"):
        read_source(spark, str(tmp_path / "events.jsonl.gz"), "json", {})


def test_a_parquet_file_that_is_cut_short_is_told(spark: SparkSession, tmp_path: Path) -> None:
    spark.range(1000).coalesce(1).write.parquet(str(tmp_path / "whole"))
    [file] = (tmp_path / "whole").glob("*.parquet")
    (tmp_path / "cut.parquet").write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ConfigError, match=r"cannot be read as parquet: \S*cut\.parquet is cut short or damaged"):
        read_source(spark, str(tmp_path / "cut.parquet"), "parquet", {})


def test_some_files_alone_with_the_columns_that_the_source_had_before(spark: SparkSession, tmp_path: Path) -> None:
    for day, text in (("2024-01-01", "user,item,price\nu1,i1,5\n"), ("2024-01-02", "user,item\nu2,i2\n"), ("2024-01-03", "")):
        (tmp_path / f"day={day}").mkdir()
        (tmp_path / f"day={day}" / "events.csv").write_text(text, encoding="utf-8")
    files = [row["path"] for row in list_files(spark, str(tmp_path), "csv", {}).orderBy("path").collect()]
    known = read_source(spark, str(tmp_path), "csv", {}, files=files[:1]).schema
    got = read_source(spark, str(tmp_path), "csv", {}, files=files[1:], known=known)
    assert [(row["user"], row["price"], str(row["day"])) for row in got.collect()] == [("u2", None, "2024-01-02")]
    empty = read_source(spark, str(tmp_path), "csv", {}, files=files[2:], known=known)
    assert (empty.count(), set(empty.columns)) == (0, set(known.names))


@pytest.mark.parametrize("reader_format", ["json", "parquet"])
def test_fields_that_new_files_lack_are_null_there(spark: SparkSession, tmp_path: Path, reader_format: str) -> None:
    def lines(text: str) -> str:
        folder = str(tmp_path / text[9:11])
        rows = spark.read.json(spark.sparkContext.parallelize([text]))
        rows.coalesce(1).write.format(reader_format).save(folder)
        return folder

    before = read_source(spark, lines('{"user":"u1","what":[{"item":"i1","price":2}]}'), reader_format, {}, "what")
    path = lines('{"user":"u2","what":[{"item":"i2","place":"home"}]}')
    files = [row["path"] for row in list_files(spark, path, reader_format, {}).collect()]
    got = read_source(spark, path, reader_format, {}, "what", files, before.schema)
    [row] = got.select("user", "what.item", "what.place", "what.price").collect()
    assert tuple(row) == ("u2", ["i2"], ["home"], [None])


def test_line_break_inside_a_quoted_field_is_one_row(spark: SparkSession, tmp_path: Path) -> None:
    """And a quote that is never closed makes one row that cannot be read, not several that look right."""
    text = 'user,item,comment\r\nu1,i1,"one\r\ntwo"\r\nu2,i2,\r\nu3,i3,"open\r\nu4,i4,x\r\n'
    (tmp_path / "events.csv").write_bytes(text.encode())
    got = read_source(spark, str(tmp_path / "events.csv"), "csv", {}).collect()
    readable = {row["user"]: (row["item"], row["comment"].split()) for row in got if row["_corrupt_record"] is None and row["comment"]}
    assert len(got) == 3
    assert readable["u1"] == ("i1", ["one", "two"])
    assert not {"one", "two", "u4"} & {row["user"] for row in got}


def test_doubled_quotes_are_one_quote_and_another_escape_can_be_chosen(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "doubled.csv").write_text('user,comment\nu1,"say ""hi"", bye"\n', encoding="utf-8")
    (tmp_path / "escaped.csv").write_text('user,comment\nu1,"say \\"hi\\", bye"\n', encoding="utf-8")
    doubled = read_source(spark, str(tmp_path / "doubled.csv"), "csv", {})
    escaped = read_source(spark, str(tmp_path / "escaped.csv"), "csv", {"escape": "\\"})
    assert [tuple(row) for row in doubled.collect()] == [tuple(row) for row in escaped.collect()] == [("u1", 'say "hi", bye', None)]


def test_a_line_of_json_with_a_key_twice_does_not_stop_the_others(spark: SparkSession, tmp_path: Path) -> None:
    """The last value counts; fields inside objects and arrays may be there twice too."""
    lines = [
        '{"user":"u1","user":"u2","list":[{"a":1,"a":2}]}',
        '{"user":"u3","product":{"title":"x","title":"y"},"mixed":1,"mixed":[1]}',
        '{"user":"u4","product":{"title":"z"},"list":[{"a":3}]}',
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines), encoding="utf-8")
    got = read_source(spark, str(tmp_path / "events.jsonl"), "json", {}).select(
        "user", "product.title", "list.a", "mixed", "_corrupt_record"
    )
    expected = [("u2", None, ["2"], None, None), ("u3", "y", None, "[1]", None), ("u4", "z", ["3"], None, None)]
    assertDataFrameEqual(got, spark.createDataFrame(expected, got.schema))
