"""The tiers of the rule by other half-lives of evidence than the config's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Tiers
from interest_tiers.interests.evidence import PAIR, decay, summed_evidence
from interest_tiers.tiers.rule import with_tier

#: The range that is looked at, in horizons: with 91 days, from a week to a year.
SHORTEST, LONGEST = 1 / 13, 4.0


def half_lives(number: int, horizon_days: int, given: float) -> list[float]:
    """That of the config, and so many in whole days, evenly spaced in logarithm; in order."""
    spaced = np.geomspace(SHORTEST * horizon_days, LONGEST * horizon_days, number)
    return sorted({given, *(float(max(1, round(days))) for days in spaced)})


def rule_tiers(days: DataFrame, cut: date, config: Tiers, tried: Sequence[float]) -> DataFrame:
    """The tier of the rule by each half-life: user_id, interest_id, level where days have it, tier_0, tier_1, …

    days: see evidence.interest_days; only days before the cut are looked at.
    """
    before = days.where(F.col("event_date") < F.lit(cut))
    sums = [summed_evidence(F.col("weight") * decay(cut, each)).alias(f"evidence_{place}") for place, each in enumerate(tried)]
    keys = [*PAIR, "level"]
    pairs = before.groupBy(*keys).agg(*sums)
    for place in range(len(tried)):
        pairs = with_tier(pairs, config, f"evidence_{place}", f"tier_{place}")
    return pairs.select(*keys, *(f"tier_{place}" for place in range(len(tried))))
