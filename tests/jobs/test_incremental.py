"""clean, run day after day: it reads what is new, and leaves what one reading of everything would leave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.jobs import clean
from interest_tiers.tables import DATA_QUALITY, INTERACTIONS, INTERACTIONS_QUARANTINE, ITEMS, RUNS, SOURCE_FILES, USERS, Table, Warehouse
from tests.jobs.shop import require_success, submit

#: (user, item, time, behaviour, amount) by file. The last line of monday comes once more on tuesday; item i9 is of a dropped category.
MONDAY = [
    ("u1", "i1", "2024-03-04T10:00:00", "view", "1"),
    ("u1", "i1", "2024-03-04T10:00:30", "view", "1"),
    ("u2", "i2", "2024-03-04T11:00:00", "buy", "50"),
    ("u2", "i9", "2024-03-04T11:00:00", "buy", "50"),
    ("", "i1", "2024-03-04T11:00:00", "view", "1"),
    ("u3", "i1", "2024-03-04T12:00:00", "view", "1"),
]
#: A late event falls before one of monday, which becomes its repeat: u3 is left with the earlier one.
TUESDAY = [
    ("u3", "i1", "2024-03-04T12:00:00", "view", "1"),
    ("u3", "i1", "2024-03-04T11:59:30", "view", "1"),
    ("u4", "i2", "2024-03-05T09:00:00", "buy", "900"),
    ("u4", "i2", "yesterday", "buy", "9"),
]
#: Only late events, of one day, among them what monday and tuesday have.
WEDNESDAY = [
    ("u1", "i1", "2024-03-04T10:00:30", "view", "1"),
    ("u5", "i1", "2024-03-05T08:00:00", "view", "1"),
    ("u4", "i2", "yesterday", "buy", "9"),
]

COMPARED = (INTERACTIONS, INTERACTIONS_QUARANTINE, ITEMS, USERS)


class Platform:
    """A folder that gets a file a day, its config, and one warehouse for runs day after day."""

    def __init__(self, folder: Path, spark: SparkSession) -> None:
        self.folder, self.spark = folder, spark
        (folder / "logs").mkdir(parents=True)
        (folder / "items.csv").write_text("item,title,kind\ni1,red pan,PANS\ni2,knife,KNIVES\ni9,card,GIFT\n", encoding="utf-8")
        self.config = folder / "platform.yaml"
        self.write_config()

    def write_config(self, **changed: object) -> None:
        columns = {"user_id": "user", "item_id": "item", "occurred_at": "at", "behaviour": "action", "value": "amount"}
        config: dict[str, object] = {
            "name": "platform",
            "interactions": {"path": f"{self.folder}/logs", "format": "csv", "columns": columns},
            "items": {
                "path": f"{self.folder}/items.csv",
                "columns": {"item_id": "item", "text": "title", "category": "kind"},
                "drop_categories": ["GIFT"],
            },
            "behaviours": {"view": 0.2, "buy": 1.0},
            "values": {"buy": {"max": 100, "action": "clip"}},
            "noise": {"repeat_seconds": 60},
            "quality": {"max_quarantine_rate": 0.9, "min_rows": 1, "min_users": 1},
        }
        self.config.write_text(yaml.safe_dump(config | changed), encoding="utf-8")

    def arrives(self, name: str, rows: Sequence[tuple[str, ...]], header: str = "user,item,at,action,amount") -> None:
        (self.folder / "logs" / name).write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")

    def clean(self, *options: str, warehouse: str = "daily", exit_code: int = 0) -> None:
        given = ["--config", str(self.config), "--warehouse", f"{self.folder}/{warehouse}", *options]
        assert clean.main(given) == exit_code

    def tables(self, warehouse: str = "daily") -> Warehouse:
        return Warehouse(self.spark, f"{self.folder}/{warehouse}")

    def last_run(self, warehouse: str = "daily") -> Row:
        run = self.tables(warehouse).read(RUNS).where("stage = 'clean'").orderBy("started_at", ascending=False).first()
        assert run is not None
        return run

    def require_same(self, one: str, other: str) -> None:
        for table in COMPARED:
            left, right = (self.tables(warehouse).read(table).drop("run_id") for warehouse in (one, other))
            assertDataFrameEqual(left, right)


@pytest.fixture
def platform(tmp_path: Path, spark: SparkSession) -> Platform:
    return Platform(tmp_path / "platform", spark)


def files_by_day(warehouse: Warehouse, table: Table = INTERACTIONS) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in warehouse.read(table).inputFiles():
        day, name = path.split("/")[-2:]
        found.setdefault(day, set()).add(name)
    return found


def versions(warehouse: Warehouse) -> dict[str, int]:
    return {table.name: warehouse.version(table) for table in (*COMPARED, SOURCE_FILES, DATA_QUALITY)}


def ids(rows: DataFrame) -> list[tuple[str, str]]:
    return sorted((row["user_id"], row["occurred_at"].strftime("%d %H:%M:%S")) for row in rows.collect())


def test_day_after_day_gives_what_one_reading_of_everything_gives(platform: Platform) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    # The repeat of u1 and the row without a user are quarantined, and so is the row of a dropped item.
    assert ids(platform.tables().read(INTERACTIONS)) == [("u1", "04 10:00:00"), ("u2", "04 11:00:00"), ("u3", "04 12:00:00")]
    assert (platform.last_run()["rows_in"], platform.last_run()["rows_out"]) == (6, 3)

    platform.arrives("tuesday.csv", TUESDAY)
    platform.clean()
    run = platform.last_run()
    # Four rows read: two good ones, one without a time, one that monday had.
    assert (run["rows_in"], run["rows_out"]) == (4, 2)
    assert "2 interactions, 1 exact duplicates, 1 quarantined" in run["message"]
    assert "1 new files" in run["message"]
    interactions = platform.tables().read(INTERACTIONS)
    assert ids(interactions) == [("u1", "04 10:00:00"), ("u2", "04 11:00:00"), ("u3", "04 11:59:30"), ("u4", "05 09:00:00")]
    [clipped] = interactions.where("user_id = 'u4'").collect()
    assert (clipped["value"], clipped["given_value"]) == (100, 900)

    before = files_by_day(platform.tables())
    platform.arrives("wednesday.csv", WEDNESDAY)
    platform.clean()
    # What u1 did is a repeat that is in the quarantine already; the bad row is counted again, and stands there once.
    assert "1 interactions, 1 exact duplicates, 1 quarantined" in platform.last_run()["message"]
    after = files_by_day(platform.tables())
    assert after["event_date=2024-03-04"] == before["event_date=2024-03-04"]
    assert after["event_date=2024-03-05"] != before["event_date=2024-03-05"]

    platform.clean(warehouse="at_once")
    platform.require_same("daily", "at_once")
    platform.clean("--full")
    platform.require_same("daily", "at_once")


def test_the_same_files_again_change_nothing(platform: Platform) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    before = versions(platform.tables())
    platform.clean()
    assert versions(platform.tables()) == before
    run = platform.last_run()
    assert (run["rows_in"], run["rows_out"], run["message"]) == (0, 0, "nothing new")


def test_without_rules_for_days_rows_are_added_and_no_file_is_written_again(platform: Platform) -> None:
    platform.write_config(noise={})
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    before = files_by_day(platform.tables())
    platform.arrives("tuesday.csv", TUESDAY)
    platform.clean()
    after = files_by_day(platform.tables())
    assert before["event_date=2024-03-04"] < after["event_date=2024-03-04"]
    platform.clean(warehouse="at_once")
    platform.require_same("daily", "at_once")


@pytest.mark.parametrize("change", ["file", "rules", "type", "dropped"])
def test_where_adding_would_be_wrong_everything_is_read_and_the_reason_told(platform: Platform, change: str) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    platform.arrives("tuesday.csv", TUESDAY)
    if change == "file":
        platform.arrives("monday.csv", MONDAY[:3])
        reason = "monday.csv is no longer the file that was read"
    elif change == "rules":
        platform.write_config(values={})
        reason = "the config or the version of the code cleans it in another way"
    elif change == "type":
        platform.write_config(interactions={**yaml.safe_load(platform.config.read_text())["interactions"], "options": {"sep": ","}})
        reason = "cleans it in another way"
    else:
        (platform.folder / "items.csv").write_text("item,title,kind\ni1,red pan,PANS\ni2,knife,GIFT\ni9,card,CARDS\n", encoding="utf-8")
        reason = "other items belong to a dropped category"
    platform.clean()
    assert reason in platform.last_run()["message"]
    platform.clean(warehouse="at_once")
    platform.require_same("daily", "at_once")


def test_rows_of_files_that_are_gone_stay_until_all_is_read_again(platform: Platform) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    (platform.folder / "logs" / "monday.csv").unlink()
    platform.arrives("tuesday.csv", TUESDAY)
    platform.clean()
    assert "1 files are no longer there, their rows stay" in platform.last_run()["message"]
    assert platform.tables().read(INTERACTIONS).where("user_id = 'u1'").count() == 1
    platform.clean("--full")
    assert platform.tables().read(INTERACTIONS).where("user_id = 'u1'").count() == 0


def test_a_column_that_new_files_lack_is_null_there(platform: Platform) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    platform.arrives("tuesday.csv", [row[:4] for row in TUESDAY], header="user,item,at,action")
    platform.clean()
    assert "1 new files" in platform.last_run()["message"]
    platform.clean(warehouse="at_once")
    platform.require_same("daily", "at_once")


def test_a_refused_day_leaves_the_tables_and_is_read_again(platform: Platform) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    platform.arrives("tuesday.csv", TUESDAY)
    before = ids(platform.tables().read(INTERACTIONS))
    strict = ["--set", "quality.max_quarantine_rate=0.1"]
    platform.clean(*strict, exit_code=3)
    platform.clean(*strict, exit_code=3)
    assert ids(platform.tables().read(INTERACTIONS)) == before
    platform.clean()
    platform.clean(warehouse="at_once")
    platform.require_same("daily", "at_once")


def test_events_that_become_too_old_are_refused_although_no_file_came(platform: Platform) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    platform.clean("--set", "quality.max_age_days=30", exit_code=3)
    assert "the newest event is" in platform.last_run()["message"]


def test_a_delta_table_that_has_grown_is_merged_and_one_with_other_rows_read_whole(platform: Platform) -> None:
    spark, table = platform.spark, f"{platform.folder}/events"
    columns = ["user", "item", "at", "action", "amount"]
    source = {**yaml.safe_load(platform.config.read_text())["interactions"], "path": table, "format": "delta"}
    platform.write_config(interactions=source)
    spark.createDataFrame(MONDAY, columns).write.format("delta").save(table)
    platform.clean()
    spark.createDataFrame(TUESDAY, columns).write.format("delta").mode("append").save(table)
    platform.clean()
    assert "all files read" not in platform.last_run()["message"]
    spark.sql(f"DELETE FROM delta.`{table}` WHERE user = 'u2'")
    platform.clean()
    assert "is no longer the file that was read" in platform.last_run()["message"]
    platform.clean(warehouse="at_once")
    platform.require_same("daily", "at_once")


def test_a_stream_over_the_folder_gives_the_same_tables(platform: Platform) -> None:
    stream = ["--stream", "--files-per-batch", "1"]
    platform.arrives("monday.csv", MONDAY)
    platform.arrives("tuesday.csv", TUESDAY)
    given = ["--config", str(platform.config), "--warehouse", f"{platform.folder}/daily"]
    require_success(submit("clean", *given, *stream))
    platform.arrives("wednesday.csv", WEDNESDAY)
    platform.clean(*stream)
    assert platform.last_run()["rows_in"] == len(WEDNESDAY)
    platform.clean(*stream)
    assert platform.last_run()["rows_in"] == 0
    platform.clean()
    assert platform.last_run()["message"] == "nothing new"
    platform.clean(warehouse="at_once")
    platform.require_same("daily", "at_once")


def test_a_stream_is_told_when_everything_has_to_be_read_again(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean("--stream")
    platform.write_config(values={})
    platform.clean("--stream", exit_code=2)
    assert "run clean --full once" in capsys.readouterr().err


def test_refusal_in_a_stream_is_that_of_the_gate(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean("--stream", "--set", "quality.max_quarantine_rate=0.1", exit_code=3)
    assert "rows cannot be used" in capsys.readouterr().err


def test_nested_columns_that_new_lines_lack_are_null_there(platform: Platform) -> None:
    def line(user: str, extra: Mapping[str, object]) -> str:
        return json.dumps({"user": user, "what": {"item": "i1", "at": "2024-03-04T10:00:00", **extra}})

    logs = platform.folder / "logs"
    columns = {"user_id": "user", "item_id": "what.item", "occurred_at": "what.at", "behaviour": {"literal": "view"}, "value": "what.price"}
    platform.write_config(interactions={"path": str(logs), "format": "json", "columns": columns})
    (logs / "monday.jsonl").write_text(line("u1", {"price": 2}) + "\n", encoding="utf-8")
    platform.clean()
    (logs / "tuesday.jsonl").write_text(line("u2", {"place": "home"}) + "\n", encoding="utf-8")
    platform.clean()
    assert "1 new files" in platform.last_run()["message"]
    platform.clean(warehouse="at_once")
    platform.require_same("daily", "at_once")
