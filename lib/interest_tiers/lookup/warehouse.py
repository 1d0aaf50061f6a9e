"""Opens a warehouse for look-ups, in commands and notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interest_tiers.storage.row_reader import RowReader, open_rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def open_warehouse(location: str, by_spark: bool = False) -> RowReader:
    """Open a local folder or one on S3 without a JVM, and everything else by the running or a new Spark session.

    by_spark: read these by Spark too.
    """
    return open_rows(location, _build_session, by_spark)


def _build_session() -> SparkSession:
    from interest_tiers.spark.session import build_session

    return build_session("interest-tiers")
