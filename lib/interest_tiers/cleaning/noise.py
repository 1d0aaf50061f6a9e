"""Finds noise that shows only in comparison with other rows: repeats, robots and shared accounts, outlying values.

Every decision about a day uses only the rows of that day. A late event changes its own day and no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import Bots, Noise, ValueRange

#: Steps per unit of a logarithm. Whole steps make counts exact and bound the number of distinct ones.
STEPS_PER_UNIT = 64

#: Median absolute deviation to standard deviation, for normal values. Source: Leys et al., Detecting
#: outliers, Journal of Experimental Social Psychology 49 (2013).
NORMAL_CONSISTENCY = 1.4826

#: The smallest deviation, in steps. It is 0 where more than half of the values are the same.
SMALLEST_DEVIATION = STEPS_PER_UNIT / 4

#: The range of a behaviour on a day is not judged with fewer values.
FEWEST_VALUES = 30

TOO_MANY_EVENTS = "bot: too many events in a day"
EVERY_SECOND = "bot: events second after second"
VALUE_FAR_OFF = "value: far from the others of its day"


def has_day_rules(noise: Noise, values: Mapping[str, ValueRange]) -> bool:
    """Check whether the config has a rule on the rows of a whole day."""
    return noise.bots is not None or noise.repeat_seconds is not None or bool(_deviating(values))


def settle_days(rows: DataFrame, noise: Noise, values: Mapping[str, ValueRange]) -> DataFrame:
    """Judge the good rows of whole days by comparison with each other.

    rows:    (interaction_id, user_id, item_id, behaviour, occurred_at, event_date, value, given_value, ...)
    Returns: the same columns, reasons array<string> and is_flagged boolean, one row per row

    value and given_value are clipped where the config says so. A row that is no noise has no reasons.
    is_flagged marks a user's day that looks like a robot's.
    """
    settled = rows.withColumns({"reasons": F.array().cast("array<string>"), "is_flagged": F.lit(False)})
    if _deviating(values):
        settled = _with_value_reasons(settled, values)
    if noise.repeat_seconds is not None:
        settled = _with_repeats(settled, noise.repeat_seconds)
    return settled if noise.bots is None else _with_bots(settled, noise.bots)


def measure_spread(points: DataFrame, keys: Sequence[str]) -> DataFrame:
    """Measure the median and the median absolute deviation per key, exactly and in bounded memory.

    points:  (keys, step bigint), with few distinct steps per key
    Returns: (keys, n, median, deviation), one row per key, in steps; of an even number, the lower median.
    """
    histogram = points.groupBy(*keys, "step").agg(F.count(F.lit(1)).alias("n"))
    medians = _weighted_median(histogram, keys).withColumnRenamed("middle", "median")
    distances = histogram.join(medians.select(*keys, "median"), list(keys)).withColumn("step", F.abs(F.col("step") - F.col("median")))
    distances = distances.groupBy(*keys, "step").agg(F.sum("n").alias("n"))
    deviations = _weighted_median(distances, keys).select(*keys, F.col("middle").alias("deviation"))
    return medians.join(deviations, list(keys)).select(*keys, F.col("total").alias("n"), "median", "deviation")


def _weighted_median(histogram: DataFrame, keys: Sequence[str]) -> DataFrame:
    key = Window.partitionBy(*keys)
    upward = key.orderBy("step").rowsBetween(Window.unboundedPreceding, Window.currentRow)
    summed = histogram.withColumns({"below": F.sum("n").over(upward), "total": F.sum("n").over(key)})
    reached = summed.where(F.col("below") * 2 >= F.col("total"))
    return reached.groupBy(*keys).agg(F.min("step").alias("middle"), F.max("total").alias("total"))


def _steps(magnitude: Column) -> Column:
    return F.round(F.log(magnitude) * STEPS_PER_UNIT).cast("bigint")


def _beyond(deviations: Column, direction: Literal[1, -1]) -> Column:
    """Compute the magnitude so many deviations above (1) or below (-1) the median."""
    width = F.greatest(F.col("deviation") * NORMAL_CONSISTENCY, F.lit(SMALLEST_DEVIATION))
    return F.exp((F.col("median") + direction * deviations * width) / STEPS_PER_UNIT)


def _deviating(values: Mapping[str, ValueRange]) -> dict[str, ValueRange]:
    return {behaviour: bounds for behaviour, bounds in values.items() if bounds.deviations is not None}


def _with_value_reasons(rows: DataFrame, values: Mapping[str, ValueRange]) -> DataFrame:
    key = ["event_date", "behaviour"]
    ranges = _deviating(values)
    judged = rows.where(F.col("behaviour").isin(*ranges) & (F.col("value") != 0))
    spread = measure_spread(judged.select(*key, _steps(F.abs("value")).alias("step")), key).where(F.col("n") >= FEWEST_VALUES)
    deviations = F.lit(None).cast("double")
    for behaviour, bounds in ranges.items():
        deviations = F.when(F.col("behaviour") == behaviour, F.lit(bounds.deviations)).otherwise(deviations)
    limits = spread.select(*key, _beyond(deviations, -1).alias("low"), _beyond(deviations, 1).alias("high"))
    # A row per day and behaviour, so small enough to broadcast.
    with_limits = rows.join(F.broadcast(limits), key, "left")
    size, sign = F.abs("value"), F.signum("value")
    is_off = F.coalesce((F.col("value") != 0) & ((size < F.col("low")) | (size > F.col("high"))), F.lit(False))
    clips = F.col("behaviour").isin(*[behaviour for behaviour, bounds in ranges.items() if bounds.action == "clip"])
    clipped = sign * F.least(F.greatest(size, F.col("low")), F.col("high"))
    return with_limits.withColumns(
        {
            "reasons": _added(is_off & ~clips, F.lit(VALUE_FAR_OFF)),
            "given_value": F.when(is_off & clips, F.coalesce("given_value", "value")).otherwise(F.col("given_value")),
            "value": F.when(is_off & clips, clipped).otherwise(F.col("value")),
        }
    ).drop("low", "high")


def _with_repeats(rows: DataFrame, seconds: int) -> DataFrame:
    same = Window.partitionBy("event_date", "user_id", "item_id", "behaviour").orderBy("occurred_at", "interaction_id")
    previous = F.lag("occurred_at").over(same)
    gap = F.unix_micros("occurred_at") - F.unix_micros(previous)
    is_repeat = F.coalesce(gap <= seconds * 1_000_000, F.lit(False))
    return rows.withColumn("reasons", _added(is_repeat, F.lit(repeat_reason(seconds))))


def repeat_reason(seconds: int) -> str:
    """Write the reason of a repeat."""
    return f"repeat: of the same event within {seconds} s"


def _with_bots(rows: DataFrame, bots: Bots) -> DataFrame:
    user_day = ["event_date", "user_id"]
    suspects = _suspects(rows, bots)
    if bots.action == "cap":
        return _capped(rows, suspects)
    joined = rows.join(suspects.withColumn("suspected", F.lit(True)), user_day, "left")
    is_suspect = F.coalesce("suspected", F.lit(False))
    reasons = _added(is_suspect, F.col("bot_reason")) if bots.action == "quarantine" else F.col("reasons")
    return joined.withColumns({"is_flagged": is_suspect, "reasons": reasons}).drop("suspected", "bot_reason", "bound")


def _suspects(rows: DataFrame, bots: Bots) -> DataFrame:
    """Find the days of users that look like a robot's.

    Returns: (event_date, user_id, bot_reason, bound), one row per day of a user; bound in events a day.
    """
    counts = rows.groupBy("event_date", "user_id").agg(F.count(F.lit(1)).alias("n_events"))
    spread = measure_spread(counts.select("event_date", _steps(F.col("n_events")).alias("step")), ["event_date"])
    bound = F.greatest(F.floor(_beyond(F.lit(bots.deviations), 1)), F.lit(bots.min_events)).cast("bigint")
    bounded = counts.join(F.broadcast(spread.select("event_date", bound.alias("bound"))), "event_date")
    steps = _one_second_steps(rows, counts.where(F.col("n_events") > bots.max_one_second_steps))
    judged = bounded.join(steps, ["event_date", "user_id"], "left")
    reason = F.when(F.col("n_events") > F.col("bound"), F.lit(TOO_MANY_EVENTS)).when(
        F.col("n_steps") > bots.max_one_second_steps, F.lit(EVERY_SECOND)
    )
    return (
        judged.withColumn("bot_reason", reason)
        .where(F.col("bot_reason").isNotNull())
        .select("event_date", "user_id", "bot_reason", "bound")
    )


def _one_second_steps(rows: DataFrame, user_days: DataFrame) -> DataFrame:
    """Count the seconds of a user's day that directly follow another one with an event; a basket is one second."""
    seconds = rows.join(user_days.select("event_date", "user_id"), ["event_date", "user_id"], "left_semi")
    seconds = seconds.select("event_date", "user_id", F.unix_seconds("occurred_at").alias("second")).distinct()
    day = Window.partitionBy("event_date", "user_id").orderBy("second")
    stepped = seconds.withColumn("is_step", F.col("second") - F.lag("second").over(day) == 1)
    return stepped.groupBy("event_date", "user_id").agg(F.count_if("is_step").alias("n_steps"))


def _capped(rows: DataFrame, suspects: DataFrame) -> DataFrame:
    """Keep the first events of a suspect day, up to the bound; only those days are sorted."""
    user_day = ["event_date", "user_id"]
    others = rows.join(suspects.select(*user_day), user_day, "left_anti")
    first = Window.partitionBy(*user_day).orderBy("occurred_at", "interaction_id")
    of_suspects = rows.join(suspects, user_day).withColumn("place", F.row_number().over(first))
    capped = of_suspects.withColumns({"reasons": _added(F.col("place") > F.col("bound"), F.col("bot_reason")), "is_flagged": F.lit(True)})
    return others.unionByName(capped.drop("place", "bound", "bot_reason"))


def _added(condition: Column, reason: Column) -> Column:
    return F.when(condition, F.concat(F.col("reasons"), F.array(reason))).otherwise(F.col("reasons"))
