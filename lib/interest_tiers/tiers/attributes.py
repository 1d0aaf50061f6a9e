"""Features from attributes of users: one for each frequent value of the attributes that the config names.

Attributes are undated, so their values may be newer than a cutoff. tiers.attributes says which ones may be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.errors import ConfigError
from interest_tiers.tiers.features import ATTRIBUTE

#: Largest number of features; the most frequent values count.
MAX_ATTRIBUTES = 32

#: A rarer value is no feature: it would identify users rather than describe them.
FEWEST_USERS, SMALLEST_SHARE = 20, 0.01


@dataclass(frozen=True)
class Attribute:
    """A value that the attribute key may have."""

    key: str
    value: str


def require_attributes(users: DataFrame, names: Sequence[str]) -> None:
    """Raise ConfigError for a name that is an attribute of no user.

    users: (user_id, attributes map<string,string>), all of them
    """
    if not names:
        return
    known = sorted(row["key"] for row in users.select(F.explode(F.map_keys("attributes")).alias("key")).distinct().collect())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"tiers.attributes names {', '.join(unknown)}, which no user has. "
            f"Name columns of the users' source that have values: {', '.join(known) or 'there is none'}"
        )


def frequent_attributes(users: DataFrame, names: Sequence[str]) -> tuple[Attribute, ...]:
    """Find the values that become features, most frequent first.

    users: (user_id, attributes map<string,string>), those known at the cutoff
    names: attributes that may become features; no others do
    """
    if not names:
        return ()
    n_users = users.count()
    values = users.select(F.explode("attributes").alias("key", "value")).where(F.col("key").isin(*names) & F.col("value").isNotNull())
    frequent = values.groupBy("key", "value").count().where(F.col("count") >= max(FEWEST_USERS, SMALLEST_SHARE * n_users))
    rows = frequent.orderBy(F.desc("count"), "key", "value").limit(MAX_ATTRIBUTES).collect()
    return tuple(Attribute(row["key"], row["value"]) for row in rows)


def attribute_names(attributes: Sequence[Attribute]) -> tuple[str, ...]:
    """Name the features attribute_0, attribute_1 and so on, because keys and values may hold any character."""
    return tuple(f"{ATTRIBUTE}{position}" for position in range(len(attributes)))


def attributes_of(users: DataFrame, attributes: Sequence[Attribute]) -> DataFrame:
    """Compute the features of users.

    users:   (user_id, attributes map<string,string>)
    Returns: (user_id, one double per attribute), 1 or 0, null where the user has no value for its key
    """
    named = zip(attribute_names(attributes), attributes, strict=True)
    return users.select("user_id", *[_has(attribute).alias(name) for name, attribute in named])


def _has(attribute: Attribute) -> Column:
    return (F.col("attributes")[F.lit(attribute.key)] == F.lit(attribute.value)).cast("double")
