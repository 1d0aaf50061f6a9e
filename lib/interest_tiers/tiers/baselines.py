"""Predicts pairs with the baselines: the calibrated rule, the rule with probability 1, and the class prior."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.interests.hierarchy import USER_LEVEL
from interest_tiers.tiers.calibration import Calibration


def predictions(labelled: DataFrame, calibration: Calibration, name: str = "rule") -> DataFrame:
    """Predict the same pairs with a rule, its calibrated forms, and the class prior.

    labelled:    (user_id, level, NAME_tier, label)
    calibration: of an earlier cutoff
    name:        of the rule
    Returns:     (user_id, level, label, model, tier, p_core, p_secondary, p_marginal), one row per pair and model

    The models are:
    NAME                   the rule's tier, with probability 1
    NAME_calibrated        the rule's tier, with calibrated probabilities
    NAME_calibrated_argmax the likeliest tier by the calibrated probabilities
    class_prior            the likeliest tier by the shares of the earlier cutoff, the same for all pairs; only where name is rule
    """
    rule_tier = F.col(f"{name}_tier")
    calibrated = calibration.columns(rule_tier)
    prior = calibration.prior_columns()
    models = [
        _model(name, rule_tier, _one_hot(rule_tier)),
        _model(f"{name}_calibrated", rule_tier, calibrated),
        _model(f"{name}_calibrated_argmax", _likeliest(calibrated), calibrated),
        *([_model("class_prior", _likeliest(prior), prior)] if name == "rule" else []),
    ]
    keys = [*USER_LEVEL, "label"]
    return labelled.select(*keys, F.explode(F.array(*models)).alias("said")).select(*keys, "said.*")


def _model(name: str, tier: Column, probabilities: list[Column]) -> Column:
    named = [column.alias(f"p_{tier_name}") for tier_name, column in zip(TIERS, probabilities, strict=True)]
    return F.struct(F.lit(name).alias("model"), tier.alias("tier"), *named)


def _likeliest(probabilities: list[Column]) -> Column:
    """Select the tier with the largest probability, the higher tier on a tie."""
    options = F.array(*[F.struct(p.alias("p"), F.lit(-place).alias("place")) for place, p in enumerate(probabilities)])
    names = F.array(*[F.lit(tier) for tier in TIERS])
    return F.element_at(names, 1 - F.array_max(options)["place"])


def _one_hot(tier: Column) -> list[Column]:
    return [(tier == name).cast("double") for name in TIERS]
