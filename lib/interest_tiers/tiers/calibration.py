"""Calibrates the rule: how often each of its tiers was followed by a label of core, secondary or marginal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from interest_tiers.config import TIERS


@dataclass(frozen=True)
class Calibration:
    """Probabilities of the tiers given the rule's tier.

    probabilities: probabilities[rule tier][tier]; each row sums to 1
    prior:         probabilities of the tiers over all pairs
    n_pairs:       labelled pairs that were counted
    of_levels:     the calibration of each level
    """

    probabilities: Mapping[str, Mapping[str, float]]
    prior: Mapping[str, float]
    n_pairs: int
    of_levels: Mapping[int, Calibration] = field(default_factory=dict)

    def columns(self, rule_tier: Column) -> list[Column]:
        """Build p_core, p_secondary and p_marginal from a column with the rule's tier.

        They also depend on the column level, for the levels in of_levels.
        """
        table = {
            tier: F.create_map(*[part for rule in TIERS for part in (F.lit(rule), F.lit(self.probabilities[rule][tier]))]) for tier in TIERS
        }
        return self._of_level([table[tier][rule_tier] for tier in TIERS], lambda level: level.columns(rule_tier))

    def prior_columns(self) -> list[Column]:
        """Build p_core, p_secondary and p_marginal that do not depend on the rule's tier."""
        return self._of_level([F.lit(self.prior[tier]) for tier in TIERS], Calibration.prior_columns)

    def _of_level(self, whole: list[Column], of: Callable[[Calibration], list[Column]]) -> list[Column]:
        for level, calibration in self.of_levels.items():
            is_it = F.col("level") == level
            whole = [F.when(is_it, own).otherwise(others) for own, others in zip(of(calibration), whole, strict=True)]
        return [column.alias(f"p_{tier}") for column, tier in zip(whole, TIERS, strict=True)]


def calibrate(pairs: DataFrame) -> Calibration:
    """Calibrate the rule on the labels of an earlier cutoff.

    pairs: (rule_tier, label, level)

    One is added to every count (Laplace), so that no probability is 0. A warehouse too young for any label gives 1/3 each.
    """
    rows = pairs.groupBy("level", "rule_tier", "label").count().collect()  # at most 9 a level
    levels = sorted({row["level"] for row in rows})
    return replace(_counted(rows), of_levels={level: _counted([row for row in rows if row["level"] == level]) for level in levels})


def _counted(rows: Sequence[Row]) -> Calibration:
    counts = {(rule, label): 0 for rule in TIERS for label in TIERS}
    for row in rows:
        counts[row["rule_tier"], row["label"]] += row["count"]
    return Calibration(
        probabilities={rule: _shares({label: counts[rule, label] for label in TIERS}) for rule in TIERS},
        prior=_shares({label: sum(counts[rule, label] for rule in TIERS) for label in TIERS}),
        n_pairs=sum(counts.values()),
    )


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.values()) + len(counts)
    return {tier: (count + 1) / total for tier, count in counts.items()}
