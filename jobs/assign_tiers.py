"""assign_tiers: core, secondary and marginal interests by the rule, with calibrated probabilities."""

import sys
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.jobs.build_interests import evidence_days, pairs_as_of
from interest_tiers.jobs.job import StageContext, StageResult, stage_main
from interest_tiers.tables import USER_INTERESTS, USER_TIERS
from interest_tiers.tiers.calibration import Calibration, calibrate
from interest_tiers.tiers.labels import labelled
from interest_tiers.tiers.rule import with_tier


def run(context: StageContext) -> StageResult:
    """Split every user's interests by mass, and say how often such a tier came true a horizon earlier."""
    as_of = context.as_of
    pairs = context.read(USER_INTERESTS, as_of)
    calibration = calibration_as_of(context, evidence_days(context), as_of)
    rows_in = pairs.count()
    rows_out = context.warehouse.replace_day(USER_TIERS, tiers_by_rule(context, pairs, calibration, as_of), as_of)
    return StageResult(rows_in, rows_out, _describe(calibration, calibration_cut(context, as_of)))


def calibration_cut(context: StageContext, as_of: date) -> date:
    """The latest day whose horizon is complete by as_of."""
    return as_of - timedelta(days=context.config.tiers.horizon_days)


def calibration_as_of(context: StageContext, days: DataFrame, as_of: date) -> Calibration:
    """Outcomes of the rule at the latest cut whose labels are complete by as_of. days: before as_of."""
    cut = F.lit(calibration_cut(context, as_of))
    before, after = days.where(F.col("event_date") < cut), days.where((F.col("event_date") >= cut) & (F.col("event_date") < F.lit(as_of)))
    pairs = ruled(context, pairs_as_of(context, before, calibration_cut(context, as_of)))
    return calibrate(labelled(pairs, after, context.config.tiers))


def ruled(context: StageContext, pairs: DataFrame) -> DataFrame:
    """Add rule_tier: the tier by mass of the evidence so far."""
    return with_tier(pairs, context.config.tiers, "evidence", "rule_tier")


def tiers_by_rule(context: StageContext, pairs: DataFrame, calibration: Calibration, as_of: date) -> DataFrame:
    """The rows of user_tiers but as_of."""
    version = f"rule-{context.config.tiers.core_mass}-{context.config.tiers.secondary_mass}-calibrated-{calibration_cut(context, as_of)}"
    return ruled(context, pairs).select(
        "user_id",
        "interest_id",
        F.col("rule_tier").alias("tier"),
        *calibration.columns(F.col("rule_tier")),
        F.lit("rule").alias("method"),
        F.lit(version).alias("model_version"),
    )


def _describe(calibration: Calibration, cut: date) -> str:
    if calibration.n_pairs == 0:
        return f"no outcome is complete yet (nothing before {cut}): every probability is 1/3"
    kept = ", ".join(f"{tier} {calibration.probabilities[tier][tier]:.0%}" for tier in calibration.probabilities)
    return f"rule by mass; of {calibration.n_pairs:,} pairs at {cut} these kept their tier: {kept}"


main = stage_main("assign_tiers", run)

if __name__ == "__main__":
    sys.exit(main())
