"""What the calibrated rule says of pairs, beside the rule as a certainty and the class prior."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.interests.hierarchy import USER_LEVEL
from interest_tiers.tiers.calibration import Calibration


def predictions(labelled: DataFrame, calibration: Calibration, name: str = "rule") -> DataFrame:
    """What a calibrated rule and its baselines say of the same pairs.

    labelled: user_id, NAME_tier, label; level, where there is a hierarchy. calibration: of an earlier cut. name: of the rule.
    Returns model, user_id, label, tier, p_core, p_secondary, p_marginal; level, where there is one. Models: NAME (its tier as a certainty),
    NAME_calibrated (its tier, probabilities as calibrated), NAME_calibrated_argmax (the likeliest tier), and beside the first rule
    class_prior (the shares of the earlier cut for everyone).
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
    """The tier with the largest probability, the higher tier on a tie."""
    options = F.array(*[F.struct(p.alias("p"), F.lit(-place).alias("place")) for place, p in enumerate(probabilities)])
    names = F.array(*[F.lit(tier) for tier in TIERS])
    return F.element_at(names, 1 - F.array_max(options)["place"])


def _one_hot(tier: Column) -> list[Column]:
    return [(tier == name).cast("double") for name in TIERS]
