"""clean, run day after day: it reads what is new, and leaves what one reading of everything would leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from interest_tiers.stages import clean_tables
from interest_tiers.stages.clean_stream import step_run_id
from interest_tiers.storage.schemas import (
    DATA_QUALITY,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    ITEM_VERSIONS,
    ITEMS,
    RUNS,
    SOURCE_FILES,
    USERS,
    Table,
)
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import require_success, run_command, submit

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
        assert run_command("clean", given) == exit_code

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

    before_again = versions(platform.tables())
    platform.clean()
    assert versions(platform.tables()) == before_again
    assert (platform.last_run()["rows_in"], platform.last_run()["message"]) == (0, "nothing new")

    platform.clean(warehouse="at_once")
    platform.require_same("daily", "at_once")


def test_without_rules_for_days_rows_are_added_and_no_file_is_written_again(platform: Platform) -> None:
    platform.write_config(noise={})
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    before = files_by_day(platform.tables())
    platform.arrives("tuesday.csv", TUESDAY)
    platform.clean()
    after = files_by_day(platform.tables())
    assert before["event_date=2024-03-04"] < after["event_date=2024-03-04"]
    # The repeats of u1 and u3 are kept, the row of tuesday that monday had comes once.
    assert ids(platform.tables().read(INTERACTIONS)) == [
        ("u1", "04 10:00:00"),
        ("u1", "04 10:00:30"),
        ("u2", "04 11:00:00"),
        ("u3", "04 11:59:30"),
        ("u3", "04 12:00:00"),
        ("u4", "05 09:00:00"),
    ]


def test_many_small_files_of_a_day_are_compacted(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean_tables, "FILES_PER_DAY", 1)
    platform.write_config(noise={})
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    platform.arrives("tuesday.csv", TUESDAY)
    platform.clean()
    # Monday had a file of each run, tuesday one.
    assert {day: len(files) for day, files in files_by_day(platform.tables()).items()} == {
        "event_date=2024-03-04": 1,
        "event_date=2024-03-05": 1,
    }
    assert platform.tables().read(INTERACTIONS).count() == 6


def test_of_a_delta_source_only_the_added_rows_are_read(platform: Platform) -> None:
    names = ["user", "item", "at", "action", "amount"]

    def arrives(folder: str, rows: Sequence[tuple[str, ...]], columns: Sequence[str] = names) -> None:
        frame = platform.spark.createDataFrame(rows, ", ".join(f"{name} string" for name in columns))
        frame.write.format("delta").mode("append").save(f"{platform.folder}/{folder}")

    columns = {"user_id": "user", "item_id": "item", "occurred_at": "at", "behaviour": "action", "value": "amount"}
    catalogue = {"item_id": "item", "text": "title", "category": "kind"}
    platform.write_config(
        interactions={"path": f"{platform.folder}/events", "format": "delta", "columns": columns},
        items={"path": f"{platform.folder}/catalogue", "format": "delta", "columns": catalogue, "drop_categories": ["GIFT"]},
    )
    arrives("events", MONDAY)
    arrives("catalogue", [("i1", "red pan", "PANS"), ("i2", "knife", "KNIVES"), ("i9", "card", "GIFT")], ["item", "title", "kind"])
    platform.clean()
    arrives("events", TUESDAY)
    arrives("catalogue", [("i2", "knife", "KNIVES"), ("i3", "fork", "FORKS")], ["item", "title", "kind"])
    platform.spark.sql(f"OPTIMIZE delta.`{platform.folder}/events`")
    platform.clean()
    run = platform.last_run()
    assert (run["rows_in"], run["rows_out"]) == (4, 2)
    assert "the rows added to interactions, items" in run["message"]
    counted = {row["item_id"]: row["n_rows"] for row in platform.tables().read(ITEM_VERSIONS).collect()}
    assert counted == {"i1": 1, "i2": 2, "i3": 1, "i9": 1}
    platform.clean()
    assert platform.last_run()["message"] == "nothing new"
    platform.clean(warehouse="at_once")
    platform.require_same("daily", "at_once")
    platform.spark.sql(f"DELETE FROM delta.`{platform.folder}/events` WHERE user = 'u2'")
    platform.clean()
    assert "is no longer the file that was read" in platform.last_run()["message"]


def test_steps_of_a_stream_sort_as_text() -> None:
    steps = [step_run_id("20240304T100000-ab12cd34", "logs", number) for number in (9, 10, 100)]
    assert steps == sorted(steps)


def test_a_damaged_file_is_blamed_on_the_source_that_has_it(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    rows = platform.spark.createDataFrame(
        [row for row in MONDAY if row[0]], "user string, item string, at string, action string, amount string"
    )
    rows.coalesce(1).write.parquet(f"{platform.folder}/parquet")
    columns = {"user_id": "user", "item_id": "item", "occurred_at": "at", "behaviour": "action", "value": "amount"}
    platform.write_config(interactions={"path": f"{platform.folder}/parquet", "columns": columns})
    platform.clean()
    damaged_source = next((platform.folder / "parquet").glob("*.parquet"))
    damage_values(damaged_source)
    platform.clean("--full", exit_code=2)
    message = capsys.readouterr().err
    assert f"behind {platform.folder}/parquet is cut short or damaged" in message
    assert damaged_source.name in message
    assert "items.csv" not in message


def test_a_damaged_file_of_a_table_is_not_blamed_on_a_source(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    for file in (platform.folder / "daily" / "interactions").glob("*/*.parquet"):
        damage_values(file)
    platform.arrives("tuesday.csv", TUESDAY)
    given = ["--config", str(platform.config), "--warehouse", f"{platform.folder}/daily"]
    assert run_command("clean", given) == 2
    message = capsys.readouterr().err
    for piece in ("the table interactions is damaged", "interactions/event_date=2024-03-04", "run clean --full to write it again"):
        assert piece in message
    assert "cut short or damaged: replace it" not in message


def damage_values(file: Path) -> None:
    """Overwrite the values of a Parquet file and leave its footer, which Spark reads first."""
    whole = bytearray(file.read_bytes())
    whole[4:300] = bytes(296)
    file.write_bytes(whole)
    file.with_name(f".{file.name}.crc").unlink(missing_ok=True)


def test_a_refused_day_leaves_the_tables_and_is_read_again(platform: Platform) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    platform.clean("--set", "quality.max_age_days=30", exit_code=3)
    assert "the newest event is" in platform.last_run()["message"]
    platform.arrives("tuesday.csv", TUESDAY)
    before = ids(platform.tables().read(INTERACTIONS))
    strict = ["--set", "quality.max_quarantine_rate=0.1"]
    platform.clean(*strict, exit_code=3)
    platform.clean(*strict, exit_code=3)
    assert ids(platform.tables().read(INTERACTIONS)) == before
    platform.clean()
    assert platform.last_run()["rows_out"] == 2


def test_where_adding_would_be_wrong_everything_is_read_and_the_reason_told(platform: Platform) -> None:
    platform.arrives("monday.csv", MONDAY)
    platform.clean()
    platform.arrives("tuesday.csv", TUESDAY)
    platform.arrives("monday.csv", MONDAY[:3])
    platform.clean()
    assert "monday.csv is no longer the file that was read" in platform.last_run()["message"]
    (platform.folder / "items.csv").write_text("item,title,kind\ni1,red pan,PANS\ni2,knife,GIFT\ni9,card,CARDS\n", encoding="utf-8")
    platform.clean()
    assert "other items belong to a dropped category" in platform.last_run()["message"]
    (platform.folder / "logs" / "tuesday.csv").unlink()
    platform.arrives("wednesday.csv", WEDNESDAY)
    platform.clean()
    assert "1 files are no longer there, their rows stay" in platform.last_run()["message"]
    counted = platform.tables().read(ITEM_VERSIONS)
    platform.tables().replace(ITEM_VERSIONS, counted.withColumns({"run_id": F.lit("killed"), "n_rows": F.col("n_rows") * 2}))
    platform.clean()
    assert "a run stopped after it had counted the items" in platform.last_run()["message"]
    assert {row["n_rows"] for row in platform.tables().read(ITEM_VERSIONS).collect()} == {1}
    assert ids(platform.tables().read(INTERACTIONS)) == [("u1", "04 10:00:00"), ("u3", "04 11:59:30"), ("u5", "05 08:00:00")]
    platform.clean("--full")
    assert ids(platform.tables().read(INTERACTIONS)) == [("u1", "04 10:00:00"), ("u5", "05 08:00:00")]


def test_a_stream_over_the_folder_gives_the_same_tables(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    stream = ["--stream", "--files-per-batch", "1"]
    platform.arrives("monday.csv", MONDAY)
    platform.clean(*stream, "--set", "quality.max_quarantine_rate=0.1", exit_code=3)
    assert "rows cannot be used" in capsys.readouterr().err
    platform.arrives("tuesday.csv", TUESDAY)
    given = ["--config", str(platform.config), "--warehouse", f"{platform.folder}/daily"]
    require_success(submit("clean", *given, *stream))
    assert platform.last_run()["rows_in"] == len(MONDAY) + len(TUESDAY)
    platform.arrives("wednesday.csv", WEDNESDAY)
    platform.clean()
    platform.clean(*stream)
    assert platform.last_run()["rows_in"] == 0
    platform.clean(warehouse="at_once")
    platform.require_same("daily", "at_once")
    platform.clean("--stream", "--files-per-batch", "0", exit_code=2)
    assert "a step takes 1 file or more" in capsys.readouterr().err
    platform.write_config(values={})
    platform.clean(*stream, exit_code=2)
    assert "run clean --full once" in capsys.readouterr().err
