"""Evidence: how much a user's days speak for an interest.

Over the days on which the user touched it, the sum of the day's weight, halved every half_life_days, and never
below 0. The day's weight is its largest behaviour weight; a behaviour with a negative weight (a return, a dislike)
takes away as much as the most negative one of the day says. Days and not rows: one bulk order or one burst of a
bot is one day. A day whose weight is 0 or below is still a day on which the user touched the interest: it counts in
n_days, recency and the other features, which say how the user behaves and not what speaks for the interest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame, WindowSpec
from pyspark.sql import functions as F

from interest_tiers.config import BehaviourWeight, ValueScale
from interest_tiers.interests.hierarchy import PREFIX, path_interest

#: What evidence is of.
PAIR = ["user_id", "interest_id"]

#: Evidence is summed in whole billionths, since sums of doubles depend on the order in which rows arrive,
#: and with it the ranks of interests that tie. With weights up to LARGEST_WEIGHT, 10^7 days of one user fit.
EVIDENCE_PARTS = 10**9

#: What a config allows for the weight of a behaviour.
LARGEST_WEIGHT = 1000

#: Values (prices, amounts) are summed in millionths. 10 amounts of 10^12 rials are more millionths than a bigint holds.
VALUE_PARTS = 10**6

#: Where exact_sum_of_values splits a number of parts.
SPLIT = float(2**32)


def exact_sum(column: Column, parts: int = EVIDENCE_PARTS, over: WindowSpec | None = None) -> Column:
    """Sum a bounded double column, the same for any partitioning: each value is rounded to a part of 1, halves up.

    The sum of parts must stay below 2^63: with EVIDENCE_PARTS, 10^7 values of LARGEST_WEIGHT fit.
    Values of a source have no bound: use exact_sum_of_values.
    over: a window to sum over; without one, an aggregate.
    """
    # round() of a double goes through a decimal number of Java, which costs more than all the rest of a sum.
    return _total(F.floor(_in_parts(column, parts)), over) / F.lit(float(parts))


def exact_sum_of_values(column: Column, parts: int = VALUE_PARTS, over: WindowSpec | None = None) -> Column:
    """Sum a double column of any size as exact_sum does, without overflow.

    Each rounded value is split into a multiple of 2^32, summed as a double, and a rest, summed as a bigint.
    The sum is the same for any partitioning up to 2^85 parts; beyond, it is rounded as sums of doubles are.
    The rests of 2^32 rows fit.
    """
    number = _in_parts(column, parts)
    # A power of 2: the product, the difference and the sums below are exact.
    high = F.rint(number * F.lit(1.0 / SPLIT))
    rest = F.floor(number - high * F.lit(SPLIT))
    return (_total(high, over) * F.lit(SPLIT) + _total(rest, over)) / F.lit(float(parts))


def _in_parts(column: Column, parts: int) -> Column:
    """Count parts of 1; the floor of it rounds halves up."""
    return column * F.lit(float(parts)) + F.lit(0.5)


def _total(column: Column, over: WindowSpec | None) -> Column:
    return F.sum(column) if over is None else F.sum(column).over(over)


def summed_evidence(weight: Column) -> Column:
    """The exact sum of weights, 0 where more was taken away than given."""
    return positive_part(exact_sum(weight))


def behaviour_weight(weights: Mapping[str, BehaviourWeight]) -> Column:
    """The weight of the column behaviour, scaled by the column value; null for a behaviour that has none."""

    def with_case(cases: Column | None, behaviour: str) -> Column:
        weight, is_it = _scaled(weights[behaviour]), F.col("behaviour") == behaviour
        return F.when(is_it, weight) if cases is None else cases.when(is_it, weight)

    cases = reduce(with_case, weights, None)
    return F.lit(None).cast("double") if cases is None else cases


def _scaled(weight: BehaviourWeight) -> Column:
    full, scale = F.lit(float(weight.weight)), weight.value
    if scale is None:
        return full
    at_low = F.lit(float(scale.weight_at_low))
    # A missing value says nothing against the behaviour.
    return F.when(F.col("value").isNull(), full).otherwise(at_low + (full - at_low) * _place(F.col("value"), scale))


def _place(value: Column, scale: ValueScale) -> Column:
    """Where a value lies from low (0) to high (1)."""
    low, high = F.lit(float(scale.low)), F.lit(float(scale.high))
    bounded = F.least(F.greatest(value, low), high)
    if scale.scale == "log":
        return (F.log(bounded) - F.log(low)) / (F.log(high) - F.log(low))
    return (bounded - low) / (high - low)


def day_weight(weight: Column) -> Column:
    """The weight of a day from the weights of its parts: the largest above 0, less what the most negative takes away."""
    return positive_part(F.max(weight)) - positive_part(-F.min(weight))


def positive_part(number: Column) -> Column:
    """A number above 0; 0 for any other, and for none."""
    # Native engines have no greatest().
    return F.when(number > 0, number).otherwise(F.lit(0.0))


def decay(as_of: date, half_life_days: float) -> Column:
    """2^(-age / half_life), age in days from event_date to as_of."""
    age = F.datediff(F.lit(as_of), F.col("event_date"))
    return F.pow(F.lit(2.0), -age / F.lit(float(half_life_days)))


def item_days(interactions: DataFrame, item_interests: DataFrame, weights: Mapping[str, BehaviourWeight], level: int = 1) -> DataFrame:
    """What a user did with an item on a day, and the interest that it speaks for.

    interactions: user_id, item_id, behaviour, event_date, value. item_interests: item_id, interest_id. Interactions
    with an item of no interest are left out, and so are behaviours without a weight. level: of these interests.
    Returns user_id, interest_id, item_id, event_date, weight (see day_weight), n_interactions, value (sum, 0 for none), level.
    """
    events = interactions.select("user_id", "item_id", "event_date", "value", behaviour_weight(weights).alias("weight"))
    days = (
        events.where(F.col("weight").isNotNull())
        .groupBy("user_id", "item_id", "event_date")
        .agg(
            day_weight(F.col("weight")).alias("weight"),
            F.count(F.lit(1)).alias("n_interactions"),
            exact_sum_of_values(F.coalesce("value", F.lit(0.0))).alias("value"),
        )
    )
    # Interests come last: they would only make the key longer that rows are shuffled and grouped by.
    return days.join(item_interests, "item_id").select(
        "user_id", "interest_id", "item_id", "event_date", "weight", "n_interactions", "value", F.lit(level).cast("bigint").alias("level")
    )


def interest_days(days_of_items: DataFrame) -> DataFrame:
    """The same per interest: user_id, interest_id, event_date, weight, n_interactions, value, level."""
    return days_of_items.groupBy("user_id", "level", "interest_id", "event_date").agg(*summed_days())


def summed_days() -> list[Column]:
    """Days of items put together, as aggregates: weight, n_interactions, value."""
    return [
        day_weight(F.col("weight")).alias("weight"),
        F.sum("n_interactions").alias("n_interactions"),
        exact_sum_of_values(F.col("value")).alias("value"),
    ]


def category_interest(category: Column) -> Column:
    """The id of the interest that a category is."""
    return F.concat(F.lit(PREFIX), category)


def interests_by_category(items: DataFrame) -> DataFrame:
    """The interest that an item speaks for where an interest is a category: item_id, interest_id; items without one are left out.

    items: item_id, category.
    """
    return items.where(F.col("category").isNotNull()).select("item_id", category_interest(F.col("category")).alias("interest_id"))


def interests_by_levels(items: DataFrame) -> DataFrame:
    """The finest interest that an item speaks for in a hierarchy: item_id, interest_id; items without one are left out.

    items: item_id, levels. See hierarchy.at_every_level for the interests above it.
    """
    return items.where(F.col("levels").isNotNull()).select("item_id", path_interest(F.col("levels")).alias("interest_id"))
