"""Interaction rows: mapped to the contract's columns, with every reason why a row cannot be used."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.columns import (
    identifier,
    instant,
    number,
    require_columns,
    require_sql,
    require_time_format,
    source_column,
)
from interest_tiers.cleaning.quarantine import UNREADABLE_COLUMN, row_as_json
from interest_tiers.config import InteractionColumns, InteractionSource
from interest_tiers.text import normalise

#: How often the source has a row; no name that a source would use.
COPIES = "__copies"

ITEM_DROPPED = "item: its category is dropped"


def assess_interactions(
    raw: DataFrame, source: InteractionSource, path: str, behaviours: Mapping[str, float], dropped_items: DataFrame
) -> DataFrame:
    """Map every distinct row of the source and say what is wrong with it.

    raw: the source's own columns. dropped_items: (item_id). path: for messages.
    Returns one row per distinct source row: interaction_id (SHA-256 of the row), user_id, item_id, behaviour,
    occurred_at, event_date, value, text, reasons array<string> (empty: the row is good), raw (JSON; null for a
    good row), copies bigint (how often the source has the row).
    Raises ConfigError for a column, a time format or a rule that does not fit the source.
    """
    require_columns(raw, _wanted_columns(source.columns), path)
    require_time_format(raw, "interactions.columns.occurred_at.format", source.columns.occurred_at.format)
    for position, rule in enumerate(source.keep):
        require_sql(raw, f"interactions.keep[{position}]", rule, path)
    mapped = _distinct(raw).select(
        row_as_json(raw.columns).alias("raw"),
        F.col(COPIES).alias("copies"),
        *_mapped_columns(raw, source),
        _broken_rules(raw, source).alias("broken_rules"),
    )
    flagged = mapped.join(dropped_items.select("item_id", F.lit(True).alias("is_dropped")), "item_id", "left")
    assessed = flagged.withColumn("reasons", _reasons(source, behaviours))
    return assessed.select(
        F.sha2("raw", 256).alias("interaction_id"),
        "user_id",
        "item_id",
        "behaviour",
        "occurred_at",
        F.to_date("occurred_at").alias("event_date"),
        "value",
        "text",
        "reasons",
        F.when(F.size("reasons") > 0, F.col("raw")).alias("raw"),
        "copies",
    )


def _distinct(raw: DataFrame) -> DataFrame:
    """Exact duplicates as one row with a count.

    The shuffle comes first: a source of one large file is then spread over all cores before any work is
    done on it, and partial sums would save nothing, since nearly all rows differ.
    """
    columns = [source_column(c) for c in raw.columns]
    return raw.repartition(*columns).groupBy(*columns).agg(F.count(F.lit(1)).alias(COPIES))


def _wanted_columns(columns: InteractionColumns) -> dict[str, str]:
    wanted = {
        "user_id": columns.user_id,
        "item_id": columns.item_id,
        "occurred_at.column": columns.occurred_at.column,
        "behaviour.column": columns.behaviour.column,
        "value": columns.value,
        "text": columns.text,
    }
    return {f"interactions.columns.{key}": name for key, name in wanted.items() if name is not None}


def _mapped_columns(raw: DataFrame, source: InteractionSource) -> list[Column]:
    columns = source.columns
    kinds = {f.name: f.dataType for f in raw.schema.fields}
    behaviour = F.lit(columns.behaviour.literal)
    if columns.behaviour.column is not None:
        behaviour = F.trim(source_column(columns.behaviour.column).cast("string"))
    given_value = F.lit(None).cast("string") if columns.value is None else source_column(columns.value)
    return [
        identifier(source_column(columns.user_id), kinds[columns.user_id]).alias("user_id"),
        identifier(source_column(columns.item_id), kinds[columns.item_id]).alias("item_id"),
        behaviour.alias("behaviour"),
        instant(source_column(columns.occurred_at.column), kinds[columns.occurred_at.column], columns.occurred_at).alias("occurred_at"),
        number(given_value).alias("value"),
        # A missing value is allowed; one that is there and is no number is not.
        (given_value.isNotNull() & (F.trim(given_value.cast("string")) != "") & number(given_value).isNull()).alias("is_value_wrong"),
        (F.lit(None).cast("string") if columns.text is None else normalise(source_column(columns.text))).alias("text"),
    ]


def _broken_rules(raw: DataFrame, source: InteractionSource) -> Column:
    rules = [F.when(~F.coalesce(F.expr(rule), F.lit(False)), F.lit(f"keep: {rule}")) for rule in source.keep]
    if UNREADABLE_COLUMN in raw.columns:
        rules.append(F.when(source_column(UNREADABLE_COLUMN).isNotNull(), F.lit("row: cannot be read")))
    return F.array_compact(F.array(*rules)) if rules else F.array().cast("array<string>")


def _reasons(source: InteractionSource, behaviours: Mapping[str, float]) -> Column:
    time = source.columns.occurred_at
    occurred_at = F.col("occurred_at")
    own = F.array_compact(
        F.array(
            F.when(F.col("user_id").isNull(), F.lit("user_id: missing")),
            F.when(F.col("item_id").isNull(), F.lit("item_id: missing")),
            F.when(occurred_at.isNull(), F.lit("occurred_at: not a time")),
            F.when(occurred_at < F.lit(time.earliest), F.lit(f"occurred_at: before {time.earliest}")),
            F.when(occurred_at >= F.lit(time.latest), F.lit(f"occurred_at: not before {time.latest}")),
            F.when(~F.coalesce(F.col("behaviour").isin(*behaviours), F.lit(False)), F.lit("behaviour: not configured")),
            F.when(F.col("is_value_wrong"), F.lit("value: not a number")),
            F.when(F.col("is_dropped"), F.lit(ITEM_DROPPED)),
        )
    )
    return F.concat(own, F.col("broken_rules"))
