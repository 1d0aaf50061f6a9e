"""What the users' source says of users, as features: one for each frequent value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.tiers.features import ATTRIBUTE

#: So many values become features, the most frequent ones.
MAX_ATTRIBUTES = 32

#: A value that fewer users have becomes none: it would say who they are rather than what they are like.
FEWEST_USERS, SMALLEST_SHARE = 20, 0.01


@dataclass(frozen=True)
class Attribute:
    """A value that the attribute key may have."""

    key: str
    value: str


def frequent_attributes(users: DataFrame) -> tuple[Attribute, ...]:
    """The values that become features, most frequent first. users: user_id, attributes map<string,string>."""
    n_users = users.count()
    counts = users.select(F.explode("attributes").alias("key", "value")).where(F.col("value").isNotNull()).groupBy("key", "value").count()
    frequent = counts.where(F.col("count") >= max(FEWEST_USERS, SMALLEST_SHARE * n_users))
    rows = frequent.orderBy(F.desc("count"), "key", "value").limit(MAX_ATTRIBUTES).collect()
    return tuple(Attribute(row["key"], row["value"]) for row in rows)


def attribute_names(attributes: Sequence[Attribute]) -> tuple[str, ...]:
    """The features: attribute_0, …; what they stand for may hold any character."""
    return tuple(f"{ATTRIBUTE}{place}" for place in range(len(attributes)))


def attributes_of(users: DataFrame, attributes: Sequence[Attribute]) -> DataFrame:
    """user_id and a double per attribute: 1 or 0, null where the user's key has no value. users: see frequent_attributes."""
    named = zip(attribute_names(attributes), attributes, strict=True)
    return users.select("user_id", *[_has(attribute).alias(name) for name, attribute in named])


def _has(attribute: Attribute) -> Column:
    return (F.col("attributes")[F.lit(attribute.key)] == F.lit(attribute.value)).cast("double")
