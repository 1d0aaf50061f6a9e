"""Evidence: how much a user's days speak for an interest.

Over the days on which the user touched it, the sum of the day's largest behaviour weight, halved every
half_life_days. Days and not rows: one bulk order or one burst of a bot is one day.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

#: Evidence is summed in whole billionths, since sums of doubles depend on the order in which rows arrive,
#: and with it the ranks of interests that tie. Weights are at most 1000, so 10^7 days of one user fit.
EVIDENCE_PARTS = 10**9

#: Values (prices, amounts) are summed in millionths.
VALUE_PARTS = 10**6


def exact_sum(column: Column, parts: int = EVIDENCE_PARTS) -> Column:
    """The sum of a double column, the same for any partitioning: each value is rounded to a part of 1."""
    return F.sum(F.round(column * F.lit(parts)).cast("bigint")) / F.lit(parts)


def behaviour_weight(weights: Mapping[str, float]) -> Column:
    """The weight of the column behaviour; null for one that has none."""
    pairs = [part for behaviour, weight in weights.items() for part in (F.lit(behaviour), F.lit(float(weight)))]
    return F.create_map(*pairs)[F.col("behaviour")]


def decay(as_of: date, half_life_days: float) -> Column:
    """2^(-age / half_life), age in days from event_date to as_of."""
    age = F.datediff(F.lit(as_of), F.col("event_date"))
    return F.pow(F.lit(2.0), -age / F.lit(float(half_life_days)))


def item_days(interactions: DataFrame, items: DataFrame, weights: Mapping[str, float]) -> DataFrame:
    """What a user did with an item on a day, and the interest that it speaks for.

    interactions: user_id, item_id, behaviour, event_date, value. items: item_id, category. Interactions with
    an item without category speak for no interest and are left out, and so are behaviours without a weight.
    Returns user_id, interest_id, item_id, event_date, weight (the day's largest), n_interactions, value (sum, 0 for none).
    """
    interest = items.where(F.col("category").isNotNull()).select("item_id", category_interest(F.col("category")).alias("interest_id"))
    events = interactions.select("user_id", "item_id", "event_date", "value", behaviour_weight(weights).alias("weight"))
    return (
        events.where(F.col("weight").isNotNull())
        .join(interest, "item_id")
        .groupBy("user_id", "interest_id", "item_id", "event_date")
        .agg(
            F.max("weight").alias("weight"),
            F.count(F.lit(1)).alias("n_interactions"),
            exact_sum(F.coalesce("value", F.lit(0.0)), parts=VALUE_PARTS).alias("value"),
        )
    )


def interest_days(days_of_items: DataFrame) -> DataFrame:
    """The same per interest: user_id, interest_id, event_date, weight, n_interactions, value."""
    return days_of_items.groupBy("user_id", "interest_id", "event_date").agg(
        F.max("weight").alias("weight"),
        F.sum("n_interactions").alias("n_interactions"),
        exact_sum(F.col("value"), parts=VALUE_PARTS).alias("value"),
    )


def category_interest(category: Column) -> Column:
    """The id of the interest that a category is."""
    return F.concat(F.lit("category:"), category)
