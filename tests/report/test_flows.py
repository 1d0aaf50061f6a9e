"""What became of every tier since an earlier day."""

from __future__ import annotations

from datetime import date

import pytest
from pyspark.sql import SparkSession

from interest_tiers.report.flows import Flow, count_flows

DAY = date(2017, 10, 1)
COLUMNS = "user_id string, interest_id string, tier string"


def test_flows_are_counted_for_users_of_both_days(spark: SparkSession) -> None:
    """u1 and u2 are there on both days; new joined, gone left."""
    earlier = [
        ("u1", "tea", "core"), ("u1", "jam", "core"), ("u1", "oil", "marginal"), ("u2", "tea", "core"), ("u2", "jam", "secondary"),
        ("gone", "tea", "core"),
    ]  # fmt: skip
    now = [
        ("u1", "tea", "core"),
        ("u1", "jam", "secondary"),
        ("u1", "rye", "core"),
        ("u2", "tea", "core"),
        ("u2", "jam", "secondary"),
        ("new", "tea", "core"),
    ]
    flows = count_flows(spark.createDataFrame(now, COLUMNS), spark.createDataFrame(earlier, COLUMNS), DAY)
    assert flows.flows == (
        Flow("core", 3, (pytest.approx(2 / 3), pytest.approx(1 / 3), 0, 0)),  # type: ignore[arg-type]
        Flow("secondary", 1, (0, 1, 0, 0)),
        Flow("marginal", 1, (0, 0, 0, 1)),
        Flow("none", 1, (1, 0, 0, 0)),
    )
    assert (flows.since, flows.users, flows.new_users, flows.gone_users) == (DAY, 2, 1, 1)
    assert flows.kept == pytest.approx(2 / 4), "core on either day: tea and jam of u1, rye of u1, tea of u2"
