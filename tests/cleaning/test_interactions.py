"""Interaction rows: every reason, every duplicate, and an id that only the row decides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual, assertSchemaEqual

from interest_tiers.cleaning.counting import count_before
from interest_tiers.cleaning.interactions import ITEM_DROPPED, Behaviours, assess_interactions
from interest_tiers.cleaning.quality import SourceCounts, count_sources
from interest_tiers.cleaning.quarantine import to_quarantine
from interest_tiers.config import BehaviourWeight, InteractionSource, ValueRange
from interest_tiers.errors import ConfigError
from interest_tiers.sources.readers import read_source
from interest_tiers.storage.schemas import INTERACTIONS, INTERACTIONS_QUARANTINE

WEIGHTS = {"purchase": BehaviourWeight(weight=1.0), "view": BehaviourWeight(weight=0.1)}
TODAY = date(2024, 1, 1)
COLUMNS = {"user_id": "user", "item_id": "item", "occurred_at": "at", "behaviour": "did", "value": "paid", "text": "wrote"}
SCHEMA = "user string, item string, at string, did string, paid string, wrote string"
GOOD = ("u1", "i1", "2017-10-09 12:00:00", "purchase", "1.5", "fine")


def source(keep: Sequence[str] = (), **columns: Any) -> InteractionSource:
    return InteractionSource.model_validate({"path": "events.csv", "columns": COLUMNS | columns, "keep": list(keep)})


def assess(
    raw: DataFrame,
    config: InteractionSource | None = None,
    dropped: Sequence[str] = (),
    behaviours: Behaviours = WEIGHTS,
    values: Mapping[str, ValueRange] | None = None,
) -> DataFrame:
    items = raw.sparkSession.createDataFrame([(item,) for item in dropped], "item_id string")
    return assess_interactions(raw, config or source(), "interactions", "events.csv", behaviours, values or {}, items, TODAY)


def count(assessed: DataFrame) -> SourceCounts:
    [counts] = count_sources(assessed.withColumns({"is_flagged": F.lit(False), "is_new": F.lit(True)}))
    return counts


def reasons_of(raw: DataFrame, config: InteractionSource | None = None, dropped: Sequence[str] = (), key: str = "user_id") -> dict:
    """The reasons of every row, by its key."""
    return {row[key]: row["reasons"] for row in assess(raw, config, dropped).select(key, "reasons").collect()}


def test_a_good_row_becomes_the_columns_of_the_contract(spark: SparkSession) -> None:
    raw = spark.createDataFrame([("17850.0", " i1 ", "2017-10-09T23:30:00-02:00", " view ", "-1.5", " so\tso ")], SCHEMA)
    got = assess(raw)
    expected = spark.sql(
        """SELECT '17850' AS user_id, 'i1' AS item_id, 'view' AS behaviour, timestamp'2017-10-10 01:30:00' AS occurred_at,
                  date'2017-10-10' AS event_date, -1.5D AS value, 'so so' AS text, CAST(array() AS array<string>) AS reasons,
                  CAST(NULL AS string) AS raw, 1L AS copies, CAST(NULL AS double) AS given_value, 'interactions' AS source"""
    )
    assertDataFrameEqual(got.drop("interaction_id").select(*expected.columns), expected)
    contract = INTERACTIONS.schema
    assertSchemaEqual(got.select(*contract.fieldNames()).schema, contract)


def test_what_is_not_mapped_is_null_and_a_literal_behaviour_is_for_every_row(spark: SparkSession) -> None:
    raw = spark.createDataFrame([("u1", "i1", "2017-10-09")], "user string, item string, at string")
    got = assess(raw, source(behaviour={"literal": "purchase"}, value=None, text=None)).first()
    assert (got["behaviour"], got["value"], got["text"], got["reasons"]) == ("purchase", None, None, [])


def test_python_runs_only_where_a_source_has_texts_and_once_after_exact_duplicates_are_one(spark: SparkSession) -> None:
    raw = spark.createDataFrame([("u1", "i1", "2017-10-09 12:00:00", "view", "1", "Ben &amp; Jerry&#039;s")] * 2, SCHEMA)
    plans = {text: assess(raw, source(text=text))._jdf.queryExecution().executedPlan().toString() for text in (None, "wrote")}
    assert "EvalPython" not in plans[None]
    assert plans["wrote"].count("ArrowEvalPython") == 1
    assert plans["wrote"].index("ArrowEvalPython") < plans["wrote"].index("HashAggregate")  # printed from the last step to the first
    [row] = assess(raw).select("text", "copies").collect()
    assert tuple(row) == ("Ben & Jerry's", 2)


def test_one_row_tells_every_reason_at_once(spark: SparkSession) -> None:
    raw = spark.createDataFrame([(" ", None, "soon", "steal", "much", "x", "broken")], SCHEMA + ", _corrupt_record string")
    config = source(keep=["paid > 0", "did <> 'view'", "did = 'purchase'"])
    assert assess(raw, config).first()["reasons"] == [
        "user_id: missing",
        "item_id: missing",
        "occurred_at: not a time",
        "behaviour: not configured",
        "value: not a number",
        "keep: paid > 0",
        "keep: did = 'purchase'",
        "row: cannot be read",
    ]


def test_ids_whose_bytes_are_lost_never_become_one(spark: SparkSession) -> None:
    """What stood for two letters is one sign now, and bytes that are not UTF-8 cannot be handed on."""
    undecodable = "{key}: has bytes that are not in the encoding"
    raw = spark.createDataFrame([("J\ufffdrg", *GOOD[1:]), ("u2", "i\ufffd", *GOOD[2:]), ("u3", *GOOD[1:5], "caf\ufffd")], SCHEMA)
    got = assess(raw)
    assert {row["user_id"]: row["reasons"] for row in got.collect()} == {
        "J\ufffdrg": [undecodable.format(key="user_id")],
        "u2": [undecodable.format(key="item_id")],
        "u3": [],
    }
    assert count(got).undecodable.by_column == {"user_id": 1, "item_id": 1, "behaviour": 0, "text": 1}
    raw = raw.where("user = 'u3'").withColumn("user", F.unhex(F.lit("4AE9")).cast("string"))
    assert [row["reasons"] for row in assess(raw).select("reasons").collect()] == [[undecodable.format(key="user_id")]]


def test_the_window_of_plausible_times_is_half_open(spark: SparkSession) -> None:
    times = {
        "before": "1999-12-31T23:59:59.999999Z",
        "first": "2000-01-01T00:00:00Z",
        "last": "2019-12-31T23:59:59.999999Z",
        "after": "2020-01-01T00:00:00Z",
        "far": "50000-01-01",
    }
    raw = spark.createDataFrame([(user, "i1", at, "view", None, None) for user, at in times.items()], SCHEMA)
    config = source(occurred_at={"column": "at", "earliest": date(2000, 1, 1), "latest": date(2020, 1, 1)})
    assert reasons_of(raw, config) == {
        "before": ["occurred_at: before 2000-01-01"],
        "first": [],
        "last": [],
        "after": ["occurred_at: not before 2020-01-01"],
        "far": ["occurred_at: not a time"],
    }


def test_milliseconds_among_seconds_end_in_the_quarantine(spark: SparkSession) -> None:
    raw = spark.createDataFrame([("s", "1507550400"), ("ms", "1507550400000"), ("neg", "-1507550400")], "user string, at string")
    raw = raw.withColumn("item", F.lit("i1"))
    config = source(occurred_at={"column": "at", "unit": "s"}, behaviour={"literal": "view"}, value=None, text=None)
    assert reasons_of(raw, config) == {
        "s": [],
        "ms": ["occurred_at: implausible in s, plausible in another unit"],
        "neg": ["occurred_at: before 1990-01-01"],
    }


def test_behaviours_values_and_dropped_items(spark: SparkSession) -> None:
    rows = [
        ("null behaviour", "i1", None, "1"),
        ("other case", "i1", "View", "1"),
        ("no value", "i1", "view", None),
        ("blank value", "i1", "view", "  "),
        ("infinite", "i1", "view", "1e999"),
        ("comma", "i1", "view", "1,5"),
        ("dropped", "c1.0", "view", "1"),
    ]
    raw = spark.createDataFrame([(u, i, "2017-10-09", did, paid, None) for u, i, did, paid in rows], SCHEMA)
    assert reasons_of(raw, dropped=["c1.0", "i9"]) == {
        "null behaviour": ["behaviour: not configured"],
        "other case": ["behaviour: not configured"],
        "no value": [],
        "blank value": [],
        "infinite": ["value: not a number"],
        "comma": ["value: not a number"],
        "dropped": [ITEM_DROPPED],
    }


def test_a_rule_that_is_null_counts_as_failing(spark: SparkSession) -> None:
    paid = {"above": "1", "below": "0", "unknown": None, "no number": "x"}
    raw = spark.createDataFrame([(user, "i1", "2017-10-09", "view", value, None) for user, value in paid.items()], SCHEMA)
    got = reasons_of(raw, source(keep=["cast(paid as double) > 0", "user <> 'zzz'"], value=None))
    failed = ["keep: cast(paid as double) > 0"]
    assert got == {"above": [], "below": failed, "unknown": failed, "no number": failed}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (source(keep=["paid > 0", "price >"]), r"^interactions\.keep\[1\] is 'price >', which does not fit events\.csv: \[PARSE_"),
        (source(keep=["paid"]), r"^interactions\.keep\[0\] is 'paid': a condition is expected, and this is a string$"),
        (source(user_id="usr"), r"^interactions\.columns\.user_id is 'usr': events\.csv has no such column; did you mean user\?"),
        (source(occurred_at="when"), r"^interactions\.columns\.occurred_at\.column is 'when': "),
        (source(behaviour={"column": "event"}), r"^interactions\.columns\.behaviour\.column is 'event': "),
        (source(occurred_at={"column": "at", "format": "YYYY"}), r"^interactions\.columns\.occurred_at\.format is 'YYYY': "),
    ],
)
def test_a_config_that_does_not_fit_the_source_is_told(spark: SparkSession, config: InteractionSource, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        assess(spark.createDataFrame([GOOD], SCHEMA), config)


def test_times_by_sql_and_times_that_are_the_same_for_all(spark: SparkSession) -> None:
    rows = [("two columns", "31/12/2016", "17:27:00"), ("either", None, "2016-12-30"), ("neither", None, None)]
    raw = spark.createDataFrame(rows, "user string, day string, clock string").withColumn("item", F.lit("i1"))
    plain = {"behaviour": {"literal": "view"}, "value": None, "text": None}
    by_sql = source(
        occurred_at={"sql": "COALESCE(concat(day, ' ', clock), clock)", "format": ["dd/MM/yyyy HH:mm:ss", "iso"], "timezone": "Asia/Tokyo"},
        **plain,
    )
    assert {row["user_id"]: (str(row["occurred_at"]), row["reasons"]) for row in assess(raw, by_sql).collect()} == {
        "two columns": ("2016-12-31 08:27:00", []),
        "either": ("2016-12-29 15:00:00", []),
        "neither": ("None", ["occurred_at: not a time"]),
    }
    same = assess(raw, source(occurred_at={"literal": "2015-01-01"}, **plain))
    assert {(str(row["occurred_at"]), str(row["event_date"])) for row in same.collect()} == {("2015-01-01 00:00:00", "2015-01-01")}
    with pytest.raises(ConfigError, match=r"^interactions\.columns\.occurred_at\.sql is 'clok', which does not fit events\.csv"):
        assess(raw, source(occurred_at={"sql": "clok"}, **plain))


def test_copies_of_an_event_id_are_one_and_rows_that_differ_are_all_kept(spark: SparkSession) -> None:
    rows = [
        ("e1", "u1", "i1", "2017-10-09", "view", "1", "seen first"),
        ("e1", "u1", "i1", "2017-10-09", "view", "1.0", "seen again"),  # the same event, delivered twice
        ("e1", "u2", "i1", "2017-10-09", "view", "1", "another event"),
        ("e2", "u1", "i1", "2017-10-09", "view", "1", "another id"),
        (None, "u1", "i1", "2017-10-09", "view", "1", "no id"),
        ("nan", "u1", "i1", "2017-10-09", "view", "1", "no id either"),
        ("e3", None, "i1", "2017-10-09", "view", "1", "bad"),
        ("e3", None, "i1", "2017-10-09", "view", "1", "bad again"),
    ]
    raw = spark.createDataFrame(rows, "event string, user string, item string, at string, did string, paid string, note string")
    config = source(event_id="event", text=None)
    got = assess(raw, config)
    found = sorted((row["event_id"] or "", row["user_id"] or "", row["copies"], len(row["reasons"])) for row in got.collect())
    assert found == [("", "u1", 1, 0), ("", "u1", 1, 0), ("e1", "u1", 2, 0), ("e1", "u2", 1, 0), ("e2", "u1", 1, 0), ("e3", "", 2, 1)]
    assertDataFrameEqual(assess(raw.repartition(3, "note"), config), got)
    before = count_before(got, {}, {"interactions": config})["interactions"]
    assert (before.conflicting_ids, before.left_out, before.unmatched) == (1, 0, {})


def test_words_for_a_missing_id_can_be_added(spark: SparkSession) -> None:
    users = ["u1", "-1", "Guest", "(not set)", "N/A", "undefined", "0"]
    raw = spark.createDataFrame(
        [(user, 7, "2017-10-09", "view", "-1", "guest") for user in users], SCHEMA.replace("item string", "item int")
    )
    config = InteractionSource.model_validate({"path": "events.csv", "columns": COLUMNS, "missing": [-1, "guest", "(Not Set)", 7]})
    got = assess(raw, config).collect()
    assert sorted(row["user_id"] for row in got if row["user_id"] is not None) == ["0", "u1"]
    # Ids and texts can be missing words, and a value is a number.
    assert {(row["item_id"], row["value"], row["text"]) for row in got} == {(None, -1.0, None)}


def test_exact_duplicates_are_one_row_with_a_count_and_nulls_stay_in_their_column(spark: SparkSession) -> None:
    rows = [
        GOOD,
        GOOD,
        GOOD,
        ("u1", "i1", "2017-10-09 12:00:00", "purchase", "1.50", "fine"),  # the same value, written differently: another row
        ("u1", "i1", "2017-10-09 12:00:00", "purchase", None, "fine"),
        ("u1", "i1", "2017-10-09 12:00:00", "purchase", "fine", None),
        ("u1", "i1", "2017-10-09 12:00:00", "purchase", "", "fine"),
        (None,) * 6,
        (None,) * 6,
    ]
    got = assess(spark.createDataFrame(rows, SCHEMA))
    assert sorted(row["copies"] for row in got.collect()) == [1, 1, 1, 1, 2, 3]
    assert got.select("interaction_id").distinct().count() == 6


def test_rows_that_differ_by_a_microsecond_are_two_with_their_own_ids(spark: SparkSession) -> None:
    raw = spark.sql(
        """SELECT 'u1' AS user, 'i1' AS item, 'view' AS did, '1' AS paid, '' AS wrote, timestamp_ntz'2017-10-09 12:00:00' AS clock, at
           FROM VALUES (timestamp'2017-10-09 12:00:00.000001'), (timestamp'2017-10-09 12:00:00.000002') AS t(at)
           UNION ALL SELECT 'u1', 'i1', 'view', '1', '', timestamp_ntz'2017-10-09 12:00:00.000003', timestamp'2017-10-09 12:00:00.000001'"""
    )
    got = assess(raw).collect()
    assert [row["copies"] for row in got] == [1, 1, 1]
    assert len({row["interaction_id"] for row in got}) == 3


ODD_TEXTS = ["", " ", "\x00", "\ufffd\ufeff", '"', "\\", "a,b\n", "NaN", "null", "17850.0", "\U0001f36e" * 9, "\u202e", "0x10"]
ODD_NUMBERS = ["9" * 400, "-1e308", "1e-320", "9223372036854775807", "-Infinity"]
ODD_TIMES = ["2017-10-09", "2017-10-09T12:00:00+14:00", "+294247-01-10T04:00:54", "-9999-01-01", "12:00"]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)  # Spark holds no surrogates
ANY_BYTES = st.binary(max_size=8).map(lambda some: some.decode("latin-1"))
WILD_TEXTS = st.none() | st.sampled_from(ODD_TEXTS + ODD_NUMBERS + ODD_TIMES) | ANY_TEXT | ANY_BYTES
WILD_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", "17850.0", "17850"]) | WILD_TEXTS,
        st.sampled_from(["i1", "c1"]) | WILD_TEXTS,
        st.sampled_from(["2017-10-09 12:00:00", "1507550400"]) | WILD_TEXTS,
        st.sampled_from(["view", "purchase"]) | WILD_TEXTS,
        st.sampled_from(["1", "-0.5"]) | WILD_TEXTS,
        WILD_TEXTS,
    ),
    min_size=1,
    max_size=150,
)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=WILD_ROWS, unit=st.sampled_from([None, "s"]), zone=st.sampled_from(["UTC", "America/Los_Angeles"]))
def test_every_row_is_an_interaction_a_duplicate_or_in_the_quarantine(
    spark: SparkSession, rows: list[tuple], unit: str | None, zone: str
) -> None:
    raw = spark.createDataFrame(rows + rows[: len(rows) // 2], SCHEMA)
    config = source(keep=["length(coalesce(wrote, '')) < 9"], occurred_at={"column": "at", "unit": unit, "timezone": zone})
    assessed = assess(raw, config, dropped=["c1"]).coalesce(1).cache()
    counts = count(assessed)
    got = assessed.collect()
    assessed.unpersist()
    assert counts.rows_in == len(rows) + len(rows) // 2 == counts.interactions + counts.quarantined + counts.duplicates
    assert len(got) == len(set(rows)) == len({row["interaction_id"] for row in got})
    bad = [row for row in got if row["reasons"]]
    assert (counts.quarantined, counts.interactions) == (len(bad), len(got) - len(bad))
    kept = {tuple(json.loads(row["raw"]).get(name) for name in raw.columns) for row in bad}
    assert kept <= set(rows)
    assert len(kept) == len(bad)
    for row in got:
        if not row["reasons"]:
            assert row["raw"] is None
            assert None not in (row["user_id"], row["item_id"], row["occurred_at"], row["event_date"])
            assert row["behaviour"] in WEIGHTS


def test_the_id_of_a_row_is_the_same_for_any_partitioning_and_after_a_column_of_nulls(spark: SparkSession) -> None:
    rows = [(f"u{i % 7}", f"i{i % 5}", f"2017-10-{1 + i % 28:02d}", "view", str(i), None) for i in range(60)]
    raw = spark.createDataFrame(rows, SCHEMA)
    first = assess(raw.coalesce(1))
    assert first.select("interaction_id").distinct().count() == 60
    for other in (
        raw.repartition(3, "item"),
        raw.select(*reversed(raw.columns)),
        raw.withColumn("added", F.lit(None).cast("double")),
    ):
        assertDataFrameEqual(assess(other), first)


def test_the_id_is_two_hashes_of_the_names_and_values_that_are_there(spark: SparkSession) -> None:
    got = assess(spark.createDataFrame([("", "i1", "2017-10-09", "view", None, "x")], SCHEMA)).first()
    assert json.loads(got["raw"]) == {"at": "2017-10-09", "did": "view", "item": "i1", "user": "", "wrote": "x"}
    parts = F.lit("interactions"), *[F.lit(part) for pair in sorted(json.loads(got["raw"]).items()) for part in pair]
    hashes = spark.range(1).select(*[F.xxhash64(F.lit(seed), *parts) for seed in ("left", "right")]).first()
    assert got["interaction_id"] == "".join(f"{number % 2**64:016X}" for number in hashes)


def test_column_names_of_a_source_may_be_those_that_this_stage_uses(spark: SparkSession) -> None:
    names = ["user_id", "item_id", "occurred_at", "copies", "raw", "reasons", "is_dropped", "broken_rules", "odd name.x"]
    raw = spark.createDataFrame([("u1", "i1", "2017-10-09", "3", "r", "s", "t", "b", "view")] * 2, names)
    config = source(
        keep=["copies > 2", "`odd name.x` = 'view'"],
        user_id="user_id", item_id="item_id", occurred_at="occurred_at", behaviour={"column": "odd name.x"}, value="copies", text="raw",
    )  # fmt: skip
    got = assess(raw, config).first()
    assert (got["user_id"], got["behaviour"], got["value"], got["text"], got["reasons"], got["copies"]) == ("u1", "view", 3.0, "r", [], 2)


def test_the_quarantine_keeps_the_bad_rows_whole(spark: SparkSession) -> None:
    bad = ("u1", "i1", "2017-10-09", "steal", "1", None)
    got = to_quarantine(assess(spark.createDataFrame([GOOD, bad, bad], SCHEMA)), F.lit("interactions"), "run-1")
    contract = INTERACTIONS_QUARANTINE.schema
    assertSchemaEqual(got.select(*contract.fieldNames()).schema, contract)
    [row] = got.collect()
    raw = '{"at":"2017-10-09","did":"steal","item":"i1","paid":"1","user":"u1"}'
    expected = hashlib.sha256(f"interactions\n{raw}".encode()).hexdigest()
    assert row == Row(
        row_hash=expected,
        reasons=["behaviour: not configured"],
        raw=raw,
        source="interactions",
        run_id="run-1",
        event_date=date(2017, 10, 9),
        is_noise=False,
    )


def test_a_csv_line_that_cannot_be_read_ends_in_the_quarantine(spark: SparkSession, tmp_path: Path) -> None:
    lines = [
        "user,item,at,did,paid,wrote",
        'u1,i1,2017-10-09,view,1,"two\nlines, ""quoted"""',
        "u2,i2,2017-10-09,view",
        "u3,i3,2017-10-09,view,1,x,one too many",
    ]
    (tmp_path / "events.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assessed = assess(read_source(spark, str(tmp_path / "events.csv"), "csv", {}))
    got = {row["user_id"]: row for row in assessed.collect()}
    assert (got["u1"]["text"], got["u1"]["reasons"]) == ('two lines, "quoted"', [])
    assert got["u2"]["reasons"] == got["u3"]["reasons"] == ["row: cannot be read"]
    assert json.loads(got["u3"]["raw"])["_corrupt_record"] == "u3,i3,2017-10-09,view,1,x,one too many"
    counts = count(assessed)
    assert (counts.rows_in, counts.interactions, counts.quarantined, counts.duplicates) == (3, 1, 2, 0)


def test_a_source_without_rows_gives_none(spark: SparkSession) -> None:
    assert assess(spark.createDataFrame([], SCHEMA)).count() == 0


def test_implausible_times_say_what_they_probably_are(spark: SparkSession) -> None:
    times = {"zero": "0", "seconds": "1507550400", "good": "1507550400000", "tomorrow": "1704110400000", "next year": "1735732800000"}
    raw = spark.createDataFrame(list(times.items()), "user string, at string").withColumn("item", F.lit("i1"))
    config = source(occurred_at={"column": "at", "unit": "ms"}, behaviour={"literal": "view"}, value=None, text=None)
    assert reasons_of(raw, config) == {
        "zero": ["occurred_at: epoch 0, which stands for no time"],
        "seconds": ["occurred_at: implausible in ms, plausible in another unit"],
        "good": [],
        "tomorrow": [],
        "next year": ["occurred_at: in the future"],
    }


def test_values_out_of_bounds_are_quarantined_or_clipped_by_behaviour(spark: SparkSession) -> None:
    rows = [
        ("low", "view", "-1"),
        ("high", "view", "9"),
        ("bought", "purchase", "9"),
        ("nothing", "purchase", None),
        ("fine", "purchase", "3"),
    ]
    raw = spark.createDataFrame([(user, "i1", "2017-10-09", did, paid, None) for user, did, paid in rows], SCHEMA)
    values = {"view": ValueRange(min=0, max=5), "purchase": ValueRange(max=5, action="clip")}
    got = {row["user_id"]: (row["value"], row["given_value"], row["reasons"]) for row in assess(raw, values=values).collect()}
    assert got == {
        "low": (-1.0, None, ["value: below 0"]),
        "high": (9.0, None, ["value: above 5"]),
        "bought": (5.0, 9.0, []),
        "nothing": (None, None, []),
        "fine": (3.0, None, []),
    }


def test_a_behaviour_may_be_computed_and_another_quarantined(spark: SparkSession) -> None:
    raw = spark.createDataFrame([("u1", "C17", 2.0), ("u2", "17", 3.0)], "user string, invoice string, price double")
    raw = raw.withColumns({"item": F.lit("i1"), "at": F.lit("2017-10-09")})
    sql = "CASE WHEN invoice LIKE 'C%' THEN 'return' ELSE 'purchase' END"
    config = source(behaviour={"sql": sql}, value={"sql": "price * 2"}, text=None)
    got = assess(raw, config, behaviours={**WEIGHTS, "return": None}).select("user_id", "behaviour", "value", "reasons").collect()
    assert sorted(got) == [("u1", "return", 4.0, ["behaviour: return is quarantined"]), ("u2", "purchase", 6.0, [])]


def test_nested_columns_empty_lists_and_maps(spark: SparkSession) -> None:
    raw = spark.sql(
        """SELECT user, explode_outer(history) AS history, map('b', 1, 'a', 2) AS more
           FROM VALUES ('u1', array(named_struct('item', 'i1', 'at', '2017-10-09'))), ('u2', array()) AS t(user, history)"""
    )
    columns = {"user_id": "user", "item_id": "history.item", "occurred_at": "history.at", "behaviour": {"literal": "view"}}
    config = InteractionSource.model_validate({"path": "events.json", "explode": "history", "columns": columns})
    got = assess(raw.unionAll(raw.limit(1)), config).select("user_id", "item_id", "reasons", "copies").collect()
    reasons = ["item_id: missing", "occurred_at: not a time", "history: no element"]
    assert sorted(got, key=str) == [("u1", "i1", [], 2), ("u2", None, reasons, 1)]


def test_a_value_that_moves_to_another_column_is_another_row(spark: SparkSession) -> None:
    raw = spark.createDataFrame([("u1", None, "x"), ("u1", "x", None)], "user string, item string, did string").withColumn(
        "at", F.lit("2017")
    )
    got = assess(raw, source(value=None, text=None)).select("interaction_id").collect()
    assert len(set(got)) == 2
