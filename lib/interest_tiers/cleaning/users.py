"""Lists the users: everyone with an interaction, and everyone in the users' source."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.columns import given_column, identifier, kind_of, require_columns
from interest_tiers.cleaning.quarantine import assess_rows, is_good
from interest_tiers.cleaning.shaping import own_columns
from interest_tiers.config import UNREADABLE, UserSource
from interest_tiers.text import format_number, normalise_name

NO_ATTRIBUTES = "map<string,string>"


def assess_users(raw: DataFrame, source: UserSource, path: str) -> DataFrame:
    """Map the rows of the users' source.

    Returns: (user_id, attributes map<string,string>, reasons array<string>, raw, event_date), one row per row.
    attributes has the columns that the config names, by default every other one, without missing values.
    raw is JSON, null for a good row; event_date is null. Raises ConfigError for a column that the source does not have.
    """
    user_id, chosen = source.columns.user_id, source.columns.attributes
    wanted = {f"users.columns.attributes.{name}": ref for name, ref in (chosen or {}).items()}
    require_columns(raw, {"users.columns.user_id": user_id, **wanted}, path)
    if chosen is None:
        chosen = {c: c for c in own_columns(raw) if c not in (user_id, UNREADABLE)}
    pairs = [
        part
        for name, ref in chosen.items()
        for part in (F.lit(name), normalise_name(format_number(given_column(raw, ref), kind_of(raw, ref)), source.missing))
    ]
    attributes = F.map_filter(F.create_map(*pairs), lambda _, value: value.isNotNull()) if pairs else F.create_map().cast(NO_ATTRIBUTES)
    identified = identifier(given_column(raw, user_id), kind_of(raw, user_id), source.missing)
    return assess_rows(raw, source, "user_id", user_id=identified, attributes=attributes)


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
