"""Give every partition of a table one file, not one per partition and task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from pyspark.sql import DataFrame

from interest_tiers.text import quote_name


@contextmanager
def rebalance(rows: DataFrame, column: str) -> Iterator[DataFrame]:
    """Bring the rows of a value of the column together; Spark splits a large one.

    The frame can be written as long as the context is open: for a table of a catalog Spark plans it again, from the view.
    """
    spark, view = rows.sparkSession, f"rows_{uuid4().hex}"
    rows.createTempView(view)
    try:
        yield spark.sql(f"SELECT /*+ REBALANCE({quote_name(column)}) */ * FROM {view}")
    finally:
        spark.catalog.dropTempView(view)
