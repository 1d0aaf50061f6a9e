"""Every stage ends well on data that are smaller, shorter or poorer than usual, and says what could not be done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.storage.schemas import (
    INTERESTS,
    ITEM_INTERESTS,
    METRICS,
    RECOMMENDATIONS,
    RUNS,
    TEXT_EMBEDDINGS,
    USER_CLUSTERS,
    USER_INTERESTS,
    USER_TIERS,
    Table,
)
from interest_tiers.storage.schemas import ITEMS as ITEMS_TABLE
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import run_command

LAST_DAY = date(2024, 6, 30)

#: user, item, days before LAST_DAY, behaviour
Event = tuple[str, str, int, str]

ITEMS = {
    "milk": ("whole milk", "DAIRY"),
    "cheese": ("goat cheese", "DAIRY"),
    "hammer": ("claw hammer", "TOOLS"),
    "saw": ("hand saw", "TOOLS"),
    "rose": ("red rose", "FLOWERS"),
}


ITEM_COLUMNS = {"item_id": "item", "text": "title", "category": "kind"}


@dataclass(frozen=True)
class Ended:
    """A pipeline that ended: its exit code, what it printed, and its tables."""

    code: int
    printed: str
    errors: str
    warehouse: Warehouse

    def rows(self, table: Table) -> DataFrame:
        return self.warehouse.read(table)

    @property
    def report(self) -> str:
        return Path(self.warehouse.location, "report", "index.html").read_text(encoding="utf-8")


def run_pipeline(
    spark: SparkSession,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    events: Sequence[Event],
    items: Mapping[str, tuple[str | None, str | None]] = ITEMS,
    arguments: Sequence[str] = (),
    item_columns: Mapping[str, str] = ITEM_COLUMNS,
    **sections: Any,
) -> Ended:
    """Write the data and a config, and run the pipeline in this session. sections: of the config, over those below."""
    folder.mkdir(exist_ok=True)
    rows = [{"user": u, "item": i, "at": f"{LAST_DAY - timedelta(days=age)} 12:00:00", "did": did} for u, i, age, did in events]
    listed = [{"item": item, "title": title, "kind": kind} for item, (title, kind) in items.items()]
    for name, lines in (("events", rows), ("items", listed)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    config = {
        "name": "edge",
        "interactions": {
            "path": f"{folder}/events.jsonl",
            "columns": {"user_id": "user", "item_id": "item", "occurred_at": "at", "behaviour": "did"},
        },
        "items": {"path": f"{folder}/items.jsonl", "columns": dict(item_columns)},
        "behaviours": {"buy": 1.0, "view": 0.3, "dislike": -1.0},
        "quality": {"min_rows": 1, "min_users": 1},
        "tiers": {"horizon_days": 7, "network": "rule"},
        "clustering": {"k": [2, 3]},
        "evaluation": {"bootstrap_samples": 100},
        **sections,
    }
    (folder / "edge.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    warehouse = Warehouse(spark, str(folder / "warehouse"))
    code = run_command("pipeline", ["--config", str(folder / "edge.yaml"), "--warehouse", warehouse.location, *arguments])
    captured = capsys.readouterr()
    return Ended(code, captured.out, captured.err, warehouse)


def everybody(n_users: int, ages: Sequence[int], did: str = "buy") -> list[Event]:
    """Users who each touch two items in turn."""
    names = list(ITEMS)
    return [(f"u{n}", names[(n + turn % 2) % len(names)], age, did) for n in range(n_users) for turn, age in enumerate(ages)]


#: A catalogue whose config names no text.
WITHOUT_TEXT = {"item_id": "item", "category": "kind"}

#: Events, what differs from the usual config, and what a line must say.
SMALL: dict[str, tuple[list[Event], dict[str, Any], str]] = {
    "one user, one interest, one event, no text": (
        [("u1", "milk", 0, "buy")],
        {"item_columns": WITHOUT_TEXT},
        "no item has a text: nothing to embed",
    ),
    "three users, twenty topics, four texts": (
        [("u1", "milk", 1, "buy"), ("u2", "saw", 9, "buy"), ("u3", "rose", 2, "buy"), ("u3", "cheese", 12, "view")],
        {"interests": {"source": "topic", "topics": 20}},
        "topics, found in 4 of 4 texts",
    ),
    "one event each, a network, and a horizon longer than the data": (
        everybody(12, [3]),
        {"tiers": {"horizon_days": 400, "network": "mlp"}},
        "no back-test: it needs interactions before and after",
    ),
    "nobody likes anything": (
        [*everybody(5, [1, 9], "dislike"), ("u9", "milk", 1, "buy"), ("u9", "milk", 0, "dislike")],
        {},
        "because no user has evidence of an interest",
    ),
}


@pytest.mark.parametrize("case", SMALL)
def test_the_pipeline_ends_with_a_report(case: str, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events, sections, sentence = SMALL[case]
    ended = run_pipeline(spark, tmp_path / "edge", capsys, events, **sections)
    assert ended.code == 0, ended.errors
    assert sentence in ended.printed
    assert "Back-test" in ended.report
    users = {user for user, *_ in events}
    tiers = ended.rows(USER_TIERS)
    assert {row["user_id"] for row in tiers.collect()} == users
    assert tiers.count() == ended.rows(USER_INTERESTS).count()


def test_two_horizons_of_data_and_less_than_three_train_a_network_and_judge_it(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the back-test's training cutoff no horizon is complete, so some features have no value in any row."""
    ages = [*range(0, 34, 3)]
    tiers = {"horizon_days": 14, "network": "mlp", "training": {"epochs": 1, "members": 1, "width": 8, "cuts": 1, "min_epoch_steps": 2}}
    ended = run_pipeline(spark, tmp_path / "edge", capsys, everybody(120, ages), tiers=tiers)
    assert ended.code == 0, ended.errors
    models = {row["slice"] for row in ended.rows(METRICS).where("stage = 'evaluate' AND metric = 'J'").collect()}
    assert {"model=user_tiers", "model=gradient_boosting", "model=rule"} <= models
    assert "Gradient boosting" in ended.report


def test_a_disliked_item_is_recommended_to_nobody_who_dislikes_it(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """u0 likes milk, dislikes cheese, which the others like; nobody likes cream."""
    items = {**ITEMS, "cream": ("sour cream", "DAIRY")}
    fans = [
        (f"u{n}", item, age, did)
        for n in range(1, 8)
        for item, age, did in (("milk", 2, "buy"), ("cheese", 3, "buy"), ("cream", 4, "dislike"))
    ]
    events = [("u0", "milk", 2, "buy"), ("u0", "cheese", 2, "dislike"), *fans, ("u8", "saw", 20, "dislike")]
    ended = run_pipeline(spark, tmp_path / "edge", capsys, events, items, ["--to", "recommend"], recommend={"k": 5})
    assert ended.code == 0, ended.errors
    listed = {(row["user_id"], row["item_id"]): row["reason"] for row in ended.rows(RECOMMENDATIONS).collect()}
    assert {item for _, item in listed} == {"milk", "cheese"}
    assert [item for user, item in listed if user == "u0"] == ["milk"]
    assert listed["u1", "cheese"].startswith("yours on 1 day, last 2 days ago; ")
    pairs = {(row["user_id"], row["interest_id"]): (row["evidence"], row["share"]) for row in ended.rows(USER_INTERESTS).collect()}
    assert pairs["u8", "category:TOOLS"] == (0.0, 0.0)
    assert run_command("show", ["u8", "--warehouse", ended.warehouse.location]) == 0
    assert "low evidence: " in capsys.readouterr().out
    marked = {row["user_id"] for row in ended.rows(USER_TIERS).where("low_evidence").collect()}
    assert marked == {"u0", "u8"}  # the others have events on three days


def test_a_stray_event_does_not_move_the_day_and_every_line_says_so(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [(f"u{n}", item, 4000 + age, "buy") for n in range(20) for item in ("milk", "saw", "rose") for age in range(0, 34, 2)]
    ended = run_pipeline(spark, tmp_path / "edge", capsys, [*events, ("u0", "milk", 0, "buy")], arguments=["--to", "assign_tiers"])
    assert ended.code == 0, ended.errors
    as_of = LAST_DAY - timedelta(days=3999)
    assert {row["as_of"] for row in ended.rows(USER_TIERS).select("as_of").distinct().collect()} == {as_of}
    note = f"as_of is {as_of}: 1 event of 1,021 counts as stray, from {LAST_DAY} on, after 4,000 days without any."
    lines = [line for line in ended.printed.splitlines() if " rows in" in line and not line.startswith(("clean", "stage"))]
    assert lines and all(note in line for line in lines)
    # The report shows the messages of the runs.
    assert ended.rows(RUNS).where("stage = 'assign_tiers'").first()["message"].startswith(note)  # type: ignore[index]
    # With the day given, all is as long ago as it is, and ranks still follow the days.
    command = ["--config", str(tmp_path / "edge" / "edge.yaml"), "--warehouse", ended.warehouse.location]
    again = run_command("build_interests", [*command, "--as-of", str(LAST_DAY + timedelta(days=1))])
    assert again == 0, capsys.readouterr().err
    later = ended.rows(USER_INTERESTS).where(f"as_of > DATE'{as_of}' AND user_id = 'u1'")
    assert [(row["share"] > 0.3, row["evidence"] > 0) for row in later.collect()] == [(True, True)] * 3


def test_without_any_text_there_are_clusters(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two groups of users with interests of their own are two clusters."""
    groups = {"DAIRY": ("milk", "cheese"), "TOOLS": ("hammer", "saw")}
    events = [
        (f"{kind}{n}", names[turn % 2], 1 + turn, "buy") for kind, names in groups.items() for n in range(6) for turn in range(2, 10 + n)
    ] + [(f"{kind}{n}", "rose", n, "view") for kind in groups for n in range(6)]
    clustering, to = {"k": [2], "components": 2}, ["--to", "cluster_users"]
    ended = run_pipeline(spark, tmp_path / "edge", capsys, events, ITEMS, to, WITHOUT_TEXT, clustering=clustering)
    assert ended.code == 0, ended.errors
    assert "no item has a text: nothing to embed" in ended.printed
    clusters: dict[str, set[str]] = {}
    for row in ended.rows(USER_CLUSTERS).where("is_primary").collect():
        clusters.setdefault(row["cluster_id"], set()).add(row["user_id"][:5])
    assert sorted(clusters.values(), key=str) == [{"DAIRY"}, {"TOOLS"}]


#: Emoji that the model's vocabulary lacks, and characters that its tokenizer deletes.
EMOJI = {"a": "\N{RAINBOW}", "b": "\N{SLICE OF PIZZA}", "c": "\N{GUITAR}", "p": "\ue000", "q": "\ufffd"}


def test_texts_that_say_nothing_have_no_topic_and_are_counted(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = ITEMS | {item: (title, None) for item, title in EMOJI.items()}
    events = [(f"u{n}", item, n + turn, "buy") for n in range(8) for turn, item in enumerate([*ITEMS][n % 4 : n % 4 + 2])]
    events += [(f"u{n}", item, 2, "buy") for n, item in enumerate("abcpq")]
    sections = {"interests": {"source": "topic", "topics": 3}}
    ended = run_pipeline(spark, tmp_path / "edge", capsys, events, items, ["--to", "recommend"], **sections)
    assert ended.code == 0, ended.errors
    measured = {row["metric"]: row["value"] for row in ended.rows(METRICS).where("stage = 'embed'").collect()}
    n_texts = ended.rows(TEXT_EMBEDDINGS).count()
    empty = ended.rows(TEXT_EMBEDDINGS).where("n_unknown = n_tokens")
    assert (measured["texts"], measured["texts_without_information"]) == (n_texts, empty.count())
    assert empty.count() >= 4  # clean may leave no text where nothing can be seen
    assert f"{empty.count()} texts say nothing to it" in ended.printed
    assert not {row["item_id"] for row in ended.rows(ITEM_INTERESTS).collect()} & EMOJI.keys()
    assert not {row["item_id"] for row in ended.rows(RECOMMENDATIONS).collect()} & EMOJI.keys()


def test_a_vector_with_nan_is_refused_by_the_table_left_out_of_means_and_made_anew(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = everybody(6, [0, 5, 11])
    ended = run_pipeline(spark, tmp_path / "edge", capsys, events, arguments=["--to", "embed"])
    assert ended.code == 0, ended.errors
    table = f"delta.`{ended.warehouse.location}/text_embeddings`"
    text_hash = ended.warehouse.read(ITEMS_TABLE).where("item_id = 'milk'").first()["text_hash"]  # type: ignore[index]
    update = f"UPDATE {table} SET embedding = transform(embedding, (x, i) -> IF(i = 0, float('NaN'), x)) WHERE text_hash = '{text_hash}'"
    with pytest.raises(Exception, match="embedding_is_finite"):
        spark.sql(update)
    spark.sql(f"ALTER TABLE {table} DROP CONSTRAINT embedding_is_finite")  # as a table of an earlier version
    spark.sql(update)
    command = ["--config", str(tmp_path / "edge" / "edge.yaml"), "--warehouse", ended.warehouse.location]
    assert run_command("build_interests", command) == 0
    assert f"1 vector with NaN or infinity left out: text_hash {text_hash} (item milk)" in capsys.readouterr().out
    vectors = [row["embedding"] for row in ended.rows(INTERESTS).collect()]
    assert all(abs(sum(x * x for x in vector) - 1) < 1e-5 for vector in vectors)
    assert run_command("embed", command) == 0
    assert "stored vectors with NaN or infinity: 1, made anew" in capsys.readouterr().out
    remade = ended.rows(TEXT_EMBEDDINGS).where(f"text_hash = '{text_hash}'").first()
    assert remade is not None and abs(sum(x * x for x in remade["embedding"]) - 1) < 1e-5
    with pytest.raises(Exception, match="embedding_is_finite"):
        spark.sql(update)
