"""Files of every format, as wild as they come: rows as an independent reader has them, nothing lost and nothing invented."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.sources.readers import read_source

#: Each example is a folder of files, which one Spark job reads: to make a failing one smaller would take many.
WILD = settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

HEADER = ("user", "item", "note")
PIECES = [
    "u1",
    '"',
    '""',
    ",",
    ";",
    "\t",
    "\\",
    "'",
    "a b",
    "é",
    "\u00fc",
    '5" nail',
    '"quoted"',
    "#",
    "=",
    "[",
    "{",
    "NaN",
    "-1.5",
    "x" * 300,
]
TEXTS = st.lists(st.sampled_from([*PIECES, "\n", "\n\n", ",\n", '"\n']), max_size=5).map("".join)
ONE_LINE = st.lists(st.sampled_from(PIECES), max_size=3).map("".join)


def folder(tmp_path_factory: pytest.TempPathFactory, files: Sequence[bytes], ending: str) -> Path:
    path = tmp_path_factory.mktemp("wild")
    for n, content in enumerate(files):
        (path / f"{n:03d}{ending}").write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    return path


def written(rows: Sequence[Sequence[str]], sep: str = ",", quoting: int = csv.QUOTE_MINIMAL, newline: str = "\n") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=sep, quoting=quoting, lineterminator=newline).writerows([HEADER, *rows])
    return text.getvalue()


def is_proper(value: str, text: str) -> bool:
    """Whether a file holds a value between quotes that the standard would take for the value's own."""
    quoted = '"' + value.replace('"', '""') + '"'
    return any(f"{quoted}{end}" in text for end in ",\n")


def looks_joined(value: str, position: int, sep: str) -> bool:
    """Whether a proper value might as well be the end of one record and the beginning of another: only by such chance it is refused."""
    before, is_quoted, after = value.rpartition("\n")[2].rpartition('"')
    return value.startswith('"') and "\n" in value and bool(is_quoted) and position <= before.count(sep) <= 2 and sep not in after


@pytest.mark.parametrize(
    ("sep", "quoting", "newline", "encoding", "ending"),
    [
        (",", csv.QUOTE_MINIMAL, "\n", "utf-8", ".csv"),
        ("\t", csv.QUOTE_ALL, "\r\n", "iso-8859-1", ".csv"),
        (";", csv.QUOTE_MINIMAL, "\n", "utf-8-sig", ".csv.gz"),
    ],
)
@WILD
@given(tables=st.lists(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=6), min_size=30, max_size=60), is_ended=st.booleans())
def test_csv_is_read_as_pythons_reader_reads_it(  # type: ignore[no-untyped-def]
    spark: SparkSession, tmp_path_factory, sep: str, quoting: int, newline: str, encoding: str, ending: str, tables: list, is_ended: bool
) -> None:
    texts = [written(table, sep, quoting, newline) for table in tables]
    path = folder(tmp_path_factory, [(text if is_ended else text.removesuffix(newline)).encode(encoding) for text in texts], ending)
    expected = Counter[tuple[str, ...]]()
    for n, text in enumerate(texts):
        for row in list(csv.reader(io.StringIO(text, newline=""), delimiter=sep))[1:]:
            expected[(*(value.replace("\r\n", "\n") for value in row), f"{n:03d}{ending}")] += 1
    options = {"sep": sep, "encoding": "utf-8" if encoding == "utf-8-sig" else encoding}
    rows = read_source(spark, str(path), "csv", options, file_column="file").collect()
    assert Counter(tuple(row[name] or "" for name in (*HEADER, "file")) for row in rows) == expected
    unreadable = [row for row in rows if row["_corrupt_record"] is not None]
    assert [row for row in unreadable if not any(looks_joined(row[name] or "", n, sep) for n, name in enumerate(HEADER))] == []
    assert len(unreadable) < len(rows) / 50


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
@WILD
@given(
    tables=st.lists(
        st.tuples(
            st.lists(st.tuples(ONE_LINE, ONE_LINE, ONE_LINE), min_size=1, max_size=6),
            st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
            st.lists(st.tuples(st.floats(0, 1), st.sampled_from(['"', "", "cut"])), max_size=1),
        ),
        min_size=60,
        max_size=120,
    )
)
def test_every_line_of_damaged_csv_is_a_row_or_in_one_that_cannot_be_read(  # type: ignore[no-untyped-def]
    spark: SparkSession, tmp_path_factory, tables: list, ending: str
) -> None:
    """No value had a line break, so that a good row is one line; a quote may come, a character go, or the file be cut.

    Where the quotes that are left happen to enclose a value properly again, it is the value that the standard says it is.
    """
    texts = []
    for rows, quoting, damages in tables:
        head, _, body = written([("u0", *row[1:]) for row in rows], quoting=quoting).partition("\n")
        for at, what in damages:
            position = int(at * len(body))
            body = body[:position] if what == "cut" else body[:position] + what + body[position + (what == "") :]
        texts.append(f"{head}\n" + "".join(f"{line}\n" for line in body.split("\n") if line.strip()))
    path = folder(tmp_path_factory, [text.encode() for text in texts], ending)
    found = read_source(spark, str(path), "csv", {}, file_column="file").orderBy("file").collect()
    lines = Counter[str]()
    for row in found:
        record = row["_corrupt_record"]
        values = tuple(row[name] or "" for name in HEADER)
        if record is None:
            assert all(is_proper(value, texts[int(row["file"][:3])]) for value in values if "\n" in value), row
        lines[row["file"]] += 1 + sum(value.count("\n") for value in values) if record is None else len(record.strip("\n").split("\n"))
    expected = {f"{n:03d}{ending}": len(text.splitlines()) - 1 for n, text in enumerate(texts)}
    assert {name: (n, texts[int(name[:3])]) for name, n in lines.items() if expected[name] != n} == {}


NUMBERS = st.sampled_from(["0", "-1", "1.50", "1e3", "-2.5E-7", "12345678901234567890", "9007199254740993.1"])
STRINGS = st.lists(
    st.sampled_from(["a", "é", "\U0001f36e", "\\", '"', "\n", "?", "\ud83d", "\udc00", "1.50", "{", "\\ud83d"]), max_size=4
).map("".join)
OBJECTS = st.lists(st.tuples(STRINGS, NUMBERS, st.lists(STRINGS, max_size=2)), min_size=20, max_size=80)


@WILD
@given(objects=OBJECTS, is_ascii=st.booleans(), has_halves=st.booleans())
def test_json_is_read_as_pythons_reader_reads_it(  # type: ignore[no-untyped-def]
    spark: SparkSession, tmp_path_factory, objects: list, is_ascii: bool, has_halves: bool
) -> None:
    """Whole numbers keep their digits; half characters, which no encoding can write, are U+FFFD."""

    def digits(number: str) -> str | float:
        return float(number) if set(number) & set(".eE") else number

    def whole(text: str) -> str:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    lines, expected = [], Counter[tuple]()
    for text, number, texts in objects:
        kept = [each if has_halves and is_ascii else whole(each) for each in (text, *texts)]
        dumped = [json.dumps(each, ensure_ascii=is_ascii) for each in kept]
        lines.append(f'{{"text":{dumped[0]},"number":{number},"texts":[{",".join(dumped[1:])}],"day":{{"number":{number}}}}}')
        parsed: dict[str, Any] = json.loads(lines[-1], parse_int=str, parse_float=str)
        expected[
            (whole(parsed["text"]), digits(parsed["number"]), tuple(map(whole, parsed["texts"])), digits(parsed["day"]["number"]))
        ] += 1
    path = folder(tmp_path_factory, ["\n".join(lines).encode()], ".jsonl.gz")
    rows = read_source(spark, str(path), "json", {}).select("text", "number", "texts", F.col("day.number").alias("inner")).collect()
    got = [(row["text"], digits(row["number"]), tuple(row["texts"] or ()), digits(row["inner"])) for row in rows]
    assert Counter(got) == expected


TIMES = st.integers(-(2**62), 2**62)


@WILD
@given(
    tables=st.lists(
        st.tuples(st.sampled_from(["ns", "us", "ms"]), st.sampled_from([None, "UTC"]), st.lists(st.tuples(STRINGS, TIMES), max_size=5)),
        min_size=4,
        max_size=8,
    )
)
def test_parquet_is_read_as_arrow_reads_it(spark: SparkSession, tmp_path_factory, tables: list) -> None:  # type: ignore[no-untyped-def]
    """Times of any unit, with a zone and without, beside numbers and texts; a finer time is cut to its microsecond."""
    path, expected = tmp_path_factory.mktemp("wild"), Counter[tuple]()
    scale = {"ns": 1, "us": 1000, "ms": 1_000_000}
    for n, (unit, zone, rows) in enumerate(tables):
        clock = "local" if zone is None else "utc"
        texts = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text, _ in rows]
        times = [time // scale[unit] for _, time in rows]
        table = pa.table({"text": texts, "id": pa.array(times, pa.int64()), clock: pa.array(times, pa.timestamp(unit, tz=zone))})
        (path / f"day={n}").mkdir()
        pq.write_table(table, path / f"day={n}" / "a.parquet", version="2.6")
        for row in pq.read_table(path / f"day={n}" / "a.parquet", partitioning=None).to_pylist():
            time = row["id"] * scale[unit] // 1000
            expected[(row["text"], row["id"], time if zone is None else None, time if zone else None, n)] += 1
    got = read_source(spark, str(path), "parquet", {})
    for clock in ("local", "utc"):
        got = got if clock in got.columns else got.withColumn(clock, F.lit(None).cast("timestamp"))
    micros = [F.unix_micros(F.col(clock).cast("timestamp")).alias(clock) for clock in ("local", "utc")]
    assert Counter(map(tuple, got.select("text", "id", *micros, "day").collect())) == expected
