"""Samples by hash: the same rows every time, whatever the partitioning."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

#: A key falls into a millionth of the hash range, and within it into one of a million finer parts.
PARTS = 1_000_000

#: From so many millionths on a sample consists of whole ones: finer parts would change it by less than a thousandth.
WHOLE_PARTS = 1_000


def sample_by_hash(rows: DataFrame, key: str, wanted: int, n_rows: int) -> DataFrame:
    """Keep about as many rows as wanted: those whose column key has the smallest hash. Keep all where there are no more.

    rows:    (key, ...), one or more rows per key
    n_rows:  number of rows
    Returns: some of the rows; a larger number wanted keeps these and more
    """
    return rows.where(is_sampled(key, wanted, n_rows))


def is_sampled(key: str, wanted: int, n_rows: int) -> Column:
    """Say whether the column key is in the sample of sample_by_hash."""
    if n_rows <= wanted:
        return F.lit(True)
    coarse, fine = (F.pmod(hashed, F.lit(PARTS)) for hashed in (F.xxhash64(key), F.xxhash64(F.lit("fine"), key)))
    return coarse * PARTS + fine < sample_threshold(wanted, n_rows)


def sample_threshold(wanted: int, n_rows: int) -> int:
    """Compute the share of rows wanted in parts of PARTS squared, for fewer wanted rows than there are."""
    whole = PARTS * wanted // n_rows
    return PARTS * whole if whole >= WHOLE_PARTS else PARTS * PARTS * wanted // n_rows
