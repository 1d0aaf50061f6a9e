"""Examples of a fine-tuning: pairs and blocks of tokens on cases worked out by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.config import FineTuning
from interest_tiers.encoder_training.examples import (
    NO_TOKEN,
    baskets,
    capped,
    first_touched,
    pairs,
    require_end_of_text,
    shard_count,
    text_frequencies,
    token_blocks,
    token_counts,
    tokenised_pairs,
    written_texts,
)
from interest_tiers.errors import ConfigError
from tests.embedding.folders import bert_of_words, small_language_model

MORNING, NOON, NEXT_DAY = (datetime(2024, 5, day, hour, tzinfo=UTC) for day, hour in ((1, 8), (1, 12), (2, 8)))


def events(spark: SparkSession, *rows: tuple[str, str, datetime]) -> DataFrame:
    touched = [(user, item, "view", at, at.date(), None) for user, item, at in rows]
    return spark.createDataFrame(
        touched, "user_id string, item_id string, behaviour string, occurred_at timestamp, event_date date, text string"
    )


def catalogue(spark: SparkSession, **texts: str | None) -> DataFrame:
    rows = [(item, None if text is None else f"hash of {text}", text) for item, text in texts.items()]
    return spark.createDataFrame(rows, "item_id string, text_hash string, text string")


def in_baskets(found: DataFrame) -> list[tuple[str, list[str]]]:
    """Users and the texts of each of their baskets."""
    by_basket: dict[tuple[str, int], list[str]] = {}
    for row in found.collect():
        by_basket.setdefault((row["user_id"], row["basket"]), []).append(row["text_hash"].removeprefix("hash of "))
    return sorted((user, sorted(texts)) for (user, _), texts in by_basket.items())


@pytest.mark.parametrize(
    ("window_hours", "expected"),
    [
        (0, [("u1", ["bread", "milk"]), ("u1", ["eggs"]), ("u1", ["milk"]), ("u2", ["milk"])]),
        (24, [("u1", ["bread", "eggs", "milk"]), ("u1", ["milk"]), ("u2", ["milk"])]),
        (8760, [("u1", ["bread", "eggs", "milk"]), ("u2", ["milk"])]),
    ],
)
def test_a_basket_is_what_one_user_touches_in_one_stretch_of_time(
    spark: SparkSession, window_hours: int, expected: list[tuple[str, list[str]]]
) -> None:
    items = catalogue(spark, i1="milk", i2="bread", i3="eggs", same_text_as_i1="milk", silent=None)
    touched = events(
        spark,
        ("u1", "i1", MORNING), ("u1", "i1", MORNING), ("u1", "same_text_as_i1", MORNING), ("u1", "i2", MORNING),
        ("u1", "silent", MORNING), ("u1", "not in the catalogue", MORNING),
        ("u1", "i3", NOON), ("u1", "i1", NEXT_DAY), ("u2", "i1", MORNING),
    )  # fmt: skip
    assert in_baskets(baskets(touched, items, ["view"], window_hours)) == expected
    assert baskets(touched, items, ["purchase"], window_hours).isEmpty()


def paired(spark: SparkSession, sizes: dict[str, int], **settings: int) -> list[tuple[str, str, int]]:
    """Pairs of users who have one basket each, of so many texts."""
    rows = [(user, hash(user), f"{user}-{n}") for user, size in sizes.items() for n in range(size)]
    found = pairs(spark.createDataFrame(rows, "user_id string, basket bigint, text_hash string"), FineTuning(**settings))
    return [(row["anchor_hash"], row["positive_hash"], row["basket"]) for row in found.collect()]


def test_each_text_of_a_basket_is_paired_with_the_next_ones_of_a_chance_order(spark: SparkSession) -> None:
    """Four texts a, b, c, d in some order: ab, ac, bc, bd, cd with two partners; and a basket of one has no pair."""
    found = paired(spark, {"one": 1, "two": 2, "four": 4}, partners=2)
    of = {user: [(a, p) for a, p, _ in found if a.startswith(user)] for user in ("one", "two", "four")}
    assert (len(of["one"]), len(of["two"]), len(of["four"])) == (0, 1, 5)
    assert all(anchor != positive and anchor.split("-")[0] == positive.split("-")[0] for anchor, positive, _ in found)
    assert len({frozenset(pair) for pair in of["four"]}) == 5
    assert found != paired(spark, {"one": 1, "two": 2, "four": 4}, partners=2, seed=18)
    assert sorted(found) == sorted(paired(spark, {"four": 4, "two": 2, "one": 1}, partners=2))


def test_a_user_with_a_million_events_gives_no_more_than_the_caps_allow(spark: SparkSession) -> None:
    """A basket of n texts with 2 partners has 2n - 3 pairs: 17 of 10 texts, of which 7 are kept."""
    assert len(paired(spark, {"crawler": 500, "other": 3}, partners=2, max_basket_texts=10)) == 17 + 3
    found = paired(spark, {"crawler": 500, "other": 3}, partners=2, max_basket_texts=10, max_user_examples=7)
    assert len([pair for pair in found if pair[0].startswith("crawler")]) == 7
    assert len(found) == 7 + 3
    rows = spark.range(100_000).selectExpr("'u' AS user_id", "1L AS basket", "CAST(id AS string) AS text_hash")
    assert capped(rows, 50, seed=1).count() == 50


@pytest.mark.parametrize(
    ("n_examples", "batch_size", "expected"), [(3, 64, 1), (511, 64, 1), (512, 64, 2), (10_000, 64, 16), (10_000, 12, 4), (10_000, 7, 1)]
)
def test_shards_hold_enough_and_divide_the_batch(n_examples: int, batch_size: int, expected: int) -> None:
    assert shard_count(n_examples, batch_size) == expected


def test_pairs_become_numbers_alone(spark: SparkSession, tmp_path: Path) -> None:
    model = bert_of_words(tmp_path / "bert", ["milk", "bread", "rye"])
    items = catalogue(spark, i1="milk", i2="rye bread", i3="milk")
    rows = [("hash of milk", "hash of rye bread", 7, 1), ("hash of rye bread", "hash of milk", 7, 2)]
    given = spark.createDataFrame(rows, "anchor_hash string, positive_hash string, basket bigint, draw bigint")
    frequencies = text_frequencies(given.where("draw = 1"))
    found = tokenised_pairs(given, frequencies, items, model, max_tokens=8, n_shards=1)
    assert dict(found.dtypes) == {
        "shard": "int", "draw": "bigint", "anchor": "array<int>", "positive": "array<int>",
        "anchor_text": "bigint", "positive_text": "bigint", "basket": "bigint", "log_frequency": "float",
    }  # fmt: skip
    first, second = found.orderBy("draw").collect()
    assert (first["anchor"], first["positive"]) == ([2, 5, 3], [2, 7, 6, 3])  # [CLS] milk [SEP], [CLS] rye bread [SEP]
    assert (second["anchor_text"], second["positive_text"]) == (first["positive_text"], first["anchor_text"])
    assert first["anchor_text"] != first["positive_text"]
    assert (first["log_frequency"], second["log_frequency"]) == (pytest.approx(math.log(2)), 0.0)
    cut = tokenised_pairs(given, frequencies, items, model, max_tokens=3, n_shards=1).orderBy("draw").collect()
    assert [row["anchor"] for row in cut] == [[2, 5, 3], [2, 7, 3]]


def test_texts_are_what_users_wrote_and_the_items_wanted_each_once(spark: SparkSession) -> None:
    rows = [("u1", "i1", "so good"), ("u2", "i1", "so good"), ("u2", "i2", "milk"), ("u3", "i2", None)]
    rows += [("talker", "i1", f"words {n}") for n in range(50)]
    written = spark.createDataFrame(rows, "user_id string, item_id string, text string")
    items = catalogue(spark, i1="milk", i2="bread", silent=None)
    found = written_texts(written, items, spark.createDataFrame([("i1",), ("silent",)], "item_id string"), FineTuning(max_user_examples=20))
    texts = [row["text"] for row in found.collect()]
    assert sorted(text for text in texts if "words" not in text) == ["milk", "so good"]
    assert len(texts) == len(set(texts)) == 22


def test_the_first_touch_is_the_earliest_day(spark: SparkSession) -> None:
    found = first_touched(events(spark, ("u1", "i1", NEXT_DAY), ("u2", "i1", MORNING), ("u1", "i2", NEXT_DAY))).collect()
    assert {row["item_id"]: row["first_date"] for row in found} == {"i1": MORNING.date(), "i2": NEXT_DAY.date()}


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_blocks_hold_the_texts_one_after_the_other(spark: SparkSession, tmp_path: Path, n_partitions: int) -> None:
    """Decoded again, the blocks are the texts in the order of their draws, each after the end-of-text token."""
    texts = ["milk and bread", "bread", "rye bread and milk and so on", "x" * 30]
    model = small_language_model(tmp_path / "gpt", texts * 9)
    given = spark.createDataFrame([(text, 10 - n) for n, text in enumerate(texts)], "text string, draw bigint").repartition(
        n_partitions, "text"
    )
    blocks = [row["tokens"] for row in token_blocks(given, model, block_tokens=8, n_shards=1).orderBy("shard", "draw").collect()]
    assert {len(block) for block in blocks} == {8}
    tokens = [token for block in blocks for token in block]
    filled = tokens.count(NO_TOKEN)
    assert filled < 8
    assert set(tokens[len(tokens) - filled :]) <= {NO_TOKEN}
    from transformers import AutoTokenizer

    text = AutoTokenizer.from_pretrained(model).decode(tokens[: len(tokens) - filled])
    assert text == "".join(f"<|endoftext|>{text}" for text in reversed(texts))


def test_every_token_lies_in_one_shard(spark: SparkSession, tmp_path: Path) -> None:
    texts = [f"text number {n}" for n in range(60)]
    model = small_language_model(tmp_path / "gpt", texts)
    given = spark.createDataFrame([(text,) for text in texts], "text string").selectExpr("text", "xxhash64(text) AS draw")
    whole, split = (token_blocks(given, model, 8, n_shards).collect() for n_shards in (1, 4))
    assert {row["shard"] for row in split} == {0, 1, 2, 3}
    for rows in (whole, split):
        assert len({(row["shard"], row["draw"]) for row in rows}) == len(rows)
    n_tokens = [sum(token != NO_TOKEN for row in rows for token in row["tokens"]) for rows in (whole, split)]
    assert n_tokens[0] - n_tokens[1] in range(0, 4)  # a shard that ends in a single token loses it: it foretells nothing


def test_texts_follow_one_another_only_where_a_token_ends_them(tmp_path: Path) -> None:
    require_end_of_text(small_language_model(tmp_path / "gpt", ["milk"]))
    with pytest.raises(ConfigError, match="its tokenizer has no eos_token"):
        require_end_of_text(bert_of_words(tmp_path / "bert", ["milk"]))


def test_token_counts_are_of_what_is_foretold(spark: SparkSession) -> None:
    """The first token of a block is given, and what fills it is no token."""
    blocks = spark.createDataFrame([([5, 6, 6, 7],), ([6, 5, NO_TOKEN, NO_TOKEN],)], "tokens array<int>")
    assert {row["token"]: row["n"] for row in token_counts(blocks).collect()} == {6: 2, 7: 1, 5: 1}
