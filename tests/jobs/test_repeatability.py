"""The same rows whichever way a stage is run: alone or not, on one JVM or several, whatever came later."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.stages.registry import STAGES
from interest_tiers.storage.schemas import (
    CLUSTER_MODELS,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    ITEM_VERSIONS,
    ITEMS,
    METRICS,
    SOURCE_FILES,
    TEXT_EMBEDDINGS,
    USERS,
)
from tests.jobs.compared import DERIVED, LASTING, assert_same_rows, rows_of
from tests.jobs.shop import AS_OF, Made, command_of, make_shop, require_success, submit


@pytest.fixture(scope="module")
def one_by_one(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A warehouse made by a spark-submit per stage, on a machine in Tokyo, from a shop where every row from AS_OF on is another one."""
    folder = tmp_path_factory.mktemp("one_by_one")
    changed = make_shop(folder / "shop", seed_after=7)
    arguments = command_of(changed, str(folder / "warehouse"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        for stage in STAGES:
            require_success(submit(stage.name, *arguments))
    return str(folder / "warehouse")


def test_stages_one_by_one_give_the_rows_of_the_pipeline(spark: SparkSession, one_by_one: str, made: Made) -> None:
    """The pipeline ran in one session on several executors."""
    assert_same_rows(spark, one_by_one, made.warehouse, [TEXT_EMBEDDINGS, CLUSTER_MODELS, *DERIVED])


def test_nothing_after_as_of_reaches_what_is_derived(spark: SparkSession, one_by_one: str, made: Made) -> None:
    after = f"event_date >= DATE'{AS_OF}'"
    found, expected = (rows_of(spark, place, INTERACTIONS).where(after) for place in (one_by_one, made.warehouse))
    assert found.join(expected, "interaction_id", "left_semi").count() == 0 < found.count()
    assert_same_rows(spark, one_by_one, made.warehouse, [METRICS])


def test_clean_on_a_machine_in_another_time_zone_gives_the_same_rows(spark: SparkSession, one_by_one: str, made: Made) -> None:
    before = f"event_date < DATE'{AS_OF}'"
    found, expected = (rows_of(spark, place, INTERACTIONS).where(before) for place in (one_by_one, made.warehouse))
    assertDataFrameEqual(found, expected)
    assert_same_rows(spark, one_by_one, made.warehouse, [INTERACTIONS_QUARANTINE, ITEMS, USERS])


def test_every_table_is_compared() -> None:
    cleaned = (INTERACTIONS, INTERACTIONS_QUARANTINE, ITEM_VERSIONS, ITEMS, USERS, SOURCE_FILES)
    assert {table.name for table in LASTING} == {table.name for table in (*cleaned, TEXT_EMBEDDINGS, CLUSTER_MODELS, METRICS, *DERIVED)}
