"""CSV: a quote that nothing closes, lines above the header, comments, and files that are not text."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from pyspark.sql import Row, SparkSession

from interest_tiers.errors import ConfigError
from interest_tiers.sources.csv_files import judge_last_lines
from interest_tiers.sources.readers import read_source

GOOD = [("u1", "i1", "x")]


def rows_of(spark: SparkSession, path: Path, **options: str) -> tuple[list[tuple], list[str]]:
    """The good rows, and the records that cannot be read."""
    found: list[Row] = read_source(spark, str(path), "csv", options).collect()
    good = [tuple(row)[:-1] for row in found if row["_corrupt_record"] is None]
    return good, [row["_corrupt_record"] for row in found if row["_corrupt_record"] is not None]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("text", "good", "lines"),
    [
        ('u1,i1,x\nu2,i2,"open\nu3,i3,x\nu4,i4,y\n', GOOD, [3]),  # in the last column, up to the end of the file
        ('u1,i1,x\nu2,i2,"open\nu3,i3,x\nu4,i4,y', GOOD, [3]),
        ('u1,i1,x\nu2,i2,"open\nu3,"",x\nu4,i4\n\n', GOOD, [3]),  # the lines that were swallowed may be broken themselves
        ('u1,i1,x\nu2,"open\nu3,i3,x\n', GOOD, [2]),  # in another column
        ('u1,i1,x\nu2,i2,"cut', GOOD, [1]),  # in the last line
        ('u2,"open,3\nu3,"fine",4\nu1,i1,x\n', GOOD, [2]),  # up to the quote of a later line
        ('u2,i2,"open\nu4,i4,5\nu3,i3,"fine"\nu1,i1,x\n', GOOD, [3]),
        ('"u2","i2","open\n"u3","i3","fine"\nu1,i1,x\n', GOOD, [2]),
        ('u2,"open,3\nu3,5" nail,4\nu1,i1,x\n', GOOD, [2]),
        ('u2,i2,"open\nu3,"",4\nu4,"x",4\nu1,i1,x\n', GOOD, [3]),
        ('"open,i2,3\n"u3",i3,4\nu1,i1,x\n', GOOD, [2]),
    ],
)  # fmt: skip
def test_lines_after_a_quote_that_nothing_closes_are_one_row_that_cannot_be_read(
    spark: SparkSession, tmp_path: Path, text: str, good: list[tuple], lines: list[int], packed: bool
) -> None:
    whole = f"user,item,note\n{text}"
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(whole.encode()) if packed else whole.encode())
    found, unreadable = rows_of(spark, path)
    assert found == good
    assert [len(record.rstrip("\n").split("\n")) for record in unreadable] == lines


def test_line_breaks_and_quotations_that_are_closed_stay_values(spark: SparkSession, tmp_path: Path) -> None:
    notes = ['"Wow\nsuch" text', "a\nb\n", 'he said\n"no, never," and left\n\n', '"\n"', "", 'say "hi" there', '",\n', '"open\nu3,i3']
    lines = ["u,i,n", *['u{},i{},"{}"'.format(n, n, note.replace('"', '""')) for n, note in enumerate(notes)]]
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    found, unreadable = rows_of(spark, tmp_path / "a.csv")
    assert [row[2] or "" for row in found] == notes
    assert unreadable == []


def test_other_separators_quotes_and_line_ends(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b'u\tn\r\nu1\tx\r\nu2\t"open\r\nu3\ty\t\r\nu4\t\r\n')
    assert rows_of(spark, tmp_path / "a.tsv", sep="\t")[0] == [("u1", "x")]
    assert rows_of(spark, tmp_path / "a.tsv", sep="\t", quote="")[0] == [("u1", "x"), ("u2", '"open'), ("u4", None)]
    (tmp_path / "b.csv").write_text("u,n\nu1,'a\nb'\nu2,'open\nu3,\\'y\n", encoding="utf-8")
    assert rows_of(spark, tmp_path / "b.csv", quote="'", escape="\\")[0] == [("u1", "a\nb")]
    (tmp_path / "c.csv").write_bytes('u,n\nu1,ä\nu2,"öpen\nu3,ü\n'.encode("utf-16"))
    assert rows_of(spark, tmp_path / "c.csv", encoding="UTF-16")[0] == [("u1", "ä")]


def test_each_file_of_a_folder_is_judged_by_its_own_end(spark: SparkSession, tmp_path: Path) -> None:
    for day, text in ((1, 'user,note\nu1,"open\nu2,x\n'), (2, 'user,note\nu3,"a\nb\n"\n'), (3, "user,note\nu4,x\n")):
        (tmp_path / f"day={day}").mkdir()
        (tmp_path / f"day={day}" / "a.csv").write_text(text, encoding="utf-8")
    rows = read_source(spark, str(tmp_path), "csv", {}).orderBy("day").collect()
    assert [(row["user"], row["note"], row["day"]) for row in rows[1:]] == [("u3", "a\nb\n", "2"), ("u4", "x", "3")]
    assert [row["_corrupt_record"] for row in rows] == ["u1,open\nu2,x\n", None, None]


@pytest.mark.parametrize(
    ("line", "is_open"),
    [
        ("u1,i1,x", (False, True)),
        ('u1,i1,"x', (True, False)),
        ('u1,i1,"x""', (True, False)),
        ('u1,i1,"x"', (False, False)),
        ('u1,"",x', (False, True)),
        ('u1,5" nail,x', (False, False)),
        ('"', (False, False)),  # may as well close a value of several lines
        ('"5"" nail,"', (False, False)),
        ('b","x', (True, False)),
        ('"u1","a"b"",",""', (True, False)),
    ],
)
def test_what_a_last_line_says_of_a_quote(line: str, is_open: tuple[bool, bool]) -> None:
    found = judge_last_lines([line], [","], '"', '"')
    assert (bool(found.whole), bool(found.last)) == is_open


def test_a_value_that_is_too_long_is_refused_with_the_setting(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'u,n\n"{"y" * 500}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"has a value of more than 100 characters\. Most often a quote is opened there and never closed"):
        read_source(spark, str(tmp_path / "a.csv"), "csv", {"maxCharsPerColumn": "100"}).collect()


def test_lines_above_the_header_are_skipped(spark: SparkSession, tmp_path: Path) -> None:
    for n in (1, 2):
        text = f'Report of day {n}\n"by ""us""", and you\n\nu;"n;m"\nu{n};a\nu{n};"b\nc"\n'
        (tmp_path / f"{n}.csv").write_text(text, encoding="utf-8")
    got = read_source(spark, str(tmp_path), "csv", {"sep": ";"}, skip_lines=3, file_column="file")
    assert got.columns == ["u", "n;m", "_corrupt_record", "file"]
    assert sorted(tuple(row) for row in got.collect()) == [
        ("u1", "a", None, "1.csv"),
        ("u1", "b\nc", None, "1.csv"),
        ("u2", "a", None, "2.csv"),
        ("u2", "b\nc", None, "2.csv"),
    ]


def test_lines_above_rows_without_a_header_are_skipped(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("made by us\nu1,a\nu2,b\n", encoding="utf-8")
    got = read_source(spark, str(tmp_path / "a.csv"), "csv", {"header": "false"}, skip_lines=1)
    assert sorted(tuple(row) for row in got.collect()) == [("u1", "a", None), ("u2", "b", None)]


def test_the_line_with_which_excel_names_the_separator(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffsep=;\r\nu;n\r\nu1;a,b\r\n".encode())
    assert [tuple(row) for row in read_source(spark, str(tmp_path / "a.csv"), "csv", {}).collect()] == [("u1", "a,b", None)]


def test_comments_are_no_rows_and_no_header(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("# made on Monday\nu,n\n# a note\nu1,a\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("# made on Tuesday\nn,u\nb,u2\n", encoding="utf-8")
    got = read_source(spark, str(tmp_path), "csv", {"comment": "#"}).select("u", "n", "_corrupt_record")
    assert sorted(tuple(row) for row in got.collect()) == [("u1", "a", None), ("u2", "b", None)]


@pytest.mark.parametrize(
    ("beginning", "told"),
    [
        (b"PK\x03\x04\x14\x00", "it is a zip archive or a workbook; unpack it"),
        (b"\x1f\x8b\x08\x00", "it is packed by gzip; give its name the ending .gz"),
        (b"PAR1\x15\x04", "it is Parquet; set the format to parquet"),
    ],
)
def test_a_file_that_is_no_text_is_told_by_what_it_is(spark: SparkSession, tmp_path: Path, beginning: bytes, told: str) -> None:
    (tmp_path / "a.csv").write_bytes(beginning)
    with pytest.raises(ConfigError, match=told):
        read_source(spark, str(tmp_path / "a.csv"), "csv", {})


def test_a_name_in_brackets_is_explained(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").write_text("u\nu1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no such file, folder or glob; \[ \] are a wildcard for one character, write \\\[ and \\\]"):
        read_source(spark, str(tmp_path / "a[1].csv"), "csv", {})
    assert rows_of(spark, Path(f"{tmp_path}/a\\[1\\].csv"))[0] == [("u1",)]
