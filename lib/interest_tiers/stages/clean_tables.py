"""Writes what a step of clean found to its tables, each by one commit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from interest_tiers.cleaning.forgetting import drop_forgotten, drop_quarantine_naming
from interest_tiers.cleaning.increment import Increment, mark_as_read
from interest_tiers.cleaning.judging import Judged, replaced_quarantine
from interest_tiers.cleaning.noise import has_day_rules
from interest_tiers.cleaning.quality import Measure, quality_rows
from interest_tiers.cleaning.users import list_users
from interest_tiers.stages.context import StageContext
from interest_tiers.storage.schemas import (
    DATA_QUALITY,
    FORGOTTEN_USERS,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    ITEM_VERSIONS,
    ITEMS,
    SOURCE_FILES,
    USERS,
    Table,
)

#: Files per day of interactions, on average over the days from the first to the last, above which a run compacts them.
#: Every run without rules for days adds a file to each day that it touches. Compacting at this mean rewrites a row
#: once in several runs, and keeps the number of files linear in days.
FILES_PER_DAY = 8


def stored(context: StageContext, table: Table) -> DataFrame:
    """Read a table; without rows where it does not exist yet."""
    warehouse = context.warehouse
    return warehouse.read(table) if warehouse.exists(table) else warehouse.spark.createDataFrame([], table.schema)


def leave_out_forgotten(context: StageContext, rows: DataFrame) -> DataFrame:
    """Leave out the rows of forgotten users, as if they had never been read. rows: (user_id, …)."""
    forgotten = FORGOTTEN_USERS
    return drop_forgotten(rows, context.warehouse.read(forgotten)) if context.warehouse.exists(forgotten) else rows


def leave_out_raws_of_forgotten(context: StageContext, rows: DataFrame) -> DataFrame:
    """Leave out quarantined rows that name a forgotten user. rows: (row_hash, raw, …)."""
    forgotten = FORGOTTEN_USERS
    return drop_quarantine_naming(rows, context.warehouse.read(forgotten)) if context.warehouse.exists(forgotten) else rows


def write_quality(context: StageContext, measures: Sequence[Measure]) -> None:
    """Add the measures of this run."""
    rows = quality_rows(measures, context.run_id, datetime.now(UTC))
    context.warehouse.append(DATA_QUALITY, context.warehouse.spark.createDataFrame(rows, DATA_QUALITY.schema))


def write_quarantine(context: StageContext, increment: Increment, judged: Judged | None, found: DataFrame) -> None:
    """Add what was found, and remove what it replaces; a row found before keeps the run that found it."""
    within = replaced_quarantine(judged, increment.rebuilt, context.config)
    if within is None:
        context.warehouse.insert_missing(INTERACTIONS_QUARANTINE, found)
    else:
        context.warehouse.replace_changed(INTERACTIONS_QUARANTINE, found, within=within, ignoring=["run_id"])


def write_interactions(context: StageContext, judged: Judged) -> None:
    """Replace all interactions or those of the judged days, or add the new ones."""
    warehouse, good = context.warehouse, judged.good
    if judged.days is None:
        warehouse.replace(INTERACTIONS, good)
    elif not judged.days:
        return
    elif has_day_rules(context.config.noise, context.config.values):
        warehouse.replace_event_dates(INTERACTIONS, good.where(F.col("event_date").isin(judged.days)), judged.days)
    else:
        warehouse.append(INTERACTIONS, good.where("is_new"))
        compact_interactions(context)


def compact_interactions(context: StageContext) -> int:
    """Compact interactions above FILES_PER_DAY files per day; returns how many files were replaced."""
    bounds = context.warehouse.read(INTERACTIONS).agg(F.min("event_date").alias("first"), F.max("event_date").alias("last")).first()
    if bounds is None or bounds["first"] is None:
        return 0
    days = (bounds["last"] - bounds["first"]).days + 1
    return context.warehouse.compact(INTERACTIONS, above_files=FILES_PER_DAY * days)


def write_items(context: StageContext, versions: DataFrame, catalogue: DataFrame | None) -> int:
    """Replace the catalogue where the items' source had new rows (see items.build_catalogue); returns the number of items."""
    if catalogue is None:
        return context.warehouse.read(ITEMS).count()
    context.warehouse.replace(ITEM_VERSIONS, versions.withColumn("run_id", F.lit(context.run_id)))
    return context.warehouse.replace(ITEMS, catalogue.where("NOT is_dropped"))


def add_users(context: StageContext, judged: Judged) -> None:
    """Add the users of new interactions."""
    arrived = list_users(judged.good.where("is_new"), None)
    context.warehouse.insert_missing(USERS, context.warehouse.stage("clean/users", arrived))


def replace_users(context: StageContext, assessed: DataFrame | None) -> None:
    """Replace all users: those with interactions, and those of the users' source. assessed: see users.assess_users."""
    users = list_users(context.warehouse.read(INTERACTIONS), assessed)
    context.warehouse.replace(USERS, leave_out_forgotten(context, users))


def write_ledger(context: StageContext, increment: Increment, columns: dict[str, StructType]) -> None:
    """Write the ledger, last: a step that stops before is read again, and changes nothing then."""
    ledger = mark_as_read(increment, columns, context.run_id)
    context.warehouse.replace(SOURCE_FILES, context.warehouse.stage("clean/source_files", ledger))
