"""Computes labels: the tiers, after a cutoff, of the interests that a user had before it."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import LabelRule, Tiers
from interest_tiers.errors import ConfigError, short_message
from interest_tiers.interests.evidence import summed_evidence
from interest_tiers.interests.hierarchy import USER_LEVEL
from interest_tiers.tiers.rule import with_tier


def labelled(pairs: DataFrame, future_days: DataFrame, config: Tiers, within: Sequence[str] = USER_LEVEL) -> DataFrame:
    """Label pairs by mass, and by the rules of the config, which override it.

    pairs:       (user_id, interest_id, level, ...) as of the cutoff, with the columns of user_interests that rules read
    future_days: days within [cutoff, cutoff + horizon) (see labelled_by_mass)
    within:      as in rule.with_tier
    Returns:     the columns of pairs and label (a tier), rows of the pairs that have a label
    """
    by_mass = labelled_by_mass(pairs, future_days, config, within)
    if not config.label_rules:
        return by_mass
    known = by_mass.withColumn("label", F.coalesce(_tier_by_rules(config.label_rules), F.col("label")))
    added = [rule for rule in config.label_rules if rule.add]
    if not added:
        return known
    silent = pairs.join(by_mass.select(*within).distinct(), [*within], "left_anti").withColumn("label", _tier_by_rules(added))
    return known.unionByName(silent.where("label IS NOT NULL"))


def require_rules(empty_pairs: DataFrame, rules: Sequence[LabelRule]) -> None:
    """Raise ConfigError for a rule that is not valid SQL on the columns of these pairs, or not a condition."""
    for place, rule in enumerate(rules):
        try:
            kind = empty_pairs.select(F.expr(rule.sql)).schema[0].dataType.simpleString()
        except (AnalysisException, ParseException) as error:
            found = short_message(error)
            raise ConfigError(
                f"tiers.label_rules.{place}.sql is {rule.sql!r}: {found}. Known columns: {', '.join(empty_pairs.columns)}"
            ) from error
        if kind != "boolean":
            raise ConfigError(f"tiers.label_rules.{place}.sql is {rule.sql!r}, which is a {kind}; expected a condition")


def _tier_by_rules(rules: Sequence[LabelRule]) -> Column:
    """Select the tier of the first rule that holds; null where none does."""
    return F.coalesce(*[F.when(F.expr(f"({rule.sql})"), F.lit(rule.tier)) for rule in rules])


def labelled_by_mass(pairs: DataFrame, future_days: DataFrame, config: Tiers, within: Sequence[str] = USER_LEVEL) -> DataFrame:
    """Label the pairs of users with evidence in the horizon.

    pairs:       (user_id, interest_id, level, ...) as of the cutoff
    future_days: (user_id, level, interest_id, event_date, weight double, ...), from evidence.interest_days, all within
                 [cutoff, cutoff + horizon)
    within:      as in rule.with_tier
    Returns:     the columns of pairs and label (a tier)

    The label is the tier by mass of the undecayed evidence of the horizon, over the interests that the user had before the cutoff.
    A user without positive evidence for any of them has no label and is left out. All of this is within a level.
    """
    pair = [*within, "interest_id"]
    future = future_days.groupBy(*pair).agg(summed_evidence(F.col("weight")).alias("future_evidence"))
    # Semi-joined first, because evidence of an interest that is new to the user must not give the user labels.
    active = future.where("future_evidence > 0").join(pairs.select(*pair), pair, "left_semi").select(*within).distinct()
    known = pairs.join(active, [*within], "left_semi").join(future, pair, "left")
    known = known.withColumn("future_evidence", F.coalesce("future_evidence", F.lit(0.0)))
    return with_tier(known, config, "future_evidence", "label", within).drop("future_evidence")
