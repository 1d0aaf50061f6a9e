"""Rows in and out, counted by hand from small tables."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from pyspark.sql import SparkSession

from interest_tiers.report import rows
from interest_tiers.report.rows import QuarantineReason, Totals
from interest_tiers.report.sources import Sources
from interest_tiers.storage.schemas import RUNS

DAY, EARLIER = date(2018, 1, 1), date(2017, 12, 31)


def test_totals_are_the_rows_of_the_tables(sources: Sources) -> None:
    assert rows.count_totals(sources) == Totals(users=3, interactions=7, items=2, interests=5, recommendations=3, quarantined=2)


def test_a_row_in_quarantine_counts_once_for_every_rule_that_it_breaks(spark: SparkSession) -> None:
    found = [("interactions", ["no user", "no item"]), ("interactions", ["no item", "no item"]), ("items", ["no item"])]
    assert rows.count_reasons(spark.createDataFrame(found, "source string, reasons array<string>")) == (
        QuarantineReason("interactions", "no item", 2),
        QuarantineReason("interactions", "no user", 1),
        QuarantineReason("items", "no item", 1),
    )


def test_an_empty_quarantine_has_no_reasons(spark: SparkSession) -> None:
    assert rows.count_reasons(spark.createDataFrame([], "source string, reasons array<string>")) == ()


def test_stages_show_their_newest_run_of_the_day_in_the_order_of_the_pipeline(spark: SparkSession) -> None:
    def run(run_id: str, stage: str, as_of: date | None, hour: int, n_rows: int | None, status: str = "done") -> tuple[Any, ...]:
        started, ended = datetime(2026, 1, 5, hour, 0), datetime(2026, 1, 5, hour, 1, 30)
        return (run_id, stage, as_of, status, started, ended, n_rows, n_rows, "c" * 64, "0.1.0", {}, None)

    found = [
        run("r3", "recommend", DAY, 4, None, "failed"),
        run("r1", "recommend", DAY, 3, 50),
        run("r2", "recommend", EARLIER, 5, 99),
        run("r2", "embed", EARLIER, 2, 30),
        run("r1", "clean", None, 1, 70),
        run("r1", "report", DAY, 6, 1),
    ]
    stages = rows.list_stages(spark.createDataFrame(found, RUNS.schema), DAY, ["clean", "embed", "cluster_users", "recommend"])
    assert [(s.stage, s.run_id, s.status, s.rows_in) for s in stages] == [
        ("clean", "r1", "done", 70),
        ("embed", "r2", "done", 30),
        ("recommend", "r3", "failed", None),
    ]
    assert (stages[0].seconds, stages[0].message) == (90.0, "")
