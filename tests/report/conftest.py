"""Small tables of three users, whose numbers can be counted by hand."""

from __future__ import annotations

from datetime import date

import pytest
from pyspark.sql import DataFrame, SparkSession

from interest_tiers.report.sources import Sources
from tests.report.tables import TIER_COLUMNS, tier_rows


@pytest.fixture(scope="package")
def user_tiers(spark: SparkSession) -> DataFrame:
    """Ten pairs of three users."""
    rows = [
        *tier_rows("u1", core=["milk", "bread", "tea"], secondary=["beer"], marginal=["soap", "wine"]),
        *tier_rows("u2", core=["milk"], marginal=["soap"]),
        *tier_rows("u3", core=["bread"], secondary=["milk"]),
    ]
    return spark.createDataFrame(rows, TIER_COLUMNS)


@pytest.fixture(scope="package")
def interests(spark: SparkSession) -> DataFrame:
    names = {"milk": "FLUID MILK", "bread": "BREAD", "tea": "TEA", "beer": "BEER", "soap": "SOAP"}  # wine is not in the catalogue
    return spark.createDataFrame(list(names.items()), "interest_id string, name string")


@pytest.fixture(scope="package")
def sources(spark: SparkSession, user_tiers: DataFrame, interests: DataFrame) -> Sources:
    """u1 and u2 in the large cluster a, u3 in the small cluster b; only u1 and u3 have recommendations."""
    frame = spark.createDataFrame
    evidence = [("u1", "bread", 9.0, 0.6, 1, 5, 2), ("u1", "wine", 6.0, 0.4, 2, 4, 30)]
    listed = [("u1", 2, "i2", 1.5, "tea", "core", "you like tea"), ("u1", 1, "i1", 2.5, "milk", "core", "bought on 5 days")]
    return Sources(
        interactions=frame(
            [*[("u1", day) for day in (date(2017, 11, 3), date(2017, 11, 4), date(2018, 1, 1))], *[("u2", date(2017, 12, 1))] * 4],
            "user_id string, event_date date",
        ),
        quarantine=frame([("h1",)] * 2, "row_hash string"),
        items=frame([("i1", "whole milk"), ("i3", None)], "item_id string, text string"),
        users=frame([("u1",), ("u2",), ("u3",)], "user_id string"),
        interests=interests,
        user_interests=frame(
            evidence, "user_id string, interest_id string, evidence double, share double, rank long, n_days long, recency_days long"
        ),
        user_tiers=user_tiers,
        user_vectors=frame([("u1", [0.6, 0.8, 0.0])], "user_id string, vector array<float>"),
        clusters=frame([("a", "Milk and bread", 2), ("b", "Beer", 1)], "cluster_id string, name string, size long"),
        user_clusters=frame(
            [("u1", "b", 0.25, False, None), ("u1", "a", 0.75, True, 0.5), ("u2", "a", 1.0, True, 0.4), ("u3", "b", 1.0, True, None)],
            "user_id string, cluster_id string, membership double, is_primary boolean, silhouette double",
        ),
        recommendations=frame(
            [*listed, ("u3", 1, "i1", 1.0, "milk", "core", "")],
            "user_id string, rank long, item_id string, score double, interest_id string, tier string, reason string",
        ),
        metrics=None,
        runs=None,
    )
