"""The physical plan from raw purchases to user_interests: what makes it fast, and safe against one huge user."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.cleaning.interactions import assess_interactions
from interest_tiers.cleaning.quarantine import is_good
from interest_tiers.config import InteractionSource
from interest_tiers.interests.evidence import item_days
from interest_tiers.interests.features import user_interests
from tests.interests.test_evidence import WEIGHTS

AS_OF = date(2024, 3, 1)
PYTHON = re.compile("ArrowEvalPython|BatchEvalPython|PythonUDF|MapInPandas|MapInArrow|FlatMapGroupsInPandas")
SHUFFLE = re.compile(r"Exchange hashpartitioning\((.+?), \d+\)")


@pytest.fixture(scope="module")
def plan(spark: SparkSession) -> list[str]:
    """The lines of the plan, each operator below the one that takes its rows."""
    raw = spark.createDataFrame(
        [("u", "i", datetime(2024, 2, 1, tzinfo=UTC), 1.0, 7)], "user string, item string, at timestamp, price double, n int"
    )
    source = InteractionSource.model_validate(
        {
            "path": "x",
            "columns": {"user_id": "user", "item_id": "item", "occurred_at": "at", "behaviour": {"literal": "purchase"}, "value": "price"},
            "keep": ["n > 0"],
        }
    )
    # As small as most catalogues; a large one is shuffled by item besides.
    dropped = F.broadcast(spark.createDataFrame([], "item_id string"))
    interests = F.broadcast(spark.createDataFrame([("i", "category:a")], "item_id string, interest_id string"))
    assessed = assess_interactions(raw, source, "interactions", "x", WEIGHTS, {}, dropped, AS_OF)
    rows = user_interests(item_days(assessed.where(is_good()), interests, WEIGHTS), AS_OF, 90, 91)
    return rows._jdf.queryExecution().executedPlan().toString().splitlines()


def test_no_row_goes_through_python(plan: list[str]) -> None:
    assert [line for line in plan if PYTHON.search(line)] == []


def test_every_level_of_sums_is_one_shuffle(plan: list[str]) -> None:
    keys = [re.sub(r"#\d+", "", found[1]) for line in plan if (found := SHUFFLE.search(line))]
    assert keys == [
        "user_id, 1",  # shares and ranks within a level: as many rows as the user has interests
        "user_id, interest_id",
        "user_id, item_id, event_date",
        "user, item, at, price, n",  # exact duplicates, by all columns
    ]


def test_rows_of_one_user_are_summed_before_they_meet(plan: list[str]) -> None:
    """A user with a fifth of all rows is spread by row, then by item and day, then by interest, the last two times summed before."""
    of_item_days = next(position for position, line in enumerate(plan) if "hashpartitioning(user_id" in line and "event_date" in line)
    below = plan[of_item_days + 1]
    assert "HashAggregate" in below
    assert "partial_" in below
    of_pairs = next(
        position for position, line in enumerate(plan) if re.search(r"hashpartitioning\(user_id#\d+, interest_id#\d+, \d+\)", line)
    )
    between = plan[of_pairs + 1 : of_item_days]
    assert any("HashAggregate" in line for line in between)
    assert not any("SortAggregate" in line or "ObjectHashAggregate" in line for line in plan)
