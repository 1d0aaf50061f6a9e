"""assign_tiers: core, secondary and marginal interests, by the network of train_tiers, or by the rule with calibrated probabilities."""

from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.evaluation.slices import Slice
from interest_tiers.interests.evidence import PAIR
from interest_tiers.stages.build_interests import pairs_as_of, stored_pairs
from interest_tiers.stages.context import Measurement, StageContext, StageResult, run_command, run_stage, stage_parser, write_metrics
from interest_tiers.stages.train_tiers import ModelOfTiers, TrainingOfTiers, evidence_of, features_as_of, followed, labels_of, model_there
from interest_tiers.storage.schemas import USER_TIERS
from interest_tiers.tiers.calibration import Calibration, calibrate
from interest_tiers.tiers.drift import Drift, drift_between
from interest_tiers.tiers.features import RULES
from interest_tiers.tiers.following import parents_raised
from interest_tiers.tiers.labels import require_rules
from interest_tiers.tiers.model import scored, version_of
from interest_tiers.tiers.rule import with_tier

Retrain = Literal["never", "auto"]


def run(context: StageContext, retrain: Retrain = "never") -> StageResult:
    """Say of every user's interests how much they will matter, by the network where there is one, else by the rule."""
    as_of = context.as_of
    pairs = stored_pairs(context)
    require_rules(pairs.limit(0), context.config.tiers.label_rules)
    evidence = evidence_of(context)
    calibration = calibration_as_of(context, evidence.of_items, as_of)
    rows_in = pairs.count()

    def assign(model: ModelOfTiers) -> int:
        features = None if model.folder is None else features_as_of(context, evidence, model.attributes, as_of, "assign_tiers")
        tiers = tiers_as_of(context, pairs, features, calibration, model, as_of, "assign_tiers/said")
        return context.warehouse.replace_day(USER_TIERS, tiers, as_of)

    model = model_there(context, evidence, as_of)
    rows_out = assign(model)
    drift = drift_as_of(context)
    asked = _ask(context, drift, retrain, model)
    if asked and retrain == "auto" and model.folder is not None:
        model = TrainingOfTiers(context, evidence, as_of, "assign_tiers/training").model()
        rows_out = assign(model)
        # What is measured is of the tiers that stay, so that running again measures the same.
        drift = drift_as_of(context)
    write_metrics(context, "assign_tiers", [] if drift is None else _measured(drift))
    return StageResult(rows_in, rows_out, f"{_describe(context, model, calibration)}{asked}")


def drift_as_of(context: StageContext) -> Drift | None:
    """How far the tiers of as_of are from those of the latest earlier day; None where there is none."""
    every = context.read(USER_TIERS)
    found = every.where(F.col("as_of") < F.lit(context.as_of)).agg(F.max("as_of").alias("day")).first()
    if found is None or found["day"] is None:
        return None
    before, after = (every.where(F.col("as_of") == F.lit(day)) for day in (found["day"], context.as_of))
    return drift_between(before, after, found["day"], have_identity=context.config.interests.source != "topic")


def _measured(drift: Drift) -> list[Measurement]:
    measured = [
        Measurement("population_stability_index", str(Slice(since=drift.since, of="tiers")), drift.of_tiers),
        Measurement("population_stability_index", str(Slice(since=drift.since, of="p_core")), drift.of_p_core),
    ]
    if drift.core_changed_share is not None:
        measured.append(Measurement("core_changed_share", str(Slice(since=drift.since)), drift.core_changed_share))
    return measured


def _ask(context: StageContext, drift: Drift | None, retrain: Retrain, model: ModelOfTiers) -> str:
    """What is said of drift that is above its limits; empty where none is."""
    beyond = [] if drift is None else drift.beyond(context.config.tiers.drift)
    if drift is None or not beyond:
        return ""
    found = f"; drift since {drift.since}: {', '.join(beyond)}"
    if model.folder is None:
        return found
    return f"{found}: trained anew" if retrain == "auto" else f"{found}: the model should be trained anew, see --retrain auto"


def tiers_as_of(
    context: StageContext,
    pairs: DataFrame,
    features: DataFrame | None,
    calibration: Calibration,
    model: ModelOfTiers,
    day: date,
    staged: str,
) -> DataFrame:
    """The rows of user_tiers but as_of. Users of little history, and those who borrowed evidence, have the tier of the rule.

    pairs: rows of user_interests. features: of train_tiers.features_as_of for the same day, where there is a model.
    """
    said = tiers_by_rule(context, pairs, calibration, day)
    if model.folder is not None and features is not None:
        by_model = context.warehouse.stage(staged, _by_network(context, pairs, features, model.folder))
        said = by_model.unionByName(said.join(by_model.select(*PAIR), PAIR, "left_anti"))
    return parents_raised(said) if context.config.levels_that_follow else said


def _by_network(context: StageContext, pairs: DataFrame, features: DataFrame, folder: Path) -> DataFrame:
    """What a network says of the pairs that it decides on."""
    known = features.where(F.col("user_visits") >= context.config.tiers.training.min_days).drop(*RULES)
    known = known.join(pairs.where("borrowed > 0").select("user_id").distinct(), "user_id", "left_anti")
    return scored(known, str(folder)).withColumns({"method": F.lit("model"), "model_version": F.lit(version_of(folder))})


def calibration_cut(context: StageContext, as_of: date) -> date:
    """The latest day whose horizon is complete by as_of."""
    return as_of - timedelta(days=context.config.tiers.horizon_days)


def calibration_as_of(context: StageContext, days: DataFrame, as_of: date) -> Calibration:
    """Outcomes of the rule at the latest cut whose labels are complete by as_of. days: before as_of."""
    cut = F.lit(calibration_cut(context, as_of))
    before, after = days.where(F.col("event_date") < cut), days.where((F.col("event_date") >= cut) & (F.col("event_date") < F.lit(as_of)))
    pairs = ruled(context, pairs_as_of(context, before, calibration_cut(context, as_of)))
    return calibrate(labels_of(context, pairs, after))


def ruled(context: StageContext, pairs: DataFrame) -> DataFrame:
    """Add rule_tier: the tier by mass of the evidence so far."""
    return followed(context, with_tier(pairs, context.config.tiers, "evidence", "rule_tier"), "rule_tier")


def tiers_by_rule(context: StageContext, pairs: DataFrame, calibration: Calibration, as_of: date) -> DataFrame:
    """The rows of user_tiers but as_of, by the rule alone."""
    version = f"rule-{context.config.tiers.core_mass}-{context.config.tiers.secondary_mass}-calibrated-{calibration_cut(context, as_of)}"
    return ruled(context, pairs).select(
        *PAIR,
        F.col("rule_tier").alias("tier"),
        *calibration.columns(F.col("rule_tier")),
        F.lit("rule").alias("method"),
        F.lit(version).alias("model_version"),
    )


def _describe(context: StageContext, model: ModelOfTiers, calibration: Calibration) -> str:
    if model.folder is not None:
        return f"network {version_of(model.folder)}"
    cut = calibration_cut(context, context.as_of)
    by_rule = f"rule by mass, {model.reason}"
    if calibration.n_pairs == 0:
        return f"{by_rule}; no outcome is complete yet (nothing before {cut}): every probability is 1/3"
    kept = ", ".join(f"{tier} {calibration.probabilities[tier][tier]:.0%}" for tier in calibration.probabilities)
    return f"{by_rule}; of {calibration.n_pairs:,} pairs at {cut} these kept their tier: {kept}"


def add_retrain_argument(parser: ArgumentParser) -> None:
    """--retrain."""
    parser.add_argument(
        "--retrain",
        choices=get_args(Retrain),
        default="never",
        help="auto: train the network anew, as of this day, where tiers are further from those of the earlier day than tiers.drift allows",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of assign_tiers."""
    parser = stage_parser("assign_tiers", run.__doc__)
    add_retrain_argument(parser)
    arguments = parser.parse_args(argv)
    stage = partial(run, retrain=arguments.retrain)
    return run_command("assign_tiers", arguments, lambda context: run_stage("assign_tiers", stage, context))
