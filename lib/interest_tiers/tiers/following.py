"""Raises the tiers of parents: in a hierarchy, an interest never has a lower tier than the best finer interest within it.

That holds for the rule, for labels and for predictions.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.interests.hierarchy import ancestors
from interest_tiers.tiers.rule import place_of


def with_followed(pairs: DataFrame, name: str, n_levels: int, user: Sequence[str] = ("user_id",)) -> DataFrame:
    """Raise the tiers in a column to the best of the interest and those within it.

    pairs:    (user_id, interest_id, NAME, ...), interest ids from hierarchy.path_interest
    name:     a column of tiers
    n_levels: levels of the hierarchy
    user:     the columns that name a user, and with rows of several cutoffs also the cutoff
    Returns:  the same columns and rows
    """
    way, best = ancestors(F.col("interest_id")), place_of(F.col(name))
    for level in range(1, n_levels):
        # The rows of a user are together already, so the interests within one need no other shuffle.
        within = Window.partitionBy(*user, F.get(way, F.lit(level - 1)))
        best = F.when(F.size(way) == level, F.min(place_of(F.col(name))).over(within)).otherwise(best)
    return pairs.withColumn(name, F.element_at(F.array(*[F.lit(tier) for tier in TIERS]), best + 1))


def parents_raised(tiers: DataFrame) -> DataFrame:
    """Raise the tier of every interest to that of the best interest within it.

    tiers:   (user_id, interest_id, tier, p_core, p_secondary, p_marginal, ...), interest ids from hierarchy.path_interest
    Returns: the same columns and rows

    A raised interest takes all columns of the prediction from the interest that raised it.
    So its probabilities remain a distribution, and the one from which that tier was decided.
    Of several interests with the best tier, the interest itself comes first, then the largest p_core, p_secondary, the first id.
    """
    prediction = [name for name in tiers.columns if name not in ("user_id", "interest_id")]
    own, holder = F.col("interest_id"), F.explode(ancestors(F.col("interest_id"))).alias("holder")
    voices = tiers.select("user_id", own, holder, *prediction)
    is_own = F.col("interest_id") == F.col("holder")
    # A minimum, because interest_id breaks ties and a text cannot be negated.
    order = [place_of(F.col("tier")), ~is_own, -F.col("p_core"), -F.col("p_secondary"), F.col("interest_id")]
    best = F.min(F.struct(*[column.alias(f"order_{place}") for place, column in enumerate(order)], *prediction)).alias("best")
    # A user with borrowed evidence may have an interest without having its parent.
    raised = voices.groupBy("user_id", "holder").agg(best, F.max(is_own).alias("is_there")).where("is_there")
    return raised.select("user_id", F.col("holder").alias("interest_id"), *[F.col(f"best.{name}").alias(name) for name in prediction])
