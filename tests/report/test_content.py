"""The whole content: ids are masked, stages come from the caller."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.report.content import build_content
from interest_tiers.report.page import render
from interest_tiers.report.sources import Sources
from interest_tiers.storage.schemas import METRICS, RUNS

DAY = date(2018, 1, 1)


@pytest.fixture(scope="module")
def complete(spark: SparkSession, sources: Sources) -> Sources:
    """The users have ids that stand out in a page."""
    rename = F.concat(F.lit("person-"), F.col("user_id")).alias("user_id")

    def renamed(name: str) -> Any:
        frame = getattr(sources, name)
        return frame.select(rename, *[column for column in frame.columns if column != "user_id"])

    names = ("users", "user_interests", "user_tiers", "user_vectors", "user_clusters", "recommendations")
    at = datetime(2026, 1, 5)
    runs = [(f"r-{s}", s, DAY, "done", at, at, 1, 1, "c" * 64, "0.1.0", {}, None) for s in ("clean", "report", "recommend")]
    metrics = [
        ("r1", DAY, "cluster_users", "silhouette_chosen", "k=8", 0.4, None, None),
        ("r1", DAY, "evaluate", "J", "model=user_tiers", 0.3, 0.2, 0.4),
        ("r1", date(2017, 1, 1), "evaluate", "J", "model=user_tiers", 0.9, 0.2, 0.95),
    ]
    described = {"silhouette": F.lit(0.5), "top_interests": F.array(F.lit("MILK"))}
    clusters = sources.clusters.withColumns({**described, "top_items": F.array(F.lit("whole milk")), "previous_size": F.lit(None)})
    quarantine = sources.quarantine.withColumns({"source": F.lit("web"), "reasons": F.array(F.lit("no item"))})
    return replace(
        sources,
        **{name: renamed(name) for name in names},
        clusters=clusters,
        quarantine=quarantine,
        runs=spark.createDataFrame(runs, RUNS.schema),
        metrics=spark.createDataFrame(metrics, METRICS.schema),
    )


@pytest.mark.parametrize("show_users", [False, True])
def test_ids_of_users_are_on_the_page_only_where_they_are_asked_for(complete: Sources, show_users: bool) -> None:
    content = build_content(complete, "shop", DAY, 91, ["recommend", "clean"], show_users=show_users)
    page = render(content)
    assert page.count("person-") == (3 if show_users else 0)
    assert ("<code>person-u1</code>" in page) == show_users
    for number in (1, 2, 3):
        assert (f"<strong>User {number}</strong>" in page) != show_users
    assert ("Their ids are masked" in page) != show_users
    assert [(run.stage, run.run_id) for run in content.stages] == [("recommend", "r-recommend"), ("clean", "r-clean")]
    assert content.silhouettes.chosen == 8
    assert content.back_test is not None and content.back_test.headline is not None
    [model] = content.back_test.headline.models
    assert [measure and measure.value for measure in model.measures] == [0.3]
