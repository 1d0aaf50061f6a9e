"""Parents follow: in a hierarchy, an interest is never of a lower tier than the best of the finer interests within it.

That holds for the rule, for labels and for what a network says.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.interests.hierarchy import ancestors
from interest_tiers.tiers.rule import place_of


def with_followed(pairs: DataFrame, name: str, n_levels: int) -> DataFrame:
    """Raise the tiers in a column to the best of the interest and those within it.

    pairs: user_id, interest_id (of hierarchy.path_interest), and the column name, a tier. n_levels: of the hierarchy.
    """
    way, best = ancestors(F.col("interest_id")), place_of(F.col(name))
    for level in range(1, n_levels):
        # Rows of a user are together already; no other shuffle is needed for what an interest holds.
        within = Window.partitionBy("user_id", F.get(way, F.lit(level - 1)))
        best = F.when(F.size(way) == level, F.min(place_of(F.col(name))).over(within)).otherwise(best)
    return pairs.withColumn(name, F.element_at(F.array(*[F.lit(tier) for tier in TIERS]), best + 1))


def parents_raised(tiers: DataFrame) -> DataFrame:
    """Raise the tier of every interest to that of the best interest within it; the same columns and rows.

    tiers: user_id, interest_id (of hierarchy.path_interest), tier, p_core, p_secondary, p_marginal, and what says who decided.
    Where a tier is raised, everything that was said is taken from the interest that raised it (of several with the best tier the
    one with the largest p_core, then p_secondary, then the first id): so the probabilities stay a distribution, and one from
    which that tier was decided.
    """
    said = [name for name in tiers.columns if name not in ("user_id", "interest_id")]
    own, holder = F.col("interest_id"), F.explode(ancestors(F.col("interest_id"))).alias("holder")
    voices = tiers.select("user_id", own, holder, *said)
    is_own = F.col("interest_id") == F.col("holder")
    # Smallest first, so that texts can decide ties too.
    order = [place_of(F.col("tier")), ~is_own, -F.col("p_core"), -F.col("p_secondary"), F.col("interest_id")]
    best = F.min(F.struct(*[column.alias(f"order_{place}") for place, column in enumerate(order)], *said)).alias("best")
    # Where evidence was borrowed, a user may have an interest and none that holds it.
    raised = voices.groupBy("user_id", "holder").agg(best, F.max(is_own).alias("is_there")).where("is_there")
    return raised.select("user_id", F.col("holder").alias("interest_id"), *[F.col(f"best.{name}").alias(name) for name in said])
