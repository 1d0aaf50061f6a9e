"""The version of the cleaning rules goes with what cleaning makes of a fixed, awkward input."""

from __future__ import annotations

import hashlib
import json
from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.cleaning.interactions import assess_interactions
from interest_tiers.cleaning.items import assess_items, build_catalogue, count_item_versions, dropped_items
from interest_tiers.cleaning.judging import collect_bad_rows, judge_all
from interest_tiers.cleaning.ledger import CLEANING_RULES_VERSION
from interest_tiers.cleaning.users import assess_users, list_users
from interest_tiers.config import Config

#: SHA-256 of the rows below by version of the rules.
ROWS_BY_VERSION = {
    3: "9676ada37e306dfc8b0c5ac1beeb6832b27f9fec27ef39d76e38ed28cc46b544",
}

WHAT_TO_DO = (
    "cleaning gives other rows for the same input. If that is meant, add 1 to CLEANING_RULES_VERSION in cleaning/ledger.py, "
    "so that every warehouse reads its files again, and put this into ROWS_BY_VERSION: {version}: {hash!r}"
)

CONFIG = {
    "name": "awkward",
    "interactions": {
        "path": "e.csv",
        "columns": {
            "user_id": "user",
            "item_id": "item",
            "occurred_at": {"column": "at", "timezone": "Europe/Berlin", "format": ["iso", "dd.MM.yyyy HH:mm"]},
            "behaviour": "action",
            "value": "amount",
            "text": "note",
        },
        "keep": ["shop IS NULL OR shop <> 'test'"],
    },
    "items": {
        "path": "i.csv",
        "columns": {"item_id": "item", "text": ["kind", "title"], "category": "kind"},
        "drop_categories": ["GIFT*"],
    },
    "users": {"path": "u.csv", "columns": {"user_id": "user"}},
    "behaviours": {"view": 0.2, "buy": 1.0, "return": "quarantine"},
    "values": {"buy": {"min": 0, "max": 100, "action": "clip"}, "view": {"max": 10, "action": "quarantine"}},
    "noise": {"repeat_seconds": 60, "bots": {"min_events": 5, "deviations": 3, "max_one_second_steps": 3, "action": "quarantine"}},
}

EVENTS = [
    ("u1", "i1", "2024-03-04T10:00:00", "view", "1", "Ｆull  width\u00a0text", None),
    ("u1", "i1", "2024-03-04T10:00:00", "view", "1", "Ｆull  width\u00a0text", None),
    ("u1", "i1", "2024-03-04T10:00:40+01:00", "view", "1", "a repeat", None),
    (" 17850.0 ", "007", "04.03.2024 11:00", "buy", "900", None, None),
    ("u2", "1.50", "2024-03-31T02:30:00", "buy", "-5", "an hour that summer time leaves out", None),
    ("u2", "i2", "2024-02-30", "buy", "5", "no such day", None),
    ("u2", "i2", "1970-01-01T01:00:00", "buy", "5", None, None),
    ("u2", "i2", "2031-01-01", "buy", "5", "the future", None),
    ("nan", "i2", "2024-03-04", "buy", "5", None, None),
    ("u2", "[deleted]", "2024-03-04", "buy", "5", None, None),
    ("J\ufffdrg", "i2", "2024-03-04", "buy", "5", "bytes of another encoding", None),
    ('"NaN"', '"Infinity"', "2024-03-04", "buy", '"NaN"', "not a number in Python's JSON", None),
    ("u2", "i2", "2024-03-04", "buy", "12d", None, None),
    ("u2", "i2", "2024-03-04", "view", "11", None, None),
    ("u2", "i2", "2024-03-04", "return", "1", None, None),
    ("u2", "i2", "2024-03-04", "wish", "1", None, None),
    ("u2", "i2", "2024-03-04", "buy", "1", None, "test"),
    ("u2", "i9", "2024-03-04", "buy", "1", None, None),
    *[("robot", f"i{n}", f"2024-03-05T10:00:{n:02d}", "view", "1", None, None) for n in range(10, 30)],
]
ITEMS = [
    ("i1", "Red  PAN", "PANS"),
    ("i1", "red pan", "PANS"),
    ("i1", "red pan", ""),
    ("i2.0", "<b>Knife</b> &amp; fork", " KNIVES "),
    ("i9", "card", "GIFT CARDS"),
    ("", "nothing", "PANS"),
    ("i3", None, None),
]
USERS = [("17850.0", "de", None), ("u8", None, "3"), ("u8", "fr", "3"), ("null", "xx", "1")]


def rows_as_text(rows: DataFrame) -> list[str]:
    return sorted(
        json.dumps(json.loads(row["row"]), sort_keys=True) for row in rows.select(F.to_json(F.struct("*")).alias("row")).collect()
    )


def test_other_rows_need_another_version_of_the_rules(spark: SparkSession) -> None:
    config = Config.model_validate(CONFIG)
    [(name, source)] = config.named_sources.items()
    assert config.users is not None
    events = spark.createDataFrame(EVENTS, "user string, item string, at string, action string, amount string, note string, shop string")
    items = assess_items(spark.createDataFrame(ITEMS, "item string, title string, kind string"), config.items, "i.csv")
    users = assess_users(spark.createDataFrame(USERS, "user string, country string, size string"), config.users, "u.csv")
    versions = count_item_versions(items)
    assessed = assess_interactions(
        events, source, name, "e.csv", config.behaviours, config.values, dropped_items(versions), date(2024, 6, 1)
    )
    judged = judge_all(assessed.drop("event_id", "unmatched"), config, lambda _, rows: rows.localCheckpoint())
    bad = collect_bad_rows(judged, items, users, "run")
    assert bad is not None
    tables = (judged.good.drop("raw"), bad, versions, build_catalogue(versions), list_users(judged.good, users))
    made = [rows_as_text(rows) for rows in tables]
    assert all(made)
    found = hashlib.sha256(json.dumps(made).encode()).hexdigest()
    assert ROWS_BY_VERSION.get(CLEANING_RULES_VERSION) == found, WHAT_TO_DO.format(version=CLEANING_RULES_VERSION, hash=found)
