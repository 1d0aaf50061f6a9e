"""Interests that are topics: what is stored, and that nothing after a day decides what the topics of that day are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.config import Config, load_config
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.errors import DataQualityError
from interest_tiers.interests.composition import KnownInterests, find_interests
from interest_tiers.stages import build_interests
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.inputs import compute_tier_inputs, read_item_days, read_text_embeddings, read_tier_inputs, tier_inputs_at
from interest_tiers.stages.registry import find_stage
from interest_tiers.storage.schemas import INTERACTIONS, INTERESTS, ITEM_INTERESTS, ITEMS, TEXT_EMBEDDINGS, USER_INTERESTS
from interest_tiers.storage.warehouse import Warehouse

CUT = date(2024, 6, 1)
AS_OF = CUT + timedelta(days=28)

CONFIG = """
name: topics
interactions: {path: e.csv, columns: {user_id: user, item_id: item, occurred_at: at, behaviour: {literal: purchase}}}
items: {path: i.csv, columns: {item_id: item, text: title}}
behaviours: {purchase: 1.0}
interests: {source: topic, topics: 3}
tiers: {horizon_days: 28, network: rule}
"""

#: Touched before the cut, and what their texts mean. "late" items are first touched after it, "idle" ones never.
VECTORS: Mapping[str, list[float]] = {
    "milk": [1.0, 0.0, 0.0], "cheese": [0.8, 0.6, 0.0], "cream": [0.96, 0.28, 0.0],
    "hammer": [0.0, 0.0, 1.0], "saw": [0.0, 0.28, 0.96],
    "rose": [0.0, -1.0, 0.0],
    "late yogurt": [0.936, 0.352, 0.0], "late nail": [0.28, 0.0, 0.96], "idle tulip": [0.28, -0.96, 0.0],
}  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    path = tmp_path_factory.mktemp("config") / "topics.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return load_config(path)


def events(spark: SparkSession, late: str) -> DataFrame:
    """Every early item and one without a text before the cut, one item after it."""
    early = [item for item in VECTORS if not item.startswith(("late", "idle"))]
    touched = [(f"u{place % 2}", item, CUT - timedelta(days=1 + place)) for place, item in enumerate(early)]
    touched += [("u1", late, CUT), ("u1", "blank", CUT - timedelta(days=9))]
    rows = [
        (f"e{n}", user, item, "purchase", datetime(day.year, day.month, day.day, tzinfo=UTC), day, 1.0, None, None, "interactions")
        for n, (user, item, day) in enumerate(touched)
    ]
    return spark.createDataFrame(rows, INTERACTIONS.schema)


@pytest.fixture(scope="module")
def context(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, config: Config) -> StageContext:
    """A warehouse with clean tables and embeddings."""
    warehouse = Warehouse(spark, str(tmp_path_factory.mktemp("topics") / "warehouse"))
    warehouse.replace(INTERACTIONS, events(spark, "late nail"))
    items = [(item, item, f"hash of {item}", None, None) for item in VECTORS] + [("blank", None, None, None, None)]
    warehouse.replace(ITEMS, spark.createDataFrame(items, ITEMS.schema))
    model = model_id(config.embedding)
    vectors = [(f"hash of {item}", model, vector, None, None, None) for item, vector in VECTORS.items()]
    warehouse.replace(TEXT_EMBEDDINGS, spark.createDataFrame(vectors, TEXT_EMBEDDINGS.schema))
    return context_in(warehouse, config, AS_OF)


def context_in(warehouse: Warehouse, config: Config, as_of: date, stage: str = "build_interests") -> StageContext:
    context = StageContext(warehouse, requested_as_of=as_of, config=config)
    context.begin(find_stage(stage))
    return context


def interests_at(context: StageContext, cutoff: date) -> KnownInterests:
    items, interactions, texts = context.read(ITEMS), context.read(INTERACTIONS), read_text_embeddings(context)
    return find_interests(items, interactions, texts, cutoff, context.config.interests)


def by_item(found: KnownInterests) -> dict[str, str]:
    return {row["item_id"]: row["interest_id"] for row in found.item_interests.collect()}


def test_what_is_stored_is_what_later_stages_work_with(spark: SparkSession, context: StageContext) -> None:
    result = build_interests.run(context)
    assert result.message == "3 interests of 3 topics, found in 7 of 7 texts; 1 interactions with items of no topic"
    warehouse = context.warehouse
    stored = {row["item_id"]: row["interest_id"] for row in warehouse.read(ITEM_INTERESTS, AS_OF).collect()}
    assert stored == by_item(interests_at(context, AS_OF))
    assert stored.keys() == VECTORS.keys()
    named = {row["interest_id"]: row["name"] for row in warehouse.read(INTERESTS, AS_OF).collect()}
    assert named == {  # three texts each: the tie goes by the centres
        "topic:0001": "hammer · late · nail",
        "topic:0002": "cheese · cream · milk",
        "topic:0003": "rose",
    }
    # Another command, as by a spark-submit of its own, sees the same days.
    later = context_in(Warehouse(spark, warehouse.location), context.config, AS_OF)
    days = {(row["user_id"], row["item_id"], row["interest_id"]) for row in read_item_days(later).collect()}
    assert len(days) == 7
    assert all(stored[item] == interest for _, item, interest in days)
    pairs = {(row["user_id"], row["interest_id"]) for row in warehouse.read(USER_INTERESTS, AS_OF).collect()}
    assert pairs == {(user, interest) for user, _, interest in days}


def test_the_back_test_takes_the_topics_of_its_cutoff(context: StageContext) -> None:
    judging = context_in(context.warehouse, context.config, AS_OF, "evaluate")
    inputs = compute_tier_inputs(judging, CUT, "inputs")
    assert inputs.topics is not None
    days = {row["item_id"]: row["interest_id"] for row in inputs.item_days.collect()}
    known = by_item(interests_at(context_in(context.warehouse, context.config, AS_OF), CUT))
    assert days == {item: known[item] for item in days}
    assert days["late nail"] == "topic:0002"


def test_a_training_cutoff_takes_the_topics_known_at_it(context: StageContext) -> None:
    """The texts touched after the cutoff move no centre of its topics, though the training knows them."""
    training = context_in(context.warehouse, context.config, AS_OF, "train_tiers")
    current = read_tier_inputs(training)
    at = tier_inputs_at(training, current)
    assert at(AS_OF) is current
    assert at(CUT) is at(CUT)
    known = interests_at(context_in(context.warehouse, context.config, AS_OF), CUT)
    assert known.topics is not None and at(CUT).topics is not None
    vectors = {row["interest_id"]: row["embedding"] for row in at(CUT).topics.collect()}
    np.testing.assert_array_equal(np.array([vectors[name] for name in known.topics.ids], dtype=np.float32), known.topics.centres)


def test_a_catalogue_without_a_vector_has_no_topic_and_says_so(context: StageContext) -> None:
    other_model = context.config.embedding.model_copy(update={"max_tokens": 64})
    without = context_in(context.warehouse, context.config.model_copy(update={"embedding": other_model}), CUT)
    with pytest.raises(DataQualityError, match="no item touched before 2024-06-01 has a text with a vector"):
        build_interests.run(without)


def test_what_comes_after_a_day_changes_nothing_in_its_topics(spark: SparkSession, context: StageContext) -> None:
    found, later = (interests_at(context, day) for day in (CUT, CUT + timedelta(days=1)))
    nearest = by_item(found)
    assert nearest == {
        "milk": "topic:0001", "cheese": "topic:0001", "cream": "topic:0001", "late yogurt": "topic:0001",
        "hammer": "topic:0002", "saw": "topic:0002", "late nail": "topic:0002",
        "rose": "topic:0003", "idle tulip": "topic:0003",
    }  # fmt: skip
    # A day later the late item is known, and moves its topic's centre.
    assert found.topics is not None
    assert later.topics is not None
    assert (found.topics.n_texts, later.topics.n_texts) == (6, 7)
    assert not np.array_equal(later.topics.centres, found.topics.centres)
    Warehouse(spark, context.warehouse.location).replace(INTERACTIONS, events(spark, "late yogurt"))
    context.begin(find_stage("build_interests"))
    same = interests_at(context, CUT)
    assert same.topics is not None
    np.testing.assert_array_equal(same.topics.centres, found.topics.centres)
    assert by_item(same) == nearest
