"""How right tiers and their probabilities are about what users did next."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.evaluation.intervals import Estimate, bucket, estimate, ratio
from interest_tiers.tiers.calibration import Calibration
from interest_tiers.tiers.rule import TIERS, one_hot

PROBABILITIES = [f"p_{tier}" for tier in TIERS]


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
        _model("rule", rule_tier, one_hot(rule_tier)),
        _model("rule_calibrated", rule_tier, calibrated),
        _model("rule_calibrated_argmax", _likeliest(calibrated), calibrated),
        _model("class_prior", _likeliest(prior), prior),
    ]
    return labelled.select("user_id", "label", F.explode(F.array(*models)).alias("said")).select("user_id", "label", "said.*")


def tier_quality(predicted: DataFrame, samples: int) -> dict[str, dict[str, Estimate]]:
    """J, macro_f1 and the recall of every tier, per model.

    predicted: model, user_id, label, tier, p_core, p_secondary, p_marginal.
    J = mean over users of the mean over the user's interests of sum over tiers of (y - p)^2, y one-hot (Brier 1950).
    """
    squares = [(y - F.col(p)) ** 2 for y, p in zip(one_hot(F.col("label")), PROBABILITIES, strict=True)]
    error = sum(squares[1:], start=squares[0])
    per_user = predicted.groupBy("model", "user_id").agg(F.avg(error).alias("error"))
    errors = per_user.groupBy("model", bucket().alias("bucket")).agg(F.sum("error").alias("total"), F.count(F.lit(1)).alias("users"))
    outcomes = predicted.groupBy("model", bucket().alias("bucket"), "label", "tier").count()
    # Bounded: models times buckets, and that times nine.
    errors_by_model = dict(list(errors.orderBy("model", "bucket").toPandas().groupby("model")))
    outcomes_by_model = dict(list(outcomes.orderBy("model", "bucket", "label", "tier").toPandas().groupby("model")))
    return {
        str(model): {
            "J": estimate([of_model["total"].to_numpy(), of_model["users"].to_numpy()], ratio, samples),
            **_classification(_confusions(outcomes_by_model[model]), samples),
        }
        for model, of_model in errors_by_model.items()
    }


def macro_f1(*cells: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean over tiers of 2 * precision * recall / (precision + recall), 0 for a tier that neither occurs nor is said.

    cells: the nine counts label by tier, row by row, each an array of groups that is summed over axis.
    """
    confusion = np.stack([cell.sum(axis=axis) for cell in cells]).reshape(len(TIERS), len(TIERS), *cells[0].sum(axis=axis).shape)
    hits = np.stack([confusion[i, i] for i in range(len(TIERS))])
    seen = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.divide(2 * hits, seen, out=np.zeros_like(hits, dtype=float), where=seen > 0).mean(axis=0)


def _classification(confusions: np.ndarray, samples: int) -> dict[str, Estimate]:
    """confusions: (groups, label, tier)."""
    cells = [confusions[:, i, j] for i in range(len(TIERS)) for j in range(len(TIERS))]
    recalls = {f"recall_{tier}": _recall(confusions, i, samples) for i, tier in enumerate(TIERS) if confusions[:, i].sum() > 0}
    return {"macro_f1": estimate(cells, macro_f1, samples), **recalls}


def _recall(confusions: np.ndarray, label: int, samples: int) -> Estimate:
    """Over the groups where the label occurs: a draw of others alone has no recall."""
    seen = confusions[confusions[:, label].sum(axis=1) > 0]
    return estimate([seen[:, label, label], seen[:, label].sum(axis=1)], ratio, samples)


def _confusions(outcomes: pd.DataFrame) -> np.ndarray:
    groups = {bucket_: place for place, bucket_ in enumerate(sorted(outcomes["bucket"].unique()))}
    counts = np.zeros((len(groups), len(TIERS), len(TIERS)))
    places = [outcomes["bucket"].map(groups), *(outcomes[c].map(TIERS.index) for c in ("label", "tier"))]
    counts[tuple(places)] = outcomes["count"]
    return counts


def _model(name: str, tier: Column, probabilities: list[Column]) -> Column:
    named: Mapping[str, Column] = dict(zip(PROBABILITIES, probabilities, strict=True))
    return F.struct(F.lit(name).alias("model"), tier.alias("tier"), *[column.alias(p) for p, column in named.items()])


def _likeliest(probabilities: list[Column]) -> Column:
    """The tier with the largest probability, the higher tier on a tie."""
    options = F.array(*[F.struct(p.alias("p"), F.lit(-place).alias("place")) for place, p in enumerate(probabilities)])
    names = F.array(*[F.lit(tier) for tier in TIERS])
    return F.element_at(names, 1 - F.array_max(options)["place"])
