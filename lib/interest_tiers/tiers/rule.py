"""Tiers by mass: core is the smallest set of interests that holds core_mass of the evidence."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import TIERS, Tiers
from interest_tiers.interests.hierarchy import USER_LEVEL


def with_tier(pairs: DataFrame, config: Tiers, evidence: str, name: str, within: Sequence[str] = USER_LEVEL) -> DataFrame:
    """Add a column with the tier that each interest has among the interests of its user and level.

    pairs: user_id, interest_id and the column named evidence (>= 0). The user's interests are taken by
    evidence, largest first, ties by interest_id; core until core_mass of the total is reached, secondary until
    secondary_mass is, marginal the rest. An interest without evidence is marginal.
    within: the columns that name a user and a level, and with rows of several cutoffs also the cutoff
    """
    user = Window.partitionBy(*within)
    in_order = user.orderBy(F.desc(evidence), "interest_id")
    # Totals in the same order as the running sums, so that both round alike and a boundary is met exactly.
    total = F.sum(evidence).over(in_order.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing))
    before = F.coalesce(F.sum(evidence).over(in_order.rowsBetween(Window.unboundedPreceding, -1)), F.lit(0.0))
    return pairs.withColumn(name, _tier(F.col(evidence), before, total, config))


def place_of(tier: Column) -> Column:
    """The place of a tier in TIERS, 0 for the best."""
    return F.coalesce(*[F.when(tier == name, F.lit(place)) for place, name in enumerate(TIERS)])


def _tier(evidence: Column, before: Column, total: Column, config: Tiers) -> Column:
    # A quotient of whole numbers rounds to the same double as the mass it equals; a product may not (0.07 * 100).
    reached = before / total
    return (
        F.when(evidence <= 0, F.lit("marginal"))
        .when(reached < config.core_mass, F.lit("core"))
        .when(reached < config.secondary_mass, F.lit("secondary"))
        .otherwise(F.lit("marginal"))
    )
