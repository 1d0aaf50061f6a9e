"""Tiers as of a cutoff: features, labels, calibration and tiers from the days before it.

The stages call these functions for today, the training for its past cutoffs, and the back-test for the day that it judges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Config, Tiers
from interest_tiers.interests.catalogue import average_embeddings, select_touched_texts
from interest_tiers.interests.evidence import PAIR
from interest_tiers.interests.features import user_interests
from interest_tiers.spark.materialise import Materialise
from interest_tiers.tiers.attributes import Attribute, attribute_names, attributes_of
from interest_tiers.tiers.calibration import Calibration, calibrate
from interest_tiers.tiers.features import FEATURES, RULES, in_one_column, own_features, pair_features, similar_interests
from interest_tiers.tiers.following import parents_raised, with_followed
from interest_tiers.tiers.labels import labelled
from interest_tiers.tiers.model import predict_pairs, version_of
from interest_tiers.tiers.rule import with_tier
from interest_tiers.tiers.sequences import with_sequence, with_tokens
from interest_tiers.tiers.texts import interest_points, text_similarities


@dataclass(frozen=True)
class TierMethod:
    """The settings that decide on tiers.

    n_levels: of the catalogue. levels_that_follow: levels among which parents follow their children; 0 for none.
    encoder: folder of the language model; read by the network bert alone.
    """

    tiers: Tiers
    half_life_days: float
    n_levels: int
    levels_that_follow: int
    encoder: Callable[[], str]

    @classmethod
    def of(cls, config: Config, encoder: Callable[[], str]) -> TierMethod:
        """Take the settings from a config."""
        interests = config.interests
        return cls(config.tiers, interests.half_life_days, interests.n_levels, config.levels_that_follow, encoder)

    @property
    def horizon(self) -> timedelta:
        """How far ahead a tier looks."""
        return timedelta(days=self.tiers.horizon_days)


@dataclass(frozen=True)
class TierInputs:
    """The frames that tiers are computed from, by the interests as they were known on one day.

    item_days:       (user_id, level, interest_id, item_id, event_date, weight, n_interactions, value), see evidence.item_days
    interest_days:   (user_id, level, interest_id, event_date, weight, n_interactions, value), see evidence.interest_days
    items:           (item_id, text_hash, text)
    text_embeddings: (text_hash, embedding) of the configured model
    users:           (user_id, attributes map<string,string>); None where no attribute is a feature
    topics:          (interest_id, embedding) where interests are topics; None where they are categories

    Days may go beyond a cutoff: every function here looks only at those before the cutoff that it is given.
    """

    item_days: DataFrame
    interest_days: DataFrame
    items: DataFrame
    text_embeddings: DataFrame
    users: DataFrame | None = None
    topics: DataFrame | None = None


def days_before(days: DataFrame, cutoff: date) -> DataFrame:
    """Keep the days before the cutoff."""
    return days.where(F.col("event_date") < F.lit(cutoff))


def days_within(days: DataFrame, start: date, end: date) -> DataFrame:
    """Keep the days from start to before end."""
    return days.where((F.col("event_date") >= F.lit(start)) & (F.col("event_date") < F.lit(end)))


def feature_names(attributes: Sequence[Attribute], n_levels: int) -> tuple[str, ...]:
    """Name the features in the order of the network's input; the level is one where the catalogue has several."""
    return (*FEATURES, *attribute_names(attributes), *(["level"] if n_levels > 1 else []))


def compute_features(
    inputs: TierInputs, cutoff: date, method: TierMethod, attributes: Sequence[Attribute], materialise: Materialise
) -> DataFrame:
    """Compute what the network reads of every pair with days before the cutoff.

    Returns: (user_id, interest_id, level, rule_tier, rule_recent_tier, user_visits, features array<float>); also sequence
    or tokens, where the configured network reads them. Materialised.
    """
    config, days = method.tiers, inputs.interest_days
    users = attributes_of(inputs.users, attributes) if attributes and inputs.users is not None else None
    own = own_features(days, cutoff, config, method.half_life_days, users)
    for rule in RULES:
        own = raise_parents(own, rule, method)
    own = materialise("own", own)
    alike = materialise("alike", similar_interests(own))
    points = interest_points(materialise("texts", embed_inputs(inputs, cutoff)))
    pairs = pair_features(own, alike, text_similarities(own, points), days, cutoff, config)
    features = in_one_column(pairs, feature_names(attributes, method.n_levels))
    if config.network in ("lstm", "transformer"):
        features = with_sequence(materialise("plain", features), days, alike, cutoff, config.training)
    if config.network == "bert":
        plain, tokens = materialise("plain", features), config.training.max_tokens
        features = with_tokens(plain, inputs.item_days, inputs.items, cutoff, method.encoder(), tokens)
    return materialise("features", features)


def embed_inputs(inputs: TierInputs, cutoff: date) -> DataFrame:
    """Take a topic's centre, or a category's mean over the texts that users touched before the cutoff."""
    if inputs.topics is not None:
        return inputs.topics
    return average_embeddings(select_touched_texts(days_before(inputs.item_days, cutoff), inputs.items), inputs.text_embeddings)


def label_pairs(pairs: DataFrame, future_days: DataFrame, method: TierMethod) -> DataFrame:
    """Add the label of the pairs that have one; see labels.labelled. future_days: those of the horizon after the cutoff."""
    return raise_parents(labelled(pairs, future_days, method.tiers), "label", method)


def label_at(inputs: TierInputs, pairs: DataFrame, cutoff: date, method: TierMethod) -> DataFrame:
    """Label pairs known at a cutoff by the horizon that follows it.

    pairs:   (user_id, interest_id, level, ...)
    Returns: the pairs that have a label, with label (a tier) and cut (the cutoff)
    """
    after = days_within(inputs.interest_days, cutoff, cutoff + method.horizon)
    known = pairs.select(*PAIR, "level")
    if method.tiers.label_rules:
        known = summarise_pairs(inputs.item_days, cutoff, method)
    labels = label_pairs(known, after, method).select(*PAIR, "label")
    return pairs.join(labels, PAIR).withColumn("cut", F.lit(cutoff))


def summarise_pairs(item_days: DataFrame, cutoff: date, method: TierMethod) -> DataFrame:
    """Compute the columns of user_interests at a cutoff from what users did before it; nothing is borrowed."""
    return user_interests(days_before(item_days, cutoff), cutoff, method.half_life_days, method.tiers.horizon_days)


def raise_parents(pairs: DataFrame, column: str, method: TierMethod) -> DataFrame:
    """Raise the tiers of a column to the best of the finer interests, where the config says that parents follow."""
    return with_followed(pairs, column, method.levels_that_follow) if method.levels_that_follow else pairs


def apply_rule(pairs: DataFrame, method: TierMethod) -> DataFrame:
    """Add rule_tier: the tier by mass of the evidence so far. pairs: rows of user_interests."""
    return raise_parents(with_tier(pairs, method.tiers, "evidence", "rule_tier"), "rule_tier", method)


def calibrate_rule(item_days: DataFrame, cutoff: date, method: TierMethod) -> Calibration:
    """Count outcomes of the rule at the latest earlier cutoff whose horizon ends by this one. item_days: of every level."""
    earlier = cutoff - method.horizon
    pairs = apply_rule(summarise_pairs(item_days, earlier, method), method)
    return calibrate(label_pairs(pairs, days_within(item_days, earlier, cutoff), method))


def assign_tiers(
    pairs: DataFrame,
    features: DataFrame | None,
    calibration: Calibration,
    model: Path | None,
    cutoff: date,
    method: TierMethod,
    materialise: Materialise,
) -> DataFrame:
    """Assign a tier to every pair: by the model where it decides, else by the rule with calibrated probabilities.

    pairs:    rows of user_interests at the cutoff
    features: see compute_features, for the same cutoff; wanted with a model
    Returns:  the columns of user_tiers but as_of. The rule decides on users with little history, and on those who borrowed.
    """
    tiers = _tiers_by_rule(pairs, calibration, cutoff, method)
    if model is not None and features is not None:
        predicted = materialise("predicted", _predict(pairs, features, model, method))
        tiers = predicted.unionByName(tiers.join(predicted.select(*PAIR), PAIR, "left_anti"))
    return parents_raised(tiers) if method.levels_that_follow else tiers


def _predict(pairs: DataFrame, features: DataFrame, model: Path, method: TierMethod) -> DataFrame:
    """Predict the tiers of the pairs on which the network decides."""
    known = features.where(F.col("user_visits") >= method.tiers.training.min_days).drop(*RULES)
    known = known.join(pairs.where("borrowed > 0").select("user_id").distinct(), "user_id", "left_anti")
    return predict_pairs(known, str(model)).withColumns({"method": F.lit("model"), "model_version": F.lit(version_of(model))})


def _tiers_by_rule(pairs: DataFrame, calibration: Calibration, cutoff: date, method: TierMethod) -> DataFrame:
    config = method.tiers
    version = f"rule-{config.core_mass}-{config.secondary_mass}-calibrated-{cutoff - method.horizon}"
    return apply_rule(pairs, method).select(
        *PAIR,
        F.col("rule_tier").alias("tier"),
        *calibration.columns(F.col("rule_tier")),
        F.lit("rule").alias("method"),
        F.lit(version).alias("model_version"),
    )
