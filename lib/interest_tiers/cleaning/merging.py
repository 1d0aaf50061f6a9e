"""Merges new rows with stored ones."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.interactions import clip_value
from interest_tiers.cleaning.quarantine import WHOLE_TIMES, is_good
from interest_tiers.config import ValueRange

#: A cleaned row. The quarantine keeps a row in this form when only the other rows of its day make it noise.
CLEAN_ROW = "interaction_id string, user_id string, item_id string, behaviour string, occurred_at timestamp, value double, text string"


def clean_row() -> Column:
    """Write a clean row as JSON, its value before clipping (see restore_noise)."""
    names = [column.split()[0] for column in CLEAN_ROW.split(", ")]
    given = F.coalesce("given_value", "value").alias("value")
    return F.to_json(F.struct(*[given if name == "value" else F.col(name) for name in names]), WHOLE_TIMES)


def restore_given_values(interactions: DataFrame, values: Mapping[str, ValueRange]) -> DataFrame:
    """Restore rows as they were before their day was judged.

    interactions: the columns of the table interactions, and any others
    Returns:      the same columns; value and given_value follow from the bounds of the behaviours alone
    """
    given = interactions.withColumn("value", F.coalesce("given_value", "value"))
    clipped = clip_value(values)
    return given.withColumns({"value": clipped, "given_value": F.when(clipped != F.col("value"), F.col("value"))})


def restore_noise(quarantine: DataFrame, values: Mapping[str, ValueRange]) -> DataFrame:
    """Restore the rows that are quarantined as noise, as they were before their day was judged.

    quarantine: the columns of the table interactions_quarantine
    Returns:    the columns of the table interactions
    """
    noise = quarantine.where("is_noise").select("source", "event_date", F.from_json("raw", CLEAN_ROW, WHOLE_TIMES).alias("row"))
    return restore_given_values(noise.select("row.*", "event_date", "source", F.lit(None).cast("double").alias("given_value")), values)


def drop_stored_rows(assessed: DataFrame, stored: DataFrame) -> DataFrame:
    """Leave out the good rows that are stored already.

    assessed: (interaction_id, reasons array<string>, ...)
    stored:   (interaction_id, ...), one row per interaction
    Returns:  the columns of assessed
    """
    known = stored.select("interaction_id", F.lit(True).alias("is_stored"))
    matched = assessed.join(known, "interaction_id", "left")
    return matched.where(~is_good() | F.col("is_stored").isNull()).drop("is_stored")


def count_copies(assessed: DataFrame, stored: DataFrame) -> DataFrame:
    """Count how often stored rows were read again.

    assessed: (interaction_id, copies bigint, reasons array<string>, ...)
    stored:   (interaction_id, ...), one row per interaction
    Returns:  the columns of stored and copies bigint, 0 for a row that was not read again
    """
    again = assessed.where(is_good()).select("interaction_id", "copies")
    return stored.join(again, "interaction_id", "left").withColumn("copies", F.coalesce("copies", F.lit(0)))
