"""Rows in and out: the totals, the newest run of every stage, and why rows are in quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.report.language import N_
from interest_tiers.report.sources import Sources

#: Stages whose tables hold one state and not one per as_of: their newest run wrote what is there now.
UNDATED_STAGES = ("clean", "embed")

REASONS_LIMIT = 50

#: How a run of a stage can end.
STATUSES = (N_("done"), N_("failed"), N_("refused"))


@dataclass(frozen=True)
class Totals:
    """Row counts of the tables."""

    users: int
    interactions: int
    items: int
    interests: int
    recommendations: int
    quarantined: int


@dataclass(frozen=True)
class StageRun:
    """The newest run of one stage; rows are None where it failed."""

    stage: str
    run_id: str
    status: str
    ended_at: str  # UTC, to the minute
    seconds: float
    rows_in: int | None
    rows_out: int | None
    message: str
    code_version: str
    config_sha256: str


@dataclass(frozen=True)
class QuarantineReason:
    """Rows of a source in quarantine for one reason; a row may have several."""

    source: str
    reason: str
    rows: int


def count_totals(sources: Sources) -> Totals:
    """Count the rows of the tables."""
    return Totals(
        users=sources.users.count(),
        interactions=sources.interactions.count(),
        items=sources.items.count(),
        interests=sources.interests.count(),
        recommendations=sources.recommendations.count(),
        quarantined=sources.quarantine.count(),
    )


def list_stages(runs: DataFrame, as_of: date, stages: Sequence[str]) -> tuple[StageRun, ...]:
    """Find the newest run of each of the stages, in their order: for this as_of, of UNDATED_STAGES for any.

    runs: the table runs
    """
    relevant = F.col("stage").isin(*UNDATED_STAGES) | (F.col("as_of") == F.lit(as_of))
    seconds = F.col("ended_at").cast("double") - F.col("started_at").cast("double")
    run = F.struct(
        F.col("ended_at").alias("newest"),
        "run_id",
        "status",
        F.date_format("ended_at", "yyyy-MM-dd HH:mm").alias("ended_at"),
        seconds.alias("seconds"),
        "rows_in",
        "rows_out",
        F.coalesce("message", F.lit("")).alias("message"),
        "code_version",
        "config_sha256",
    )
    newest = runs.where(F.col("stage").isin(*stages) & relevant).groupBy("stage").agg(F.max(run).alias("run"))
    rows = newest.select("stage", "run.*").drop("newest").collect()  # one per stage
    return tuple(sorted((StageRun(**row.asDict()) for row in rows), key=lambda run: stages.index(run.stage)))


def count_reasons(quarantine: DataFrame) -> tuple[QuarantineReason, ...]:
    """Count the rows in quarantine by source and reason, most first.

    quarantine: (source, reasons array<string>)
    """
    broken = quarantine.select("source", F.explode(F.array_distinct("reasons")).alias("reason"))
    counts = broken.groupBy("source", "reason").agg(F.count("*").alias("rows"))
    rows = counts.orderBy(F.desc("rows"), "source", "reason").limit(REASONS_LIMIT).collect()
    return tuple(QuarantineReason(**row.asDict()) for row in rows)
