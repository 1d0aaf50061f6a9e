"""clean on data of other shapes: joins, flags, event ids and ids that meet nothing, by the command and its tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.storage.schemas import DATA_QUALITY, INTERACTIONS, INTERACTIONS_QUARANTINE, ITEMS, RUNS
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import run_command

CONFIG = {
    "name": "shapes",
    "locations": {"data": "…"},
    "interactions": [
        {
            "name": "lines",
            "path": "{data}/lines.csv",
            "join": {"path": "{data}/orders*.csv", "on": "order", "columns": ["user", "at"]},
            "columns": {"user_id": "user", "item_id": "sku", "occurred_at": "at", "behaviour": {"literal": "buy"}},
        },
        {
            "name": "exposures",
            "path": "{data}/exposures.csv",
            "unpivot": {"columns": ["click", "like"], "name": "action", "value": "flag", "skip": [0]},
            "where": ["shop = 'web'"],
            "columns": {
                "event_id": "event",
                "user_id": "user",
                "item_id": "sku",
                "occurred_at": {"literal": "2024-03-01"},
                "behaviour": "action",
            },
        },
    ],
    "items": {
        "path": "{data}/items.csv",
        "explode": {"sql": "split(genres, '[|]')", "name": "genre"},
        "columns": {"item_id": "sku", "text": "title", "category": "genre"},
    },
    "behaviours": {"buy": 1.0, "click": 0.2, "like": 0.5},
    "quality": {"max_quarantine_rate": 0.9, "min_rows": 1, "min_users": 1},
}

LINES = "order,sku\no1,7\no1,8\no2,7\no3,9\n"
ORDERS = "order,user,at\no1,u1,2024-03-04\no2,u2,2024-03-05\no2,u3,2024-03-05\n"
EXPOSURES = """event,user,sku,click,like,shop,seen
e1,u1,7,1,1,web,1
e1,u1,7,1,1,web,2
e1,u2,8,1,0,web,3
e2,u4,8,0,0,web,4
e3,u5,8,1,0,test,5
"""
ITEMS_CSV = "sku,title,genres\n7,red pan,Pans|Gifts\n8,knife,Knives\n"


class Shapes:
    """A folder with the sources, and its warehouse."""

    def __init__(self, folder: Path, spark: SparkSession) -> None:
        self.folder, self.warehouse = folder, Warehouse(spark, str(folder / "warehouse"))
        self.write(**{"lines.csv": LINES, "orders1.csv": ORDERS, "exposures.csv": EXPOSURES, "items.csv": ITEMS_CSV})
        self.config = folder / "shapes.yaml"
        self.config.write_text(yaml.safe_dump(CONFIG | {"locations": {"data": str(folder)}}), encoding="utf-8")

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8")

    def clean(self, *options: str) -> int:
        return run_command("clean", ["--config", str(self.config), "--warehouse", self.warehouse.location, *options])

    def read(self, table: object, *columns: str) -> list[tuple]:
        return sorted(map(tuple, self.warehouse.read(table).select(*columns).collect()), key=str)  # type: ignore[arg-type]

    def last_message(self) -> str:
        run = self.warehouse.read(RUNS).orderBy("started_at", ascending=False).first()
        assert run is not None
        return str(run["message"])

    def measures(self) -> dict[tuple[str, str, str], float]:
        rows: DataFrame = self.warehouse.read(DATA_QUALITY)
        newest = rows.orderBy("measured_at", ascending=False).first()
        assert newest is not None
        return {(r["source"], r["measure"], r["subject"]): r["value"] for r in rows.where(rows.run_id == newest["run_id"]).collect()}


@pytest.fixture
def shapes(tmp_path: Path, spark: SparkSession) -> Shapes:
    return Shapes(tmp_path, spark)


def test_every_row_of_every_shape_is_accounted_for(shapes: Shapes) -> None:
    assert shapes.clean() == 0
    assert shapes.read(INTERACTIONS, "source", "user_id", "item_id", "behaviour") == [
        ("exposures", "u1", "7", "click"),
        ("exposures", "u1", "7", "like"),
        ("exposures", "u2", "8", "click"),
        ("lines", "u1", "7", "buy"),
        ("lines", "u1", "8", "buy"),
    ]
    several = "join: {data}/orders*.csv has several rows for order"
    assert shapes.read(INTERACTIONS_QUARANTINE, "reasons") == [
        (["user_id: missing", "occurred_at: not a time", several],),
        (["user_id: missing", "occurred_at: not a time"],),
    ]
    assert shapes.read(ITEMS, "item_id", "category") == [("7", "Gifts"), ("8", "Knives")]
    message = shapes.last_message()
    for part in (
        "5 interactions, 2 exact duplicates, 2 quarantined",
        "2 rows left out",
        "1 rows without a match in {data}/orders*.csv",
        "1 event ids that stand for different rows, all kept",
        "1 items with several categories, one of which was kept",
    ):
        assert part in message
    measures = shapes.measures()
    # Two exposures gave two rows each, one gave one, one gave none, and one row is of another shop.
    counts = {name: measures["exposures", name, ""] for name in ("rows_in", "interactions", "quarantined", "duplicates", "left_out")}
    assert counts == {"rows_in": 7, "interactions": 3, "quarantined": 0, "duplicates": 2, "left_out": 2}
    assert measures["exposures", "conflicting_event_ids", ""] == 1
    assert measures["lines", "unmatched", "{data}/orders*.csv"] == 1
    assert measures["lines", "quarantine_rate", ""] == 0.5
    assert measures["lines", "catalogue_rate", ""] == 1.0
    assert measures["items", "items_with_several", "category"] == 1

    # The order that was missing arrives, with the joined table alone.
    assert shapes.clean() == 0
    assert "nothing new" in shapes.last_message()
    shapes.write(**{"orders2.csv": "order,user,at\no3,u7,2024-03-06\n"})
    assert shapes.clean() == 0
    assert "all files read (lines: a table that it joins has changed)" in shapes.last_message()
    assert ("lines", "u7", "9") in shapes.read(INTERACTIONS, "source", "user_id", "item_id")
    assert "1 interactions (16.7%) with items that the catalogue lacks" in shapes.last_message()


def test_ids_that_meet_nothing_are_shown_and_the_gate_can_refuse_them(shapes: Shapes, capfd: pytest.CaptureFixture[str]) -> None:
    shapes.write(**{"items.csv": "sku,title,genres\n0007,red pan,Pans\n0008,knife,Knives\n"})
    assert shapes.clean() == 0
    assert "5 interactions (100.0%) with items that the catalogue lacks" in shapes.last_message()
    assert shapes.measures()["lines", "catalogue_rate", ""] == 0.0
    shown = "An interaction has the item '7', the catalogue has the item '0007'"
    assert shown in capfd.readouterr().err
    assert shapes.clean("--full", "--set", "quality.min_catalogue_rate=0.5") == 3
    refused = shapes.last_message()
    assert "lines: the catalogue has the items of 0.0% of the interactions; quality.min_catalogue_rate is 50.0%" in refused
    assert shown in refused
