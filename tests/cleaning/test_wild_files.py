"""Files as no program should write them: nothing stops the job, and every row is somewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.cleaning.interactions import assess_interactions
from interest_tiers.cleaning.quality import SourceCounts, count_sources
from interest_tiers.config import BehaviourWeight, InteractionSource
from interest_tiers.sources.readers import read_source

#: Each example is a Spark job: to make a failing one smaller would take many.
NO_SHRINKING = (Phase.explicit, Phase.generate)
TODAY = date(2024, 1, 1)
FIELDS = ("user", "item", "at", "did", "paid", "wrote")
COLUMNS = {"user_id": "user", "item_id": "item", "occurred_at": "at", "behaviour": "did", "value": "paid", "text": "wrote"}
WEIGHTS = {"view": BehaviourWeight(weight=0.1)}
#: Good rows, by which each file is known to be read as far as it can be.
GOOD = [{"user": f"good{n}", "item": "i1", "at": "2017-10-09 12:00:00", "did": "view", "paid": "1.5", "wrote": "fine"} for n in range(3)]

ODD_TEXTS = [
    "", " ", "\x00", "a\x00b", "\ufeff", "\u202e", '"', '""', "'", "\\", "\\n", "NaN", "null", "17850.0", "\U0001f36e" * 9, "-", "x" * 5000,
    "9" * 400, "1e999", "2017-10-09", "+294247-01-10T04:00:54", "{", "[", "}", ",", ";", "\t", "#", "=1+1", "Infinity", "0x1p3", "1d",
]  # fmt: skip
#: As they stand in JSON, without quotes around them.
ODD_VALUES = [
    "1" + "0" * 400, "1e999", "-0.0", "1E-400", "true", "null", "[]", "{}", "[[[1]]]", '{"a":{"b":[null,{"c":1}]}}',
    '"\\ud800"', '"\\udc00x"',
    '"\\ud83c\\udf6e"', '"\\u0000"', '"\\x"', "NaN", "Infinity", "-", "01", "'single'", "tru", '"\t"', "[" * 60 + "]" * 60,
    "[" * 1200 + "]" * 1200,
    "9223372036854775808", '"2017-10-09 12:00:00"', "1507550400", "17850.0", '"view"', '"' + "y" * 20000 + '"',
]  # fmt: skip
ODD_BYTES = [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf0\x9f", b"\x80abc", b"\xfe\xff\x00a", b"Cr\xe8me"]

SOME_TEXT = st.sampled_from(ODD_TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ONE_LINE = SOME_TEXT.map(lambda text: text.replace("\n", " ").replace("\r", " "))
JSON_VALUE = st.sampled_from(ODD_VALUES).map(str.encode) | ONE_LINE.map(lambda t: json.dumps(t).encode()) | st.sampled_from(ODD_BYTES).map(
    lambda some: b'"' + some + b'"'
)  # fmt: skip
#: Keys may be missing, others may be there, and the same one may be there twice.
JSON_KEY = st.sampled_from([*FIELDS, *FIELDS, "extra", "", "_corrupt_record", "a.b"]).map(lambda key: json.dumps(key).encode())
JSON_OBJECT = st.lists(st.tuples(JSON_KEY, JSON_VALUE), max_size=9).map(
    lambda pairs: b"{" + b",".join(k + b":" + v for k, v in pairs) + b"}"
)
JSON_LINE = JSON_OBJECT | JSON_VALUE | st.tuples(JSON_OBJECT, JSON_OBJECT).map(b"".join) | JSON_OBJECT.map(lambda line: line[:-1])

CSV_FIELD = ONE_LINE.map(str.encode) | st.sampled_from(ODD_BYTES)
CSV_LINE = st.lists(CSV_FIELD, min_size=1, max_size=9).map(b",".join)


#: Every odd value once in every field, and what is wrong with whole lines: always there, whatever is drawn.
WRONG_VALUES = [
    *map(str.encode, ODD_VALUES),
    *[b'"' + some + b'"' for some in ODD_BYTES],
    *[json.dumps(text).encode() for text in ODD_TEXTS],
]
TWO_IN_A_LIST = b'[{"user":"u1"},{"user":"u2"}]'
WRONG_JSON = [
    *[b'{"%s":%s,"did":"view"}' % (field.encode(), value) for field in FIELDS for value in WRONG_VALUES],
    b'{"user":"u1","user":"u2","item":"i1","at":"2017-10-09","did":"view"}',
    b'{"user":{"a":1,"a":2},"user":[{"b":1}]}',
    b'{"USER":"u1"', b"{}", b"[]", TWO_IN_A_LIST, b"\xef\xbb\xbf{}", b"\x00", b'{"user":"u1"}{"user":"u2"}', b"//",
    b"{'user':'u1'}",
]  # fmt: skip
WRONG_CSV = [
    *[text.encode() + b",i1,2017-10-09,view,1," + text.encode() for text in ODD_TEXTS if not {"\n", '"'} & set(text)],
    *[some + b",i1,2017-10-09,view," + some + b",x" for some in ODD_BYTES],
    b",,,,,", b",", b"u1", b"u1,i1,2017-10-09,view,1,x,y,z", b",".join([b"x"] * 3000),
]  # fmt: skip


def counts_of(spark: SparkSession, path: Path, reader_format: str) -> SourceCounts:
    """What becomes of the rows of a file. Every row of the result is made in full, not only counted."""
    source = InteractionSource.model_validate({"path": str(path), "format": reader_format, "columns": COLUMNS})
    raw = read_source(spark, str(path), reader_format, {})
    none_dropped = spark.createDataFrame([], "item_id string")
    assessed = assess_interactions(raw, source, "wild", str(path), WEIGHTS, {}, none_dropped, TODAY)
    assessed = assessed.withColumns({"is_flagged": F.lit(False), "is_new": F.lit(True)}).coalesce(1).cache()
    [counts] = count_sources(assessed)
    rows = assessed.collect()
    assessed.unpersist()
    good = [row["user_id"] for row in rows if not row["reasons"]]
    assert len({row["interaction_id"] for row in rows}) == len(rows)
    assert set(good) >= {row["user"] for row in GOOD}
    assert all((row["raw"] is None) == (row["reasons"] == []) for row in rows)
    assert len(good) == counts.interactions
    return counts


def rows_of_line(line: bytes) -> int:
    """A list is as many rows as it has elements; a blank line is none."""
    if line.strip() in (b"", b"[]"):
        return 0
    return 2 if line == TWO_IN_A_LIST else 1


def all_rows(counts: SourceCounts) -> int:
    return counts.interactions + counts.quarantined + counts.duplicates


@settings(max_examples=3, deadline=None, derandomize=True, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(JSON_LINE, min_size=50, max_size=300))
def test_every_line_of_json_is_somewhere(spark: SparkSession, tmp_path_factory, lines: Sequence[bytes]) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("wild") / "events.json"
    written = [*[json.dumps(row).encode() for row in GOOD], *WRONG_JSON, *lines]
    path.write_bytes(b"\n".join(written) + b"\n")
    counts = counts_of(spark, path, "json")
    assert counts.rows_in == all_rows(counts) == sum(map(rows_of_line, written))


@settings(max_examples=3, deadline=None, derandomize=True, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(CSV_LINE, min_size=50, max_size=300), quotes=st.booleans())
def test_every_line_of_csv_is_somewhere(spark: SparkSession, tmp_path_factory, lines: Sequence[bytes], quotes: bool) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("wild") / "events.csv"
    kept = [line for line in lines if quotes or b'"' not in line]
    written = [",".join(FIELDS).encode(), *[",".join(row.values()).encode() for row in GOOD], *WRONG_CSV, *kept]
    path.write_bytes(b"\n".join(written) + b"\n")
    counts = counts_of(spark, path, "csv")
    assert counts.rows_in == all_rows(counts)
    if not quotes:  # with them, lines may be parts of one row
        assert counts.rows_in == len([line for line in written[1:] if line.strip()])
