"""Tiers as of a cutoff: features, labels, calibration and tiers from the days before it.

The stages call these functions for today, the training for its past cutoffs, and the back-test for the day that it judges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Config, Tiers
from interest_tiers.interests.catalogue import average_embeddings, select_touched_texts
from interest_tiers.interests.evidence import PAIR
from interest_tiers.interests.features import user_interests
from interest_tiers.interests.hierarchy import USER_LEVEL
from interest_tiers.spark.materialise import Materialise
from interest_tiers.tiers.attributes import Attribute, attribute_names, attributes_of
from interest_tiers.tiers.calibration import Calibration, calibrate
from interest_tiers.tiers.cutoffs import PAIR_AT, USER_AT, at_cutoffs, days_after_cutoffs, days_before_cutoffs
from interest_tiers.tiers.features import FEATURES, RULES, own_features, pair_features, similar_interests
from interest_tiers.tiers.following import parents_raised, with_followed
from interest_tiers.tiers.half_life import apply_rules
from interest_tiers.tiers.labels import labelled
from interest_tiers.tiers.model import predict_pairs, version_of
from interest_tiers.tiers.rule import with_tier
from interest_tiers.tiers.sequences import with_sequence, with_tokens
from interest_tiers.tiers.texts import interest_points


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


def feature_names(attributes: Sequence[Attribute], n_levels: int) -> tuple[str, ...]:
    """Name the features in the order of the network's input; the level is one where the catalogue has several."""
    return (*FEATURES, *attribute_names(attributes), *(["level"] if n_levels > 1 else []))


def compute_features(
    inputs_at: Callable[[date], TierInputs],
    cutoffs: Sequence[date],
    method: TierMethod,
    attributes: Sequence[Attribute],
    materialise: Materialise,
) -> DataFrame:
    """Compute what the network reads of every pair with days before a cutoff, for all cutoffs in one pass.

    inputs_at: the inputs by the interests as known at a cutoff
    Returns:   (cutoff, user_id, interest_id, level, rule_tier, rule_recent_tier, user_visits, features array<float>); also sequence
               or tokens, where the configured network reads them. Not materialised.
    """
    config, groups = method.tiers, _group_by_inputs(inputs_at, cutoffs)
    days = _unite([days_before_cutoffs(inputs.interest_days, dates) for inputs, dates in groups])
    users = groups[0][0].users
    texts = materialise("texts", _unite([embed_inputs(inputs, dates) for inputs, dates in groups]))
    points = materialise("points", interest_points(texts))
    of_users = attributes_of(users, attributes) if attributes and users is not None else None
    own = own_features(days, config, method.half_life_days, of_users)
    for rule in RULES:
        own = raise_parents(own, rule, method, ["user_id", "cutoff"])
    own = materialise("own", own)
    alike = materialise("alike", similar_interests(own))
    features = pair_features(own, alike, points, config, method.n_levels > 1)
    if config.network in ("lstm", "transformer"):
        features = with_sequence(materialise("plain", features), days, alike, config.training)
    if config.network == "bert":
        touched = _unite([days_before_cutoffs(inputs.item_days, dates) for inputs, dates in groups])
        items, tokens = groups[0][0].items, config.training.max_tokens
        features = with_tokens(materialise("plain", features), touched, items, method.encoder(), tokens)
    return features


def _group_by_inputs(inputs_at: Callable[[date], TierInputs], cutoffs: Sequence[date]) -> list[tuple[TierInputs, list[date]]]:
    """Group cutoffs by their inputs: one group where interests are the same at every cutoff."""
    groups: list[tuple[TierInputs, list[date]]] = []
    for cutoff in cutoffs:
        inputs = inputs_at(cutoff)
        group = next((dates for known, dates in groups if known is inputs), None)
        if group is None:
            groups.append((inputs, [cutoff]))
        else:
            group.append(cutoff)
    return groups


def _unite(frames: Sequence[DataFrame]) -> DataFrame:
    return reduce(DataFrame.unionByName, frames)


def embed_inputs(inputs: TierInputs, cutoffs: Sequence[date]) -> DataFrame:
    """Take a topic's centre, or a category's mean over the texts that users touched before each cutoff.

    Returns: (cutoff, interest_id, embedding array<float>)
    """
    if inputs.topics is not None:
        return at_cutoffs(inputs.topics, cutoffs)
    keys = ["interest_id", "level"]
    first = inputs.item_days.groupBy(*keys, "item_id").agg(F.min("event_date").alias("event_date"))
    texts = select_touched_texts(days_before_cutoffs(first, cutoffs), inputs.items, ["cutoff", *keys])
    return average_embeddings(texts, inputs.text_embeddings, ["interest_id", "cutoff"])


def label_pairs(pairs: DataFrame, future_days: DataFrame, method: TierMethod, within: Sequence[str] = USER_LEVEL) -> DataFrame:
    """Add the label of the pairs that have one; see labels.labelled. future_days: days of interests in the horizon."""
    user = [column for column in within if column != "level"]
    return raise_parents(labelled(pairs, future_days, method.tiers, within), "label", method, user)


def label_at(inputs_at: Callable[[date], TierInputs], cutoffs: Sequence[date], method: TierMethod) -> DataFrame:
    """Label the pairs known at cutoffs by the horizons that follow them.

    Returns: (cutoff, user_id, interest_id, level, label), rows of the pairs that have a label (a tier)
    """
    groups, horizon = _group_by_inputs(inputs_at, cutoffs), method.tiers.horizon_days
    after = _unite([days_after_cutoffs(inputs.interest_days, dates, horizon) for inputs, dates in groups])
    if method.tiers.label_rules:
        # The rules read columns of user_interests.
        known = _unite(
            [
                summarise_pairs(inputs.item_days, cutoff, method).withColumn("cutoff", F.lit(cutoff))
                for inputs, dates in groups
                for cutoff in dates
            ]
        )
    else:
        before = _unite([days_before_cutoffs(inputs.interest_days, dates) for inputs, dates in groups])
        known = before.select(*PAIR_AT, "level").distinct()
    return label_pairs(known, after, method, USER_AT).select(*PAIR_AT, "level", "label")


def summarise_pairs(item_days: DataFrame, cutoff: date, method: TierMethod) -> DataFrame:
    """Compute the columns of user_interests at a cutoff from what users did before it; nothing is borrowed."""
    return user_interests(days_before(item_days, cutoff), cutoff, method.half_life_days, method.tiers.horizon_days)


def raise_parents(pairs: DataFrame, column: str, method: TierMethod, user: Sequence[str] = ("user_id",)) -> DataFrame:
    """Raise the tiers of a column to the best of the finer interests, where the config says that parents follow.

    user: see following.with_followed
    """
    return with_followed(pairs, column, method.levels_that_follow, user) if method.levels_that_follow else pairs


def apply_rule(pairs: DataFrame, method: TierMethod) -> DataFrame:
    """Add rule_tier: the tier by mass of the evidence so far. pairs: rows of user_interests."""
    return raise_parents(with_tier(pairs, method.tiers, "evidence", "rule_tier"), "rule_tier", method)


def calibrate_rule(inputs: TierInputs, cutoff: date, method: TierMethod) -> Calibration:
    """Count outcomes of the rule at the latest earlier cutoff whose horizon ends by this one."""
    earlier, horizon = cutoff - method.horizon, method.tiers.horizon_days
    if method.tiers.label_rules:
        # The rules read columns of user_interests.
        pairs = apply_rule(summarise_pairs(inputs.item_days, earlier, method), method)
    else:
        ruled = apply_rules(inputs.interest_days, earlier, method.tiers, [method.half_life_days])
        pairs = raise_parents(ruled.withColumnRenamed("tier_0", "rule_tier"), "rule_tier", method)
    return calibrate(label_pairs(pairs, days_after_cutoffs(inputs.interest_days, [earlier], horizon).drop("cutoff"), method))


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
    features: see compute_features, for this cutoff alone; wanted with a model
    Returns:  the columns of user_tiers but as_of. The rule decides on users with little history, and on those who borrowed.
    """
    tiers = _tiers_by_rule(pairs, calibration, cutoff, method)
    if model is not None and features is not None:
        predicted = materialise("predicted", _predict(pairs, features, model, method))
        tiers = predicted.unionByName(tiers.join(predicted.select(*PAIR), PAIR, "left_anti"))
    return parents_raised(tiers) if method.levels_that_follow else tiers


def mark_low_evidence(tiers: DataFrame, interest_days: DataFrame, cutoff: date, config: Tiers) -> DataFrame:
    """Add low_evidence: the user has events on fewer than min_days days before the cutoff, whatever their interests.

    tiers:         (user_id, ...)
    interest_days: (user_id, event_date, ...), see evidence.interest_days
    """
    days = days_before(interest_days, cutoff).groupBy("user_id").agg(F.countDistinct("event_date").alias("n_days"))
    few = days.where(F.col("n_days") < config.min_days).select("user_id", F.lit(True).alias("low_evidence"))
    return tiers.join(few, "user_id", "left").withColumn("low_evidence", F.coalesce("low_evidence", F.lit(False)))


def _predict(pairs: DataFrame, features: DataFrame, model: Path, method: TierMethod) -> DataFrame:
    """Predict the tiers of the pairs on which the network decides."""
    known = features.where(F.col("user_visits") >= method.tiers.training.min_days).drop("cutoff", *RULES)
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
