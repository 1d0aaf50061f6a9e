"""The configs of conf/ on small files of the same shape as the data sets that they are for."""

from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.cleaning.interactions import assess_interactions
from interest_tiers.cleaning.items import assess_items, build_catalogue, count_item_versions
from interest_tiers.cleaning.shaping import shape_rows
from interest_tiers.config import Config, Source, load_config
from interest_tiers.sources.readers import read_source

CONFIGS = Path(__file__).parents[2] / "conf"

RETAIL = '''InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,WHITE HANGING HEART,6,2010-12-01 08:26:00,2.5,17850.0,United Kingdom
536366,85123A,WHITE HANGING HEART,6,2010-07-01 00:30:00,2.5,17850.0,United Kingdom
536367,85123A,"HEART, ""WHITE""",6,2010-12-01 08:26:00,2.5,,United Kingdom
C53637,22632,HAND WARMER,-1,2010-12-01 09:00:00,1.85,17850.0,United Kingdom
536368,22632,HAND WARMER,-1,2010-12-01 09:00:00,1.85,17850.0,United Kingdom
536369,POST,POSTAGE,1,2010-12-01 09:00:00,18.0,12583.0,France
'''
DESKDROP = """timestamp,eventType,contentId,personId,sessionId
1465413032,VIEW,-3499919498720038879,-8845298781299428018,1
1465412560,COMMENT CREATED,-3499919498720038879,-1032019229384696495,2
1465412560,SHOUT,-3499919498720038879,-1032019229384696495,3
"""
ARTICLES = """id,contentId,title,text
0,-3499919498720038879,a title,"one, two
three"
1,-3499919498720038880,"cut short, with no e"""
POSTS = [{"post_id": "p1", "subreddit": "College", "author": None, "created": 1490842573, "title": "Title", "text": "[deleted]"}]
COMMENTS = [{"comment_id": "c1", "post_id": "p1", "author": "a1", "created": 1490842600, "upvotes": 3, "text": "Hi\nthere"}]
REVIEWS = [
    {"parent_asin": "B1", "rating": 4.0, "timestamp_ms": 1586445693499, "review_full": "Good", "product": {"title": "Mask", "brand": None}},
    {"parent_asin": "B2", "rating": 9.0, "timestamp_ms": 1586445693, "review_full": "Odd", "product": {"title": "Tin", "brand": "X"}},
]


def packed(path: Path, text: str) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(text)


def lines(rows: list[dict]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def load(name: str, folder: Path) -> Config:
    return load_config(CONFIGS / f"{name}.yaml", [f"locations.{name}={folder}"])


def read(spark: SparkSession, config: Config, source: Source) -> DataFrame:
    raw = read_source(spark, config.resolve(source.path), source.reader_format, source.options, source.element)
    return shape_rows(raw, source, [], "interactions", source.path)


def interactions(spark: SparkSession, config: Config) -> list[tuple]:
    """user, item, behaviour, time, value and reasons of every row of every source."""
    nothing = spark.createDataFrame([], "item_id string")
    found = []
    for name, source in config.named_sources.items():
        raw = read(spark, config, source)
        today = date(2026, 1, 1)
        assessed = assess_interactions(raw, source, name, source.path, config.behaviours, config.values, nothing, today)
        chosen = assessed.selectExpr("user_id", "item_id", "behaviour", "CAST(occurred_at AS string)", "value", "reasons")
        found += [tuple(row) for row in chosen.collect()]
    return sorted(found, key=str)


def items(spark: SparkSession, config: Config) -> list[tuple]:
    described = build_catalogue(count_item_versions(assess_items(read(spark, config, config.items), config.items, "items")))
    return sorted(tuple(row) for row in described.select("item_id", "text", "category").collect())


@pytest.mark.parametrize("name", ["amazon_reviews", "complete_journey", "deskdrop", "online_retail", "reddit"])
def test_every_config_is_there_and_says_at_its_top_what_it_is_for(name: str, tmp_path: Path) -> None:
    assert load(name, tmp_path).name == name
    assert (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


def test_online_retail(spark: SparkSession, tmp_path: Path) -> None:
    packed(tmp_path / "transactions.csv.gz", RETAIL)
    config = load("online_retail", tmp_path)
    no_code, no_quantity = "keep: StockCode RLIKE '^[0-9]{5}'", "keep: CAST(Quantity AS INT) > 0 OR InvoiceNo LIKE 'C%'"
    assert interactions(spark, config) == [
        ("12583", "POST", "purchase", "2010-12-01 09:00:00", 18.0, [no_code]),
        ("17850", "22632", "cancellation", "2010-12-01 09:00:00", -1.85, []),
        ("17850", "22632", "purchase", "2010-12-01 09:00:00", -1.85, [no_quantity]),
        ("17850", "85123A", "purchase", "2010-06-30 23:30:00", 15.0, []),
        ("17850", "85123A", "purchase", "2010-12-01 08:26:00", 15.0, []),
        (None, "85123A", "purchase", "2010-12-01 08:26:00", 15.0, ["user_id: missing"]),
    ]
    assert items(spark, config)[:2] == [("22632", "HAND WARMER", None), ("85123A", "WHITE HANGING HEART", None)]
    assert config.weights["cancellation"].weight < 0


def test_deskdrop(spark: SparkSession, tmp_path: Path) -> None:
    packed(tmp_path / "users_interactions.csv.gz", DESKDROP)
    packed(tmp_path / "articles.csv.gz", ARTICLES)
    config, item = load("deskdrop", tmp_path), "-3499919498720038879"
    assert interactions(spark, config) == [
        ("-1032019229384696495", item, "COMMENT CREATED", "2016-06-08 19:02:40", None, []),
        ("-1032019229384696495", item, "SHOUT", "2016-06-08 19:02:40", None, ["behaviour: not configured"]),
        ("-8845298781299428018", item, "VIEW", "2016-06-08 19:10:32", None, []),
    ]
    assert items(spark, config) == [(item, "a title one, two three", None)]


def test_reddit(spark: SparkSession, tmp_path: Path) -> None:
    packed(tmp_path / "posts.jsonl.gz", lines(POSTS))
    packed(tmp_path / "comments.jsonl.gz", lines(COMMENTS) + "{cut short\n")
    config = load("reddit", tmp_path)
    found = interactions(spark, config)
    assert found[0] == ("a1", "p1", "comment", "2017-03-30 02:56:40", 3.0, [])
    assert (None, "p1", "post", "2017-03-30 02:56:13", None, ["user_id: missing"]) in found
    assert sorted(row[5][-1] for row in found if row[5]) == ["row: cannot be read", "user_id: missing"]
    [(item, text, category)] = items(spark, config)
    assert (item, category) == ("p1", "College")
    assert text.startswith("Title")


def test_amazon_reviews(spark: SparkSession, tmp_path: Path) -> None:
    packed(tmp_path / "test.jsonl.gz", lines([{"user_id": "A1", "category": "All_Beauty", "history": REVIEWS}]))
    packed(tmp_path / "training.jsonl.gz", lines([{"user_id": "A2", "category": "Toys", "history": []}]))
    config = load("amazon_reviews", tmp_path)
    unit = "occurred_at: implausible in ms, plausible in another unit"
    empty = ["item_id: missing", "occurred_at: not a time", "history: no element"]
    assert interactions(spark, config) == [
        ("A1", "B1", "review", "2020-04-09 15:21:33.499", 4.0, []),
        ("A1", "B2", "review", "1970-01-19 08:40:45.693", 9.0, [unit, "value: above 5"]),
        ("A2", None, "review", None, None, empty),
    ]
    assert items(spark, config) == [("B1", "Mask", "All_Beauty"), ("B2", "Tin X", "All_Beauty")]
