"""JSON: keys that stand twice or differ by case, half characters, and files of another shape."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers.errors import ConfigError
from interest_tiers.sources.readers import read_source


def test_objects_whose_keys_differ_by_case_are_texts(spark: SparkSession, tmp_path: Path) -> None:
    """By themselves, Spark reads one of the keys and gives null for the other."""
    lines = ['{"user":"a","o":{"T":"1"},"l":[{"x":1}]}', '{"user":"b","user":"c","o":{"t":"2"},"l":[{"X":2}]}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    got = read_source(spark, str(tmp_path / "a.jsonl"), "json", {}).select("user", "o", "l")
    assert [tuple(row) for row in got.collect()] == [("a", '{"T":"1"}', ['{"x":1}']), ("c", '{"t":"2"}', ['{"X":2}'])]
    assert spark.conf.get("spark.sql.caseSensitive") == "false"


def test_columns_of_different_lines_that_differ_by_case_are_told(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"user":"a"}\n{"User":"b"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="has the columns 'User' and 'user', which differ by case alone"):
        read_source(spark, str(tmp_path / "a.jsonl"), "json", {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[\n{"u":"a"},\n{"u":"b"}\n]\n', r"its first line \(\[\) begins an array over many lines.* set options\.multiLine to true"),
        ('[ {\n "u": "a"\n} ]', "begins an array over many lines"),
        ('{\n  "u": "a"\n}\n', "begins an object over many lines"),
        ('window.YTD.tweet.part0 = [ {\n "u" : "a"\n} ]', "is JavaScript; remove what stands before"),
        ('var x = [{"u":"a"}];\n', "is JavaScript"),
        ("user,item\na,b\n", "no line of it is a JSON object"),
        ("PK\x03\x04", "it is a zip archive"),
    ],
)
def test_files_of_another_shape_are_told_with_what_to_do(spark: SparkSession, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        read_source(spark, str(tmp_path / "a.json"), "json", {})


def test_an_array_over_many_lines_is_read_with_the_option(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[\n{"u":"a\\ud83d"},\n{"u":"b"}\n]\n', encoding="utf-8")
    got = read_source(spark, str(tmp_path / "a.json"), "json", {"multiLine": "true"})
    assert sorted(row["u"] for row in got.collect()) == ["a\ufffd", "b"]


def test_half_characters_become_the_replacement_character(spark: SparkSession, tmp_path: Path) -> None:
    """And all else is as Spark's reader of files has it: folders, two rows in a line, lines that are no JSON."""
    lines = [
        '{"u":"a\\ud83d","t":"x\\ud83d\\ude00"}', '{"u":"a\\ud83e","t":"\\udc00x"}', '{"u":"b","t":"\\ud83d\\ud83d\\ude00"}',
        '{"u":"\\\\ud83d","t":"a?"}', '[{"u":"c"},{"u":"d"}]', "[]", "", "no json", '{"u":"e","o":{"p":"1.50"}}',
    ]  # fmt: skip
    (tmp_path / "day=1").mkdir()
    (tmp_path / "day=1" / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    got = read_source(spark, str(tmp_path), "json", {}, file_column="file")
    assert sorted((tuple(row) for row in got.select("u", "t", "o.p", "day", "_corrupt_record", "file").collect()), key=str) == sorted(
        [
            ("a\ufffd", "x\U0001f600", None, 1, None, "a.jsonl"),
            ("a\ufffd", "\ufffdx", None, 1, None, "a.jsonl"),
            ("b", "\ufffd\U0001f600", None, 1, None, "a.jsonl"),
            ("\\ud83d", "a?", None, 1, None, "a.jsonl"),
            ("c", None, None, 1, None, "a.jsonl"),
            ("d", None, None, 1, None, "a.jsonl"),
            ("e", None, "1.50", 1, None, "a.jsonl"),
            (None, None, None, 1, "no json", "a.jsonl"),
        ],
        key=str,
    )
