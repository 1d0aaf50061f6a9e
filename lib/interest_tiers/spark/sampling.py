"""A part of the rows where all would be too many: the same one every time."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

#: Rows are drawn in steps of one millionth.
HASH_RANGE = 1_000_000


def drawn_by_hash(rows: DataFrame, key: str, wanted: int, n_rows: int) -> DataFrame:
    """About so many rows as wanted, those with the smallest hashes of the column key; all where there are no more.

    n_rows: how many rows there are.
    """
    if n_rows <= wanted:
        return rows
    return rows.where(F.pmod(F.xxhash64(key), F.lit(HASH_RANGE)) < HASH_RANGE * wanted // n_rows)
