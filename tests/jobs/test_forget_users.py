"""Forgetting users: nothing of them is left in any file, and nothing of the others changes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from delta.tables import DeltaTable
from pyspark.sql import Row, SparkSession

from interest_tiers.stages import forget_users
from interest_tiers.storage.retention import VacuumResult
from interest_tiers.storage.schemas import (
    CLUSTERS,
    FORGOTTEN_USERS,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    ITEMS,
    RECOMMENDATIONS,
    RUNS,
    TABLES,
    TEXT_EMBEDDINGS,
    USER_TIERS,
    USER_VECTORS,
    USERS,
    Table,
)
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import require_success, run_command, submit
from tests.storage.test_warehouse import MONDAY, TUESDAY, VALID

#: Two who are forgotten; one whose id begins and one whose id ends with an id of theirs; long, so that no other file name or hash has them.
GONE, GONE_TOO = "772190051", "zoë.772190051@example.org"
STAYS, STAYS_TOO = "7721900512", "1772190051"

GONE_RAWS = (
    f'{{"visitor":"{GONE}.0","price":"a lot"}}',
    f'{{"visitor":{GONE}.0}}',
    '{"visitor":7.72190051E8}',
    f'{{"visitor":"x","friends":[{{"id":["{GONE}"]}}]}}',
    f'{{"_corrupt_record":"view,{GONE},2017","visitor":"view"}}',
    json.dumps({"visitor": GONE_TOO}),
)
KEPT_RAWS = (f'{{"visitor":"{STAYS}"}}', f'{{"visitor":{STAYS_TOO},"note":"nothing"}}', '{"visitor":null}')
GONE_MESSAGE = f"two rows to merge have the same key {{'user_id': '{GONE}'}}"


def write(warehouse: Warehouse, table: Table, *changes: Mapping[str, Any]) -> None:
    """Add rows: the valid row of the table with some values changed."""
    rows = [tuple({**VALID[table.name], **change}[name] for name in table.schema.names) for change in changes]
    warehouse.append(table, warehouse.spark.createDataFrame(rows, table.schema))


def fill(warehouse: Warehouse, tables: Sequence[Table] = TABLES) -> None:
    """Rows of four users on two days in every table of users, and what else may name them."""
    users = (GONE, STAYS, STAYS_TOO, GONE_TOO)
    for table in tables:
        if table.has_users:
            key = "interaction_id" if table is INTERACTIONS else "user_id"
            days = [{"as_of": MONDAY}, {"as_of": TUESDAY}] if table.has_as_of else [{}]
            write(warehouse, table, *[{key: f"{n}", "user_id": user, **day} for n, user in enumerate(users) for day in days])
    if INTERACTIONS_QUARANTINE in tables:
        write(warehouse, INTERACTIONS_QUARANTINE, *[{"row_hash": f"h{n}", "raw": raw} for n, raw in enumerate(GONE_RAWS + KEPT_RAWS)])
    if RUNS in tables:
        write(warehouse, RUNS, {"run_id": "r1", "status": "failed", "message": GONE_MESSAGE}, {"run_id": "r2", "message": "9 users"})
    if CLUSTERS in tables:
        write(warehouse, CLUSTERS, {"size": 4})


def leave_behind(warehouse: Warehouse) -> None:
    """What killed commands leave: rows written aside, and a file of a table that no version has; and a report."""
    root = Path(warehouse.location)
    for folder in ("_staging/cluster_users/vectors", USER_VECTORS.name):
        warehouse.spark.createDataFrame([(GONE,)], "user_id string").coalesce(1).write.mode("append").parquet(f"{root}/{folder}")
    warehouse.write_text(warehouse.report_path(), f"<h3>User {GONE}</h3>")


def texts_of(file: Path) -> str:
    """All that a file says: its bytes, and for Parquet every value, the smallest and largest of each column among them."""
    text = file.read_bytes().decode("utf-8", errors="replace")
    if file.suffix != ".parquet":
        return text
    parquet = pq.ParquetFile(file)
    return f"{text}\n{parquet.metadata.to_dict()}\n{parquet.read().to_pylist()}"


def files_naming(root: Path, user: str) -> set[str]:
    """The files in which a user id stands, not as part of a longer id, with all hidden ones."""
    written = {user, json.dumps(user).strip('"')}
    pattern = re.compile("|".join(rf"(?<![0-9A-Za-z.]){re.escape(text)}(?![0-9A-Za-z])" for text in written))
    return {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file() and pattern.search(texts_of(file))}


def rows_of_others(warehouse: Warehouse) -> dict[str, list[Row]]:
    """The rows of all tables but those of the forgotten, in an order of their own."""
    kept = {}
    for table in TABLES:
        if warehouse.exists(table) and table not in (RUNS, FORGOTTEN_USERS):
            rows = [row for row in warehouse.read(table).collect() if not {GONE, GONE_TOO} & {row.asDict().get("user_id")}]
            kept[table.name] = sorted((row for row in rows if row.asDict().get("raw") not in GONE_RAWS), key=str)
    return kept


@pytest.fixture
def users_file(tmp_path: Path) -> str:
    path = tmp_path / "users.txt"
    path.write_text(f"\ufeff{GONE}.0\r\n\n  {GONE_TOO}\t\nnobody\n{GONE}\n", encoding="utf-8")
    return str(path)


def test_nothing_of_the_forgotten_is_left_in_any_file(warehouse: Warehouse, users_file: str) -> None:
    fill(warehouse)
    leave_behind(warehouse)
    root = Path(warehouse.location)
    set_property(warehouse, USER_TIERS, "delta.checkpointInterval", "2")
    before = rows_of_others(warehouse)
    named = {name.split("/")[0] for name in files_naming(root, GONE)}
    holders = {table.name for table in TABLES if table.has_users or table.names_users}
    assert named == holders | {"_staging", "report"}  # the search finds what is to be found
    assert not {name for name in files_naming(root, GONE) | files_naming(root, GONE_TOO) if "_delta_log" in name}

    printed = require_success(submit("forget_users", "--warehouse", str(root), "--users", users_file, "--retention-hours", "0"))

    assert files_naming(root, GONE) == set()
    assert files_naming(root, GONE_TOO) == set()
    assert list(root.glob("user_tiers/_delta_log/*.checkpoint.parquet"))
    assert {name.split("/")[0] for name in files_naming(root, STAYS)} == holders - {RUNS.name}
    assert rows_of_others(warehouse) == before
    assert len(before[RECOMMENDATIONS.name]) == 4
    assert len(before[INTERACTIONS_QUARANTINE.name]) == len(KEPT_RAWS)
    assert not (root / "report").exists()

    assert warehouse.read(FORGOTTEN_USERS).count() == 3
    runs = {row["run_id"]: row for row in warehouse.read(RUNS).collect()}
    assert (runs.pop("r1")["message"], runs.pop("r2")["message"]) == (None, "9 users")
    (record,) = runs.values()
    assert (record["stage"], record["status"], record["rows_in"], record["rows_out"]) == ("forget_users", "done", 3, 31)
    assert "3 ids, 1 of them not in the table users" in record["message"]
    assert "interactions 2, interactions_quarantine 6, user_interests 4" in record["message"]
    assert "older versions cannot be read any more" in record["message"]
    assert GONE not in printed
    assert re.search(r"user_tiers +4 +now", printed)
    assert "run the stage report again" in printed


def properties_of(warehouse: Warehouse, table: Table) -> dict[str, str]:
    row = DeltaTable.forPath(warehouse.spark, f"{warehouse.location}/{table.name}").detail().select("properties").first()
    assert row is not None
    return row["properties"]


def set_property(warehouse: Warehouse, table: Table, key: str, value: str) -> None:
    warehouse.spark.sql(f"ALTER TABLE delta.`{warehouse.location}/{table.name}` SET TBLPROPERTIES ('{key}' = '{value}')")


def test_vectors_of_what_only_the_forgotten_wrote_go(warehouse: Warehouse, spark: SparkSession, tmp_path: Path) -> None:
    wrote = [(GONE, "my secret"), (GONE, "milk"), (GONE, "me too"), (STAYS, "me too"), (STAYS, "fine")]
    events = [{"interaction_id": f"{place}", "user_id": user, "text": text} for place, (user, text) in enumerate(wrote)]
    write(warehouse, INTERACTIONS, *events)
    write(warehouse, ITEMS, {"item_id": "i", "text": "milk", "text_hash": sha256(b"milk").hexdigest()})
    hashes = [sha256(text).hexdigest() for text in (b"my secret", b"milk", b"me too", b"fine", b"of nobody")]
    write(warehouse, TEXT_EMBEDDINGS, *[{"text_hash": text, "model_id": model} for text in hashes for model in ("m1", "m2")])
    users = tmp_path / "users.txt"
    users.write_text(GONE, encoding="utf-8")
    assert run_command("forget_users", ["--warehouse", warehouse.location, "--users", str(users)]) == 0
    assert run_command("forget_users", ["--warehouse", warehouse.location, "--vacuum-only", "--retention-hours", "0"]) == 0
    secret = sha256(b"my secret").hexdigest()
    left = [row["text_hash"] for row in warehouse.read(TEXT_EMBEDDINGS).collect()]
    assert sorted(left) == sorted(2 * [sha256(text).hexdigest() for text in (b"milk", b"me too", b"fine", b"of nobody")])
    files = list((Path(warehouse.location) / TEXT_EMBEDDINGS.name).rglob("*.parquet"))
    assert files
    assert not any(secret in pq.read_table(file)["text_hash"].to_pylist() for file in files if "_delta_log" not in file.parts)


def test_the_retention_of_a_table_is_kept_and_told(
    warehouse: Warehouse, users_file: str, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(warehouse, [USERS])
    set_property(warehouse, USERS, "delta.deletedFileRetentionDuration", "interval 30 days")
    full = warehouse.version(USERS)
    command = ["--warehouse", warehouse.location, "--users", users_file]
    start = datetime.now(UTC)
    assert run_command("forget_users", command) == 0
    printed = capsys.readouterr().out
    assert {row["user_id"] for row in warehouse.read(USERS).collect()} == {STAYS, STAYS_TOO}
    told = re.search(r"^users +2 +after (.{16} UTC) .* from 0 on$", printed, re.M)
    assert told is not None, printed
    late = datetime.strptime(told[1], "%Y-%m-%d %H:%M %Z").replace(tzinfo=UTC) - (start + timedelta(days=30))
    assert timedelta(minutes=-1) < late < timedelta(minutes=2)
    assert f"Run forget_users --vacuum-only after {told[1]}" in printed
    assert properties_of(warehouse, USERS)["delta.deletedFileRetentionDuration"] == "interval 30 days"
    assert spark.read.format("delta").option("versionAsOf", full).load(f"{warehouse.location}/users").count() == 4

    assert run_command("forget_users", ["--warehouse", warehouse.location, "--vacuum-only", "--retention-hours", "0"]) == 0
    assert re.search(r"^users +0 +now", capsys.readouterr().out, re.M)
    assert files_naming(Path(warehouse.location), GONE) == set()
    assert properties_of(warehouse, USERS)["delta.deletedFileRetentionDuration"] == "interval 30 days"
    assert not [key for key in properties_of(warehouse, USERS) if key.startswith("interest_tiers")]


def test_a_retention_left_short_by_a_killed_run_comes_back(warehouse: Warehouse) -> None:
    fill(warehouse, [USERS])
    for key, value in (("interest_tiers.retentionBefore", "interval 9 days"), ("delta.deletedFileRetentionDuration", "interval 0 hours")):
        set_property(warehouse, USERS, key, value)
    assert warehouse.vacuum(USERS, None) == VacuumResult("users", None, None, 0)
    assert properties_of(warehouse, USERS)["delta.deletedFileRetentionDuration"] == "interval 9 days"
    assert "interest_tiers.retentionBefore" not in properties_of(warehouse, USERS)


def test_a_table_whose_log_has_users_says_so(warehouse: Warehouse, spark: SparkSession) -> None:
    """A table made before its statistics left users out."""
    spark.createDataFrame([(GONE, {}), (STAYS, {})], USERS.schema).write.format("delta").save(f"{warehouse.location}/users")
    assert any("_delta_log" in name for name in files_naming(Path(warehouse.location), GONE))
    users = warehouse.stage("users", spark.createDataFrame([(GONE,)], "user_id string"))
    assert forget_users.forget(warehouse, USERS, users) == 1
    past = warehouse.vacuum(USERS, None)
    assert past.unreadable_from is not None
    assert past.log_unreadable_from is not None
    assert past.log_unreadable_from - past.unreadable_from == timedelta(days=30 + 1 - 7)
    newest = sorted(Path(warehouse.location, "users", "_delta_log").glob("*.json"))
    assert not any("minValues" in commit.read_text() for commit in newest[1:] if '"add"' in commit.read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file, folder or glob"),
        (b"\xef\xbb\xbf\n \n", "the file has no user id; give one per line"),
        (b"PAR1\x00\x00\x15", "not a text file"),
    ],
)
def test_a_file_of_no_users_is_told(
    warehouse: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    fill(warehouse, [USERS])
    path = tmp_path / "users.txt"
    if content is not None:
        path.write_bytes(content)
    assert run_command("forget_users", ["--warehouse", warehouse.location, "--users", str(path)]) == 2
    assert f"error: --users {path}: {message}" in capsys.readouterr().err
    assert warehouse.read(USERS).count() == 4
    assert not warehouse.exists(FORGOTTEN_USERS)


def test_a_folder_without_tables_is_told_and_left_alone(
    spark: SparkSession, users_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("forget_users", ["--warehouse", str(tmp_path / "wrong"), "--users", users_file]) == 2
    assert "there is no table of users" in capsys.readouterr().err
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize("wrong", [[], ["--users", "f", "--vacuum-only"], ["--vacuum-only", "--retention-hours", "-1"]])
def test_a_wrong_command_is_told(spark: SparkSession, tmp_path: Path, wrong: list[str]) -> None:
    assert run_command("forget_users", ["--warehouse", str(tmp_path / "w"), *wrong]) == 2
    assert not (tmp_path / "w").exists()


def test_a_catalog_forgets_too(spark: SparkSession, tmp_path: Path) -> None:
    spark.sql(f"CREATE SCHEMA forgetting LOCATION '{tmp_path / 'catalog'}'")
    try:
        catalog = Warehouse(spark, "spark_catalog.forgetting")
        fill(catalog, [USER_TIERS])
        users = catalog.stage("users", spark.createDataFrame([(GONE,), (GONE_TOO,)], "user_id string"))
        assert forget_users.forget(catalog, USER_TIERS, users) == 4
        catalog.delete_files_of_users()
        catalog.vacuum(USER_TIERS, None, retention_hours=0)
        assert {row["user_id"] for row in catalog.read(USER_TIERS).collect()} == {STAYS, STAYS_TOO}
        assert files_naming(tmp_path / "catalog", GONE) == set()
        assert "delta.deletedFileRetentionDuration" not in str(spark.sql(f"SHOW TBLPROPERTIES {catalog.location}.user_tiers").collect())
    finally:
        spark.sql("DROP SCHEMA forgetting CASCADE")
