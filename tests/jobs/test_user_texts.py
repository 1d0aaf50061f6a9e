"""What users write, through the stages: embedded, and evidence of the interest that it is about."""

from __future__ import annotations

import hashlib
import re
from datetime import date, datetime, timedelta

import pytest
import yaml
from pyspark.sql import SparkSession

from interest_tiers.config import load_config
from interest_tiers.stages import embed
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.registry import find_stage
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import INTERACTIONS, ITEMS, TEXT_EMBEDDINGS, USER_INTERESTS, USER_TIERS
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import shop_config

AS_OF = date(2024, 3, 1)
ITEM_TEXTS = {"spade": ("garden spade and seeds", "GARDEN"), "pan": ("frying pan and kitchen knives", "KITCHEN")}
ABOUT_GARDENS = "I planted seeds in my garden with a spade"
TOMORROW = "what is written tomorrow is not known today"


@pytest.fixture(scope="module")
def embedded(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> StageContext:
    """u1 writes of gardens under a pan; u2 and u3 use both. All texts have their vectors."""
    folder = tmp_path_factory.mktemp("texts")
    warehouse = Warehouse(spark, str(folder / "warehouse"))
    items = [(item, text, hashlib.sha256(text.encode()).hexdigest(), category, None) for item, (text, category) in ITEM_TEXTS.items()]
    warehouse.replace(ITEMS, warehouse.spark.createDataFrame(items, ITEMS.schema))
    touched = [("u1", "pan", 10, ABOUT_GARDENS), ("u1", "pan", 40, "xyzzy 12345"), ("u2", "spade", 50, None), ("u2", "pan", 5, None)]
    touched += [("u3", "spade", 45, None), ("u3", "pan", 3, "ok"), ("u3", "pan", -1, TOMORROW)]
    rows = []
    for place, (user, item, age, text) in enumerate(touched):
        at = datetime.combine(AS_OF, datetime.min.time()) - timedelta(days=age)
        rows.append((f"{place}", user, item, "purchase", at, at.date(), 1.0, text, None, "shop"))
    warehouse.replace(INTERACTIONS, warehouse.spark.createDataFrame(rows, INTERACTIONS.schema))
    config = shop_config(folder)
    config["interests"] = {"user_texts": {"weight": 0.5, "min_similarity": 0.4}, "half_life_days": 10}
    path = folder / "shop.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    context = StageContext(warehouse, requested_as_of=AS_OF, config=load_config(path))
    context.begin(find_stage("embed"))
    assert embed.run(context).rows_out == 5  # two items, three texts; the one of tomorrow is not among them
    return context


@pytest.fixture
def context(embedded: StageContext) -> StageContext:
    """A command of its own on the same warehouse."""
    return StageContext(embedded.warehouse, requested_as_of=AS_OF, config=embedded.config)


def run(stage: str, context: StageContext) -> StageResult:
    context.begin(find_stage(stage))
    return find_stage(stage).run(context)


def test_a_text_is_embedded_and_speaks_for_what_it_is_about(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse, stage, staged = context.warehouse, Warehouse.stage, []
    monkeypatch.setattr(Warehouse, "stage", lambda self, name, rows: staged.append(name) or stage(self, name, rows))
    stored = {row["text_hash"] for row in warehouse.read(TEXT_EMBEDDINGS).collect()}
    assert hashlib.sha256(ABOUT_GARDENS.encode()).hexdigest() in stored
    assert hashlib.sha256(TOMORROW.encode()).hexdigest() not in stored

    run("build_interests", context)
    found = {(row["user_id"], row["interest_id"]): row for row in warehouse.read(USER_INTERESTS, AS_OF).collect()}
    written = found["u1", "category:GARDEN"]
    assert written["evidence"] == pytest.approx(0.5 * 2**-1)
    assert (written["n_days"], written["n_items"], written["n_interactions"], written["recency_days"]) == (1, 0, 1, 10)
    assert found["u1", "category:KITCHEN"]["evidence"] == pytest.approx(2**-1 + 2**-4)
    assert len(found) == 6

    run("assign_tiers", context)
    assert warehouse.read(USER_TIERS, AS_OF).count() == 6
    shared = ("shared/item_days", "shared/nearest", "shared/written", "shared/interest_days")
    without_versions = [re.sub(r"(_\d+)+$", "", name) for name in staged]
    assert {name: without_versions.count(name) for name in shared} == dict.fromkeys(shared, 1)
    assert "cutoff 2024-01-31" in run("evaluate", context).message


def test_without_the_setting_nothing_of_it_is_seen(context: StageContext) -> None:
    interests = context.config.interests.model_copy(update={"user_texts": None})
    context.config = context.config.model_copy(update={"interests": interests})
    assert {row["text"] for row in embed.read_texts_in_use(context).collect()} == {text for text, _ in ITEM_TEXTS.values()}
    run("build_interests", context)
    assert {(row["user_id"], row["interest_id"]) for row in context.warehouse.read(USER_INTERESTS, AS_OF).collect()} == {
        ("u1", "category:KITCHEN"), *((user, f"category:{name}") for user in ("u2", "u3") for name in ("GARDEN", "KITCHEN")),
    }  # fmt: skip


def test_what_is_staged_is_made_again_for_another_version_of_a_table_alone(context: StageContext) -> None:
    made = []

    def staged() -> str:
        rows = context.share("own", [ITEMS], lambda: context.spark.createDataFrame([(made.append("") or f"{len(made)}",)], "n string"))
        return rows.collect()[0]["n"]

    context.begin(find_stage("embed"))
    context.input_versions = {"items": 3, "interactions": 1}
    assert (staged(), staged()) == ("1", "1")
    context.input_versions = {"items": 3, "interactions": 2}
    assert staged() == "1"
    earlier = context.share("own", [ITEMS], lambda: context.spark.range(0))
    context.input_versions = {"items": 4}
    assert (staged(), staged()) == ("2", "2")
    # Another command may have written the table meanwhile: what was read before can still be read.
    assert earlier.collect()[0]["n"] == "1"
