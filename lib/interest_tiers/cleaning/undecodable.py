"""Counts rows with U+FFFD: bytes outside the encoding that a file was read in, and half characters of JSON.

In a name (an id, behaviour or category) it may make one of two, so the gate bounds the rows with such names. A text with
half an emoji loses little; such rows are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from interest_tiers.cleaning.columns import REPLACEMENT

#: Columns of interactions and of items that may hold REPLACEMENT.
TEXT_COLUMNS, ITEM_TEXT_COLUMNS = ("user_id", "item_id", "behaviour", "text"), ("item_id", "text", "category")

#: Of those, the one that is no name.
FREE_TEXT = "text"


@dataclass(frozen=True)
class Undecodable:
    """The number of rows with REPLACEMENT, of how many, and by column. named: those with it in a name."""

    rows: int = 0
    of: int = 0
    named: int = 0
    by_column: Mapping[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """The share of rows with REPLACEMENT in a name."""
        return self.named / max(self.of, 1)


def count_undecodable(columns: Sequence[str], is_counted: Column, n_rows: Column) -> list[Column]:
    """Sum the rows with REPLACEMENT, in each column, in any name and in any column, as columns for read_undecodable."""
    has = {column: F.coalesce(F.col(column).contains(REPLACEMENT), F.lit(False)) for column in columns}
    in_name = reduce(lambda one, other: one | other, [is_of for column, is_of in has.items() if column != FREE_TEXT])
    has |= {"_named": in_name, "_any": in_name | has[FREE_TEXT]}
    return [F.sum(F.when(is_counted & is_of, n_rows).otherwise(0)).alias(f"undecodable_{column}") for column, is_of in has.items()]


def read_undecodable(row: Row, columns: Sequence[str], of: int) -> Undecodable:
    """Read the sums of count_undecodable from a row. of: the rows that were counted."""
    by_column = {column: row[f"undecodable_{column}"] or 0 for column in columns}
    return Undecodable(row["undecodable__any"] or 0, of, row["undecodable__named"] or 0, by_column)


def count_undecodable_items(versions: DataFrame) -> Undecodable:
    """Count the rows of the catalogue with REPLACEMENT. versions: see items.count_item_versions."""
    sums = count_undecodable(ITEM_TEXT_COLUMNS, F.lit(True), F.col("n_rows"))
    row = versions.agg(F.sum("n_rows").alias("of"), *sums).first()
    assert row is not None  # an aggregate without keys has one row
    return read_undecodable(row, ITEM_TEXT_COLUMNS, row["of"] or 0)
