"""How often each tier of the rule turned out core, secondary and marginal: honest probabilities for a rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import TIERS


@dataclass(frozen=True)
class Calibration:
    """probabilities[rule tier][tier]: the chance that an interest the rule calls so turns out so; each row sums to 1."""

    probabilities: Mapping[str, Mapping[str, float]]
    prior: Mapping[str, float]
    n_pairs: int

    def columns(self, rule_tier: Column) -> list[Column]:
        """p_core, p_secondary, p_marginal for a column that holds the rule's tier."""
        table = {
            tier: F.create_map(*[part for rule in TIERS for part in (F.lit(rule), F.lit(self.probabilities[rule][tier]))]) for tier in TIERS
        }
        return [table[tier][rule_tier].alias(f"p_{tier}") for tier in TIERS]


def calibrate(pairs: DataFrame) -> Calibration:
    """Count outcomes at an earlier cut.

    pairs: rule_tier, label. One is added to every count (Laplace), so that nothing is called impossible, and
    so that a warehouse too young for any outcome gives 1/3 each.
    """
    counts = {(rule, label): 0 for rule in TIERS for label in TIERS}
    for row in pairs.groupBy("rule_tier", "label").count().collect():  # at most 9 rows
        counts[row["rule_tier"], row["label"]] = row["count"]
    return Calibration(
        probabilities={rule: _shares({label: counts[rule, label] for label in TIERS}) for rule in TIERS},
        prior=_shares({label: sum(counts[rule, label] for rule in TIERS) for label in TIERS}),
        n_pairs=sum(counts.values()),
    )


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.values()) + len(counts)
    return {tier: (count + 1) / total for tier, count in counts.items()}
