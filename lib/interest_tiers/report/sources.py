"""The tables that the report reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.interests.hierarchy import all_names


@dataclass(frozen=True)
class Sources:
    """The frames of one report.

    Tables with a column as_of hold the rows of one day; interactions hold the rows before it. The other tables are whole.
    metrics, runs and data_quality are None where the warehouse has no such table.
    earlier_tiers are the user_tiers of earlier_day, the last day before this one; None on the first day.
    cluster_models is whole, and all_clusters has the clusters of this day and the days before; both None where none is recorded.
    """

    interactions: DataFrame
    quarantine: DataFrame
    items: DataFrame
    users: DataFrame
    interests: DataFrame
    user_interests: DataFrame
    user_tiers: DataFrame
    user_vectors: DataFrame
    clusters: DataFrame
    user_clusters: DataFrame
    recommendations: DataFrame
    metrics: DataFrame | None
    runs: DataFrame | None
    data_quality: DataFrame | None = None
    earlier_tiers: DataFrame | None = None
    earlier_day: date | None = None
    cluster_models: DataFrame | None = None
    all_clusters: DataFrame | None = None


def add_interest_name(rows: DataFrame, interests: DataFrame) -> DataFrame:
    """Add the column interest: the name, in a hierarchy with those of the levels above, or the id where the catalogue lacks it.

    rows:      (interest_id, ...)
    interests: (interest_id, name), and level where there is a hierarchy
    """
    path = F.when(F.col("level") > 1, F.array_join(all_names(F.col("interest_id")), " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "))
    name = F.coalesce(path, F.col("name")) if "level" in interests.columns else F.col("name")
    names = interests.select("interest_id", name.alias("interest"))
    return rows.join(names, "interest_id", "left").withColumn("interest", F.coalesce("interest", "interest_id"))
