"""The tiers of the rule with other half-lives of evidence than the configured one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Tiers
from interest_tiers.interests.evidence import PAIR, decayed_evidence, find_oldest_age
from interest_tiers.tiers.rule import with_tier

#: The range of half-lives, in horizons: with 91 days, from a week to a year.
SHORTEST, LONGEST = 1 / 13, 4.0


def list_half_lives(number: int, horizon_days: int, configured: float) -> list[float]:
    """List the configured half-life and a number of others in whole days, evenly spaced in logarithm, in ascending order."""
    spaced = np.geomspace(SHORTEST * horizon_days, LONGEST * horizon_days, number)
    return sorted({configured, *(float(max(1, round(days))) for days in spaced)})


def apply_rules(interest_days: DataFrame, cutoff: date, config: Tiers, half_lives: Sequence[float]) -> DataFrame:
    """Compute the tier by the rule with each half-life, from the days before the cutoff.

    interest_days: see evidence.interest_days
    Returns:       (user_id, interest_id, level, tier_0, tier_1, ...), in the order of half_lives
    """
    before = interest_days.where(F.col("event_date") < F.lit(cutoff))
    numbered = list(enumerate(half_lives))
    oldest = find_oldest_age(before, cutoff)
    sums = [decayed_evidence(cutoff, half_life, oldest).alias(f"evidence_{number}") for number, half_life in numbered]
    keys = [*PAIR, "level"]
    pairs = before.groupBy(*keys).agg(*sums)
    for number, _ in numbered:
        pairs = with_tier(pairs, config, f"evidence_{number}", f"tier_{number}")
    return pairs.select(*keys, *(f"tier_{number}" for number, _ in numbered))
