"""Compute evidence: how much a user's days speak for an interest.

Evidence is the sum of the day's weight over the days on which the user touched the interest. It halves every
half_life_days and is never below 0. The day's weight is its largest behaviour weight, less the most negative one (a
return, a dislike). Days count and not rows: a bulk order or a burst of a bot is one day. A day whose weight is 0 or
below still counts in n_days, recency and the other features, since these describe how the user behaves.

Where everything before the cutoff lies on one day, as in data without times, days tell nothing apart. The weights of the
day's items are then summed (see features.user_interests).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame, WindowSpec
from pyspark.sql import functions as F

from interest_tiers.config import BehaviourWeight, ValueScale
from interest_tiers.interests.hierarchy import PREFIX, path_interest

#: Key of evidence.
PAIR = ["user_id", "interest_id"]

#: Evidence is summed in whole billionths, since sums of doubles depend on the order in which rows arrive,
#: and with it the ranks of interests that tie. With weights up to LARGEST_WEIGHT, 10^7 days of one user fit.
EVIDENCE_PARTS = 10**9

#: Largest weight of a behaviour that a config allows.
LARGEST_WEIGHT = 1000

#: Half-lives that are summed in parts of one scale: after these, a weight of 1 still has a million parts.
BAND = 10

#: Days count alike beyond so many half-lives: a billionth of 2^-900 is a number that a double holds.
OLDEST_HALF_LIVES = 900

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
    """Sum weights exactly; 0 where the sum is negative."""
    return F.greatest(F.lit(0.0), exact_sum(weight))


def behaviour_weight(weights: Mapping[str, BehaviourWeight]) -> Column:
    """Weigh the column behaviour, scaled by the column value; null for a behaviour without a weight."""

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
    # A missing value does not lower the weight.
    return F.when(F.col("value").isNull(), full).otherwise(at_low + (full - at_low) * _place(F.col("value"), scale))


def _place(value: Column, scale: ValueScale) -> Column:
    """Scale a value from low (0) to high (1)."""
    low, high = F.lit(float(scale.low)), F.lit(float(scale.high))
    bounded = F.least(F.greatest(value, low), high)
    if scale.scale == "log":
        return (F.log(bounded) - F.log(low)) / (F.log(high) - F.log(low))
    return (bounded - low) / (high - low)


def day_weight(weight: Column) -> Column:
    """Weigh a day by its parts: the largest weight above 0, less the most negative one."""
    return F.greatest(F.lit(0.0), F.max(weight)) - F.greatest(F.lit(0.0), -F.min(weight))


def find_ages(days: DataFrame, cutoff: date) -> tuple[int, int]:
    """Find the ages in days of the oldest and the newest day before the cutoff; 0 where there is none. One Spark job.

    days: (event_date, ...)
    """
    found = days.agg(F.min("event_date").alias("oldest"), F.max("event_date").alias("newest")).first()
    if found is None or found["oldest"] is None:
        return 0, 0
    return max(0, (cutoff - found["oldest"]).days), max(0, (cutoff - found["newest"]).days)


def find_oldest_age(days: DataFrame, cutoff: date) -> int:
    """Find the age in days of the oldest day before the cutoff; see find_ages."""
    return find_ages(days, cutoff)[0]


def count_bands(oldest_age: int, half_life_days: float) -> int:
    """Count the bands of BAND half-lives that hold all days up to an age; see sum_bands."""
    return max(1, math.ceil(min(oldest_age / half_life_days, OLDEST_HALF_LIVES) / BAND))


def band_and_decay(age: Column, half_life_days: float, n_bands: int) -> tuple[Column, Column]:
    """Compute the band of a day and its decay within the band, 2^(BAND * band - age / half_life). age: in days."""
    if n_bands == 1:
        return F.lit(0), F.pow(F.lit(2.0), -age / F.lit(float(half_life_days)))
    half_lives = F.least(age / F.lit(float(half_life_days)), F.lit(float(OLDEST_HALF_LIVES)))
    band = F.least(F.floor(half_lives / F.lit(float(BAND))), F.lit(n_bands - 1)).cast("int")
    return band, F.pow(F.lit(2.0), band * F.lit(float(BAND)) - half_lives)


def sum_bands(weight: Column, band: Column, decay: Column, n_bands: int) -> Column:
    """Sum decayed weights exactly; 0 where the sum is negative.

    Each band is summed in parts of its own scale. So the evidence of days long ago does not round to nothing, and shares and
    ranks follow a user's own days however long ago they are. With one band this is summed_evidence.
    """
    if n_bands == 1:
        return summed_evidence(weight * decay)
    sums = [exact_sum(F.when(band == number, weight * decay).otherwise(0.0)) for number in range(n_bands)]
    # From the oldest band on, so that the order of the rows has no part in it.
    return F.greatest(F.lit(0.0), reduce(lambda older, newer: newer + older * F.lit(2.0**-BAND), reversed(sums)))


def decayed_evidence(cutoff: date, half_life_days: float, oldest_age: int) -> Column:
    """Sum the column weight, halved every half_life_days from event_date to the cutoff; see sum_bands.

    oldest_age: see find_oldest_age
    """
    n_bands = count_bands(oldest_age, half_life_days)
    band, decay = band_and_decay(F.datediff(F.lit(cutoff), F.col("event_date")), half_life_days, n_bands)
    return sum_bands(F.col("weight"), band, decay, n_bands)


def item_days(interactions: DataFrame, item_interests: DataFrame, weights: Mapping[str, BehaviourWeight], level: int = 1) -> DataFrame:
    """Sum up what a user did with an item on a day, with the interest of the item.

    Leaves out interactions with items without an interest, and behaviours without a weight.

    interactions:   (user_id, item_id, behaviour, event_date, value double, ...)
    item_interests: (item_id, interest_id), of one level
    Returns:        (user_id, interest_id, item_id, event_date, weight double, n_interactions bigint, value double, level bigint),
                    one row per user, item and day; weight as of day_weight, value 0 where there is none
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
    """Sum up the days of items per interest.

    days_of_items: see item_days
    Returns:       (user_id, level, interest_id, event_date, weight, n_interactions, value), one row per user, interest and day
    """
    return days_of_items.groupBy("user_id", "level", "interest_id", "event_date").agg(*summed_days())


def summed_days(every_item: bool = False) -> list[Column]:
    """Aggregate days of items: weight, n_interactions, value. every_item: sum the weights of a day's items."""
    return [
        (exact_sum(F.col("weight")) if every_item else day_weight(F.col("weight"))).alias("weight"),
        F.sum("n_interactions").alias("n_interactions"),
        exact_sum_of_values(F.col("value")).alias("value"),
    ]


def category_interest(category: Column) -> Column:
    """Build the id of a category's interest."""
    return F.concat(F.lit(PREFIX), category)


def interests_by_category(items: DataFrame) -> DataFrame:
    """Select the category of every item that has one.

    items:   (item_id, category, ...)
    Returns: (item_id, interest_id)
    """
    return items.where(F.col("category").isNotNull()).select("item_id", category_interest(F.col("category")).alias("interest_id"))


def interests_by_levels(items: DataFrame) -> DataFrame:
    """Select the finest interest of every item with levels; hierarchy.at_every_level adds the coarser ones.

    items:   (item_id, levels array<string>, ...)
    Returns: (item_id, interest_id)
    """
    return items.where(F.col("levels").isNotNull()).select("item_id", path_interest(F.col("levels")).alias("interest_id"))
