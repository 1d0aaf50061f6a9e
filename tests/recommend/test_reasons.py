"""The reasons that a person reads."""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.recommend.reasons import explain, share_in_clusters
from interest_tiers.recommend.scoring import RANKED

CLUSTERS = "user_id string, cluster_id string, is_primary boolean"
SHARES = "cluster_id string, item_id string, cluster_share double"


def test_reasons(spark: SparkSession) -> None:
    ranked = [
        ("u1", 1, "milk", "dairy", 3.5, True, 12, 3, 7.0, None, 0, "repeat"),
        ("u1", 2, "cheese", "dairy", 2.5, True, 1, 1, None, None, 9, "repeat"),
        ("u1", 3, "lager", "beer", 1.5, False, None, None, None, "milk", 2, "co_use"),
        ("u1", 4, "rosé", "wine", 1.0, False, None, None, None, "stout", 5, "adoption"),
        ("u2", 1, "lager", "beer", 2.0, True, 2, 30, 7.4, None, 0, "interest"),
        ("u2", 2, "milk", "dairy", 1.0, False, None, None, None, None, 0, "text"),
    ]
    tiers = [("u1", "dairy", "core"), ("u1", "beer", "secondary"), ("u2", "beer", "core"), ("u2", "dairy", "marginal")]
    got = explain(
        spark.createDataFrame(ranked, RANKED),
        spark.createDataFrame(tiers, "user_id string, interest_id string, tier string"),
        spark.createDataFrame([("dairy", "DAIRY 100%"), ("beer", "BEER"), ("wine", "WINE")], "interest_id string, name string"),
        spark.createDataFrame([("u1", "c01", True), ("u2", "c01", False), ("u2", "c02", True)], CLUSTERS),
        spark.createDataFrame([("c01", "DAIRY · EGGS"), ("c02", "BEER")], "cluster_id string, name string"),
        spark.createDataFrame([("c01", "lager", 0.126), ("c01", "milk", 0.9), ("c02", "milk", 0.0501)], SHARES),
        spark.createDataFrame([("milk", "m" * 61), ("stout", None)], "item_id string, text string"),
    )
    reasons = [
        ("u1", 1, "core", "c01", "yours on 12 days, last 3 days ago; 90 % of the cluster DAIRY · EGGS had it; DAIRY 100%, a core interest"),
        ("u1", 2, "core", None, "yours on 1 day, last 1 day ago; DAIRY 100%, a core interest"),
        (
            "u1", 3, "secondary", "c01",
            f"users of your {'m' * 59}… had it too; 13 % of the cluster DAIRY · EGGS had it; BEER, a secondary interest",
        ),
        ("u1", 4, "marginal", None, "new to 5 users in 28 days; users of your stout had it too; WINE, a new interest"),
        ("u2", 1, "core", None, "BEER, a core interest; yours on 2 days, last 30 days ago, usually every 7 days"),
        ("u2", 2, "marginal", "c02", "5 % of the cluster BEER had it; DAIRY 100%, a marginal interest"),
    ]  # fmt: skip
    schema = "user_id string, rank bigint, tier string, cluster_id string, reason string"
    assertDataFrameEqual(got.select("user_id", "rank", "tier", "cluster_id", "reason"), spark.createDataFrame(reasons, schema))


def test_an_item_is_a_clusters_where_far_more_of_its_users_had_it(spark: SparkSession) -> None:
    """Of c1 2 of 4 users had a, of all 2 of 8; b is everybody's; d has evidence of nobody."""
    members = [(f"u{number}", "c1" if number < 4 else "c2", True) for number in range(8)] + [("u7", "c1", False)]
    used = [("u0", "a", True), ("u1", "a", True), *[(f"u{number}", "b", True) for number in range(8)], ("u2", "d", False)]
    got = share_in_clusters(
        spark.createDataFrame(used, "user_id string, item_id string, is_had boolean"), spark.createDataFrame(members, CLUSTERS)
    )
    assertDataFrameEqual(got, spark.createDataFrame([("c1", "a", 0.5)], SHARES))
