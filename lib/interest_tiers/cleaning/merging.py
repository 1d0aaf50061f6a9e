"""New rows beside those that the tables hold already."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.interactions import clipped_value
from interest_tiers.cleaning.quarantine import WHOLE_TIMES, is_good
from interest_tiers.config import ValueRange

#: A row as cleaning leaves it. The quarantine keeps it so when it is noise only beside the others of its day.
CLEAN_ROW = "interaction_id string, user_id string, item_id string, behaviour string, occurred_at timestamp, value double, text string"


def clean_row() -> Column:
    """A clean row as JSON, its value as given (see restored_noise)."""
    names = [column.split()[0] for column in CLEAN_ROW.split(", ")]
    given = F.coalesce("given_value", "value").alias("value")
    return F.to_json(F.struct(*[given if name == "value" else F.col(name) for name in names]), WHOLE_TIMES)


def restored(interactions: DataFrame, values: Mapping[str, ValueRange]) -> DataFrame:
    """Rows as they were before their day was judged.

    interactions: as the table, any columns more. Returns the same columns; value and given_value say what the bounds of
    the behaviours alone make of the value.
    """
    given = interactions.withColumn("value", F.coalesce("given_value", "value"))
    clipped = clipped_value(values)
    return given.withColumns({"value": clipped, "given_value": F.when(clipped != F.col("value"), F.col("value"))})


def restored_noise(quarantine: DataFrame, values: Mapping[str, ValueRange]) -> DataFrame:
    """The rows that are quarantined as noise, as they were before their day was judged: the columns of interactions.

    quarantine: as the table interactions_quarantine.
    """
    noise = quarantine.where("is_noise").select("source", "event_date", F.from_json("raw", CLEAN_ROW, WHOLE_TIMES).alias("row"))
    return restored(noise.select("row.*", "event_date", "source", F.lit(None).cast("double").alias("given_value")), values)


def rows_not_stored(assessed: DataFrame, stored: DataFrame) -> DataFrame:
    """The assessed rows without the good ones that are stored already. stored: interaction_id, each once."""
    known = stored.select("interaction_id", F.lit(True).alias("is_stored"))
    beside = assessed.join(known, "interaction_id", "left")
    return beside.where(~is_good() | F.col("is_stored").isNull()).drop("is_stored")


def stored_rows_read_again(assessed: DataFrame, stored: DataFrame) -> DataFrame:
    """The stored rows with copies bigint: how often the assessed rows have them; 0 for those that were not read again."""
    again = assessed.where(is_good()).select("interaction_id", "copies")
    return stored.join(again, "interaction_id", "left").withColumn("copies", F.coalesce("copies", F.lit(0)))
