"""A hierarchy of interests through the whole pipeline, by a real spark-submit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.storage.schemas import (
    INTERACTIONS,
    INTERESTS,
    ITEM_INTERESTS,
    ITEMS,
    METRICS,
    RECOMMENDATIONS,
    RUNS,
    USER_INTERESTS,
    USER_TIERS,
    USER_VECTORS,
    Table,
)
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import AS_OF, GROUPS, Made, Shop, command_of, require_success, run_command, shop_config, submit

LEVELS = ["department", "category", "kind"]
DEPARTMENTS = {category: group for group, categories in GROUPS.items() for category in categories} | {"BREAD": "bakery"}


@pytest.fixture(scope="module")
def events(shop: Shop) -> pd.DataFrame:
    """Those of every fifth user, each an interaction that can be used."""
    good = shop.raw.dropna(subset=["visitor"]).drop_duplicates()
    known = good[good["visitor"].str.endswith(".0") & (good["visitor"].str.removesuffix(".0").astype(float) % 5 == 0)]
    return known.reset_index(drop=True)


@pytest.fixture(scope="module")
def small(shop: Shop, events: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("hierarchy")
    items = pd.read_parquet(shop.config.parent / "items.parquet")
    items["department"] = items["category"].map(DEPARTMENTS)
    # No kind of a bread is known: it has the name of its category.
    items["kind"] = [None if row.category == "BREAD" else f"{row.category} {int(row.Index) % 2}" for row in items.itertuples()]
    items.to_parquet(folder / "items.parquet")
    events.to_csv(folder / "events.csv", index=False)
    config = shop_config(folder) | {"interests": {"source": LEVELS}, "clustering": {"k": [2, 3], "components": 4}}
    (folder / "shop.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return Shop(folder / "shop.yaml", events, bad_rows=0, copies=0)


@pytest.fixture(scope="module")
def warehouse(spark: SparkSession, small: Shop) -> Warehouse:
    location = str(small.config.parent / "warehouse")
    require_success(submit("pipeline", *command_of(small, location)))
    return Warehouse(spark, location)


def read(warehouse: Warehouse, table: Table, columns: Sequence[str]) -> pd.DataFrame:
    return warehouse.read(table).select(*columns).toPandas()


def with_place(warehouse: Warehouse, table: Table) -> DataFrame:
    return warehouse.read(table).drop("level").join(warehouse.read(INTERESTS).select("interest_id", "level", "parent_id"), "interest_id")


def test_every_level_is_in_the_catalogue_and_an_item_speaks_for_the_finest(warehouse: Warehouse) -> None:
    found = read(warehouse, INTERESTS, ["interest_id", "name", "level", "parent_id"]).set_index("interest_id")
    assert set(found.index[found["level"] == 1]) == {f"category:{department}" for department in DEPARTMENTS.values()}
    assert found.loc["category:kitchen > PANS > PANS 0"].tolist() == ["PANS 0", 3, "category:kitchen > PANS"]
    assert found.loc["category:bakery > BREAD > BREAD"].tolist() == ["BREAD", 3, "category:bakery > BREAD"]
    assert found["level"].value_counts().to_dict() == {1: 4, 2: 10, 3: 19}
    of_items = read(warehouse, ITEM_INTERESTS, ["item_id", "interest_id"])
    assert of_items["item_id"].is_unique
    assert set(found.loc[of_items["interest_id"], "level"]) == {3}
    levels = {row["item_id"]: row["levels"] for row in warehouse.read(ITEMS).collect()}
    assert levels["p000"] == ["garden", "SEEDS & BULBS", "SEEDS & BULBS 0"]


def test_days_of_a_department_are_those_of_the_events_whatever_their_kind(warehouse: Warehouse, small: Shop, events: pd.DataFrame) -> None:
    items = pd.read_parquet(small.config.parent / "items.parquet").set_index("product")
    seen = events[pd.to_datetime(events["at"]) < pd.Timestamp(AS_OF)]
    days = pd.DataFrame(
        {
            "user_id": seen["visitor"].str.removesuffix(".0"),
            "interest_id": "category:" + seen["product"].map(items["department"]),
            "day": seen["at"].str[:10],
        }
    )
    expected = days.groupby(["user_id", "interest_id"])["day"].nunique()
    pairs = read(warehouse, USER_INTERESTS, ["user_id", "interest_id", "level", "n_days", "n_interactions"])
    found = pairs[pairs["level"] == 1].set_index(["user_id", "interest_id"])["n_days"].sort_index()
    assert found.to_dict() == expected.sort_index().to_dict()
    # Each level holds every interaction once.
    assert pairs.groupby("level")["n_interactions"].sum().to_dict() == dict.fromkeys((1, 2, 3), len(seen))
    assert warehouse.read(INTERACTIONS, AS_OF).count() == len(seen)


def test_shares_and_ranks_are_those_of_a_level(warehouse: Warehouse) -> None:
    pairs = read(warehouse, USER_INTERESTS, ["user_id", "level", "share", "rank"]).groupby(["user_id", "level"])
    assert len(pairs) == 3 * 15
    assert pairs["share"].sum().sub(1).abs().max() < 1e-9
    assert (pairs["rank"].max() == pairs.size()).all()


def test_no_parent_is_of_a_lower_tier_than_its_best_child(warehouse: Warehouse) -> None:
    tiers = with_place(warehouse, USER_TIERS)
    assert tiers.count() == warehouse.read(USER_INTERESTS).count()
    assert tiers.where("abs(p_core + p_secondary + p_marginal - 1) > 0.000001").count() == 0
    order = F.expr("array_position(array('core', 'secondary', 'marginal'), tier)")
    placed = tiers.select("user_id", "interest_id", "parent_id", order.alias("place"))
    children = placed.groupBy("user_id", F.col("parent_id").alias("interest_id")).agg(F.min("place").alias("of_child"))
    both = placed.join(children, ["user_id", "interest_id"])
    assert both.count() > 100
    assert both.where("place > of_child").count() == 0
    assert {row["level"] for row in tiers.select("level").distinct().collect()} == {1, 2, 3}


def test_users_are_placed_and_items_recommended_by_the_finest_level(warehouse: Warehouse) -> None:
    assert warehouse.read(USER_VECTORS).count() == 15
    listed = with_place(warehouse, RECOMMENDATIONS)
    assert {row["level"] for row in listed.select("level").distinct().collect()} == {3}
    assert listed.groupBy("user_id", "item_id").count().where("count > 1").count() == 0


def test_the_back_test_judges_every_level(warehouse: Warehouse) -> None:
    metrics = read(warehouse, METRICS, ["stage", "metric", "slice", "value"]).query("stage == 'evaluate' and metric == 'J'")
    found = metrics.set_index("slice")["value"]
    models = {"rule", "rule_calibrated", "rule_calibrated_argmax", "class_prior", "user_tiers"}
    by_themselves = {f"level={level},model={model}" for level in LEVELS for model in models}
    differences = {f"level={level},model={model},minus=user_tiers" for level in LEVELS for model in models - {"user_tiers"}}
    assert set(found.index) == by_themselves | differences, "errors of several levels have no common mean"
    for level in LEVELS:
        assert found[f"level={level},model=user_tiers"] == pytest.approx(found[f"level={level},model=rule_calibrated"])
        assert found[f"level={level},model=rule_calibrated,minus=user_tiers"] == 0
    runs = read(warehouse, RUNS, ["stage", "message"]).query("stage == 'evaluate'")
    finest = found[f"level={LEVELS[-1]},model=user_tiers"]
    assert f"J of level kind {finest:.3f}, macro-F1" in runs["message"].item()


def test_what_people_read_shows_the_levels(warehouse: Warehouse, small: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(warehouse.location, "report", "index.html").read_text(encoding="utf-8")
    for level, name in enumerate(LEVELS, start=1):
        assert f"Pairs and users per tier, level {level}: {name}" in page
        assert f"Tiers against the baselines, level: {name}" in page
    assert run_command("show", ["5", "--warehouse", warehouse.location]) == 0
    lines = capsys.readouterr().out.splitlines()
    departments = [line for line in lines if line.startswith(tuple(f"  {name} " for name in set(DEPARTMENTS.values())))]
    assert departments
    place = lines.index(departments[0])
    assert lines[place + 1].startswith("    ")
    assert lines[place + 2].startswith("      ")
    assert lines[place].split()[1] in ("core", "secondary", "marginal")


def test_a_plain_category_has_one_level(spark: SparkSession, made: Made) -> None:
    tables = Warehouse(spark, made.warehouse)
    for table, column, only in (
        (ITEMS, "levels", None),
        (INTERESTS, "level", 1),
        (INTERESTS, "parent_id", None),
        (USER_INTERESTS, "level", 1),
    ):
        assert [row[0] for row in tables.read(table).select(column).distinct().collect()] == [only]
