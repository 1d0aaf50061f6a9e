"""Which half-life of evidence makes the calibrated rule right most often, with the label as the config has it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Tiers
from interest_tiers.evaluation.tier_quality import squared_error
from interest_tiers.evidence import decay, summed_evidence
from interest_tiers.tiers.calibration import calibrate
from interest_tiers.tiers.examples import is_held_out, with_weight
from interest_tiers.tiers.features import PAIR
from interest_tiers.tiers.rule import with_tier

#: The range that is looked at, in horizons: with 91 days, from a week to a year.
SHORTEST, LONGEST = 1 / 13, 4.0


def half_lives(number: int, horizon_days: int, given: float) -> list[float]:
    """That of the config, and so many in whole days, evenly spaced in logarithm; in order."""
    spaced = np.geomspace(SHORTEST * horizon_days, LONGEST * horizon_days, number)
    return sorted({given, *(float(max(1, round(days))) for days in spaced)})


def rule_tiers(days: DataFrame, cut: date, config: Tiers, tried: Sequence[float]) -> DataFrame:
    """The tier of the rule by each half-life: user_id, interest_id, tier_0, tier_1, …

    days: see evidence.interest_days; only days before the cut are looked at.
    """
    before = days.where(F.col("event_date") < F.lit(cut))
    sums = [summed_evidence(F.col("weight") * decay(cut, each)).alias(f"evidence_{place}") for place, each in enumerate(tried)]
    pairs = before.groupBy(*PAIR).agg(*sums)
    for place in range(len(tried)):
        pairs = with_tier(pairs, config, f"evidence_{place}", f"tier_{place}")
    return pairs.select(*PAIR, *(f"tier_{place}" for place in range(len(tried))))


def calibrated_j(examples: DataFrame, n_tried: int) -> list[float]:
    """J of held-out users by each half-life, the rule calibrated on the others; empty where no user is held out.

    examples: user_id, cut, label, and the tiers of rule_tiers; stored, since they are read often.
    """
    others, held_out = examples.where(~is_held_out(F.col("user_id"))), with_weight(examples.where(is_held_out(F.col("user_id"))))
    errors = []
    for place in range(n_tried):
        calibration = calibrate(others.select(F.col(f"tier_{place}").alias("rule_tier"), "label"))
        error = squared_error(calibration.columns(F.col(f"tier_{place}")))
        errors.append((F.sum(error * F.col("weight")) / F.sum("weight")).alias(f"J_{place}"))
    found = held_out.agg(*errors).first()
    assert found is not None  # an aggregate without keys has one row
    return [] if found[0] is None else [float(j) for j in found]
