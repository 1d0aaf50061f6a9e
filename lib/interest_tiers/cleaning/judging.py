"""Judges interactions: new rows against stored ones, and the rows of a day against each other. Nothing is written here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.merging import clean_row, count_copies, drop_stored_rows, restore_given_values, restore_noise
from interest_tiers.cleaning.noise import has_day_rules, settle_days
from interest_tiers.cleaning.quarantine import is_good, to_quarantine
from interest_tiers.config import ITEMS_SOURCE, USERS_SOURCE, Config
from interest_tiers.spark.materialise import Materialise


@dataclass(frozen=True)
class Judged:
    """Interactions with every reason, and the days that were judged again.

    rows: the columns of the table interactions, and (reasons array<string>, raw, copies bigint, is_new, is_flagged, is_noise).
    days: rows of these days replace the stored ones; None where they replace the whole table.
    """

    rows: DataFrame
    days: list[date] | None

    @property
    def replaces_all(self) -> bool:
        return self.days is None

    @property
    def good(self) -> DataFrame:
        return self.rows.where(is_good())


def judge_all(assessed: DataFrame, config: Config, materialise: Materialise) -> Judged:
    """Judge the rows of all sources. assessed: see interactions.assess_interactions."""
    fresh = assessed.withColumn("is_new", F.lit(True))
    if not has_day_rules(config.noise, config.values):
        return Judged(_without_noise(fresh), None)
    return Judged(materialise("judged", _judge_days(fresh, config)), None)


def judge_beside_stored(
    assessed: DataFrame, interactions: DataFrame, quarantine: DataFrame, config: Config, materialise: Materialise
) -> Judged:
    """Judge new rows, with the stored rows of their days where the config has rules for days.

    assessed: see interactions.assess_interactions. interactions, quarantine: as the tables.
    Returns the new rows, the stored rows that were read again, and all rows of the days that changed.
    """
    of_days = F.col("event_date").isin(_days(assessed.where(is_good())))
    stored = restore_given_values(interactions.where(of_days), config.values)
    has_rules = has_day_rules(config.noise, config.values)
    if has_rules:
        stored = stored.unionByName(restore_noise(quarantine.where(of_days), config.values))
    fresh = materialise("fresh", drop_stored_rows(assessed, stored.select("interaction_id")))
    stored = count_copies(assessed, stored).withColumns(
        {"reasons": F.array().cast("array<string>"), "raw": F.lit(None).cast("string"), "is_new": F.lit(False)}
    )
    fresh, touched = fresh.withColumn("is_new", F.lit(True)), _days(fresh.where(is_good()))
    if has_rules:
        is_touched = F.col("event_date").isin(touched)
        settled, others = _judge_days(fresh.unionByName(stored.where(is_touched)), config), stored.where(~is_touched)
    else:
        settled, others = _without_noise(fresh), stored
    read_again = _without_noise(others.where("copies > 0"))
    return Judged(materialise("judged", settled.unionByName(read_again)), touched)


def collect_bad_rows(judged: Judged | None, items: DataFrame | None, users: DataFrame | None, run_id: str) -> DataFrame | None:
    """Collect what belongs into the quarantine, each row once; None where nothing was read.

    items, users: (…, reasons array<string>, raw, event_date), assessed rows of those sources.
    Returns the columns of the table interactions_quarantine.
    """
    found = [] if judged is None else [to_quarantine(judged.rows, F.col("source"), run_id, F.col("is_noise"))]
    found += [to_quarantine(rows, F.lit(name), run_id) for name, rows in ((ITEMS_SOURCE, items), (USERS_SOURCE, users)) if rows is not None]
    return reduce(DataFrame.unionByName, found).dropDuplicates(["row_hash"]) if found else None


def replaced_quarantine(judged: Judged | None, rebuilt: Collection[str], config: Config) -> str | None:
    """Write the SQL condition on ``target`` for the quarantined rows that a run replaces; None where it only adds."""
    replaced = [f"target.source = '{name}'" for name in (ITEMS_SOURCE, USERS_SOURCE) if name in rebuilt]
    if judged is not None and judged.replaces_all:
        replaced.append(f"target.source NOT IN ('{ITEMS_SOURCE}', '{USERS_SOURCE}')")
    elif judged is not None and judged.days and has_day_rules(config.noise, config.values):
        days = ", ".join(f"DATE'{day}'" for day in judged.days)
        replaced.append(f"(target.is_noise AND target.event_date IN ({days}))")
    return " OR ".join(replaced) or None


def _judge_days(assessed: DataFrame, config: Config) -> DataFrame:
    """Add the reasons that show only in comparison with the other rows of a day."""
    settled = settle_days(assessed.where(is_good()).drop("reasons", "raw"), config.noise, config.values)
    settled = settled.withColumn("is_noise", ~is_good()).withColumn("raw", F.when(F.col("is_noise"), clean_row()))
    return _without_noise(assessed.where(~is_good())).unionByName(settled)


def _without_noise(assessed: DataFrame) -> DataFrame:
    """Mark rows that are not compared with the others of their day."""
    return assessed.withColumns({"is_flagged": F.lit(False), "is_noise": F.lit(False)})


def _days(rows: DataFrame) -> list[date]:
    """Collect the days of good rows; their time is plausible, so they are few."""
    return sorted(row["event_date"] for row in rows.select("event_date").distinct().collect())
