"""What the calibrated rule says of pairs, beside the rule as a certainty and the class prior."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.tiers.calibration import Calibration


def predictions(labelled: DataFrame, calibration: Calibration) -> DataFrame:
    """What the calibrated rule and its baselines say of the same pairs.

    labelled: user_id, rule_tier, label. calibration: of an earlier cut.
    Returns model, user_id, label, tier, p_core, p_secondary, p_marginal. Models: rule (its tier as a certainty),
    rule_calibrated (its tier, probabilities as calibrated: what user_tiers holds), rule_calibrated_argmax (the
    likeliest tier), class_prior (the shares of the earlier cut for everyone).
    """
    rule_tier = F.col("rule_tier")
    calibrated = calibration.columns(rule_tier)
    prior = [F.lit(calibration.prior[tier]) for tier in TIERS]
    models = [
        _model("rule", rule_tier, _one_hot(rule_tier)),
        _model("rule_calibrated", rule_tier, calibrated),
        _model("rule_calibrated_argmax", _likeliest(calibrated), calibrated),
        _model("class_prior", _likeliest(prior), prior),
    ]
    return labelled.select("user_id", "label", F.explode(F.array(*models)).alias("said")).select("user_id", "label", "said.*")


def _model(name: str, tier: Column, probabilities: list[Column]) -> Column:
    named = [column.alias(f"p_{tier_name}") for tier_name, column in zip(TIERS, probabilities, strict=True)]
    return F.struct(F.lit(name).alias("model"), tier.alias("tier"), *named)


def _likeliest(probabilities: list[Column]) -> Column:
    """The tier with the largest probability, the higher tier on a tie."""
    options = F.array(*[F.struct(p.alias("p"), F.lit(-place).alias("place")) for place, p in enumerate(probabilities)])
    names = F.array(*[F.lit(tier) for tier in TIERS])
    return F.element_at(names, 1 - F.array_max(options)["place"])


def _one_hot(tier: Column) -> list[Column]:
    return [(tier == name).cast("double") for name in TIERS]
