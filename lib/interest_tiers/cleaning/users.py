"""Lists the users: everyone with an interaction, and everyone in the users' source."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.columns import given_column, identifier, kind_of, require_columns, source_column
from interest_tiers.cleaning.quarantine import assess_rows, is_good
from interest_tiers.config import UNREADABLE, UserSource

NO_ATTRIBUTES = "map<string,string>"


def assess_users(raw: DataFrame, source: UserSource, path: str) -> DataFrame:
    """Map the rows of the users' source.

    Returns: (user_id, attributes map<string,string>, reasons array<string>, raw, event_date), one row per row.
    attributes has every other column that is not null. raw is JSON, null for a good row; event_date is null.
    Raises ConfigError when the id column is missing.
    """
    user_id = source.columns.user_id
    require_columns(raw, {"users.columns.user_id": user_id}, path)
    names = [c for c in raw.columns if c not in (user_id, UNREADABLE)]
    pairs = [part for c in names for part in (F.lit(c), source_column(c).cast("string"))]
    attributes = F.map_filter(F.create_map(*pairs), lambda _, value: value.isNotNull()) if pairs else F.create_map().cast(NO_ATTRIBUTES)
    return assess_rows(raw, "user_id", user_id=identifier(given_column(raw, user_id), kind_of(raw, user_id)), attributes=attributes)


def list_users(interactions: DataFrame, assessed: DataFrame | None) -> DataFrame:
    """List every user once.

    interactions: (user_id, …). assessed: see assess_users; None without a users' source.
    Returns: (user_id, attributes), one row per user; empty where nothing is known, of several rows the first by alphabet.
    """
    active = interactions.select("user_id").distinct()
    none = F.create_map().cast(NO_ATTRIBUTES)
    if assessed is None:
        return active.withColumn("attributes", none)
    usable = assessed.where(is_good())
    described = usable.groupBy("user_id").agg(F.min_by("attributes", F.to_json("attributes")).alias("attributes"))
    return active.join(described, "user_id", "full").select("user_id", F.coalesce("attributes", none).alias("attributes"))
