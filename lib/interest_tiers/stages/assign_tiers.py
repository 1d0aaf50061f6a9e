"""assign_tiers: core, secondary and marginal interests, by the network of train_tiers or by the rule with calibrated probabilities."""

from __future__ import annotations

from datetime import date

from pyspark.sql import functions as F

from interest_tiers.slices import Slice
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.inputs import read_pairs, read_tier_inputs, tier_inputs_at, tier_method
from interest_tiers.stages.results import Measurement, StageResult
from interest_tiers.stages.train_tiers import ServingModel, find_model, train_model
from interest_tiers.storage.schemas import USER_INTERESTS, USER_TIERS
from interest_tiers.tiers.calibration import Calibration
from interest_tiers.tiers.composition import assign_tiers, calibrate_rule, compute_features, mark_low_evidence
from interest_tiers.tiers.drift import Drift, drift_between
from interest_tiers.tiers.labels import require_rules
from interest_tiers.tiers.model import version_of


def preflight(context: StageContext, retrain: str = "never") -> list[str]:
    """Check the label rules against the columns of user_interests."""
    empty = context.spark.createDataFrame([], USER_INTERESTS.schema)
    require_rules(empty, context.config.tiers.label_rules)
    return []


def run(context: StageContext, retrain: str = "never") -> StageResult:
    """Predict how much every interest of every user will matter. retrain: auto trains a new model where drift is above its limits."""
    method, as_of, pairs = tier_method(context), context.as_of, read_pairs(context)
    inputs = read_tier_inputs(context)
    calibration = calibrate_rule(inputs, as_of, method)
    rows_in = pairs.count()

    def assign(model: ServingModel) -> int:
        features = None
        if model.folder is not None:
            features = compute_features(lambda day: inputs, [as_of], method, model.attributes, context.materialise)
        tiers = assign_tiers(pairs, features, calibration, model.folder, as_of, method, context.materialise)
        return context.replace_day(USER_TIERS, mark_low_evidence(tiers, inputs.interest_days, as_of, method.tiers))

    model = find_model(context, inputs, as_of)
    rows_out = assign(model)
    drift = _measure_drift(context)
    advice = _advise(context, drift, retrain, model)
    if advice and retrain == "auto" and model.folder is not None:
        model = train_model(context, tier_inputs_at(context, inputs), as_of)
        rows_out = assign(model)
        # The tiers that stay are measured, so that running again measures the same.
        drift = _measure_drift(context)
    context.write_metrics([] if drift is None else _list_measurements(drift))
    described = f"{_describe(model, calibration, as_of - method.horizon)}; {_count_low_evidence(context, method.tiers.min_days)}{advice}"
    return StageResult(rows_in, rows_out, described)


def _count_low_evidence(context: StageContext, min_days: int) -> str:
    users = context.read(USER_TIERS, context.as_of).where("low_evidence").select("user_id").distinct().count()
    return f"{users:,} users with events on fewer than {min_days} days (low_evidence)"


def _measure_drift(context: StageContext) -> Drift | None:
    """Compare the tiers of as_of with those of the latest earlier day; None where there is none."""
    tiers = context.read(USER_TIERS)
    found = tiers.where(F.col("as_of") < F.lit(context.as_of)).agg(F.max("as_of").alias("day")).first()
    if found is None or found["day"] is None:
        return None
    before, after = (tiers.where(F.col("as_of") == F.lit(day)) for day in (found["day"], context.as_of))
    return drift_between(before, after, found["day"], have_identity=context.config.interests.source != "topic")


def _list_measurements(drift: Drift) -> list[Measurement]:
    measured = [
        Measurement("population_stability_index", str(Slice(since=drift.since, of="tiers")), drift.of_tiers),
        Measurement("population_stability_index", str(Slice(since=drift.since, of="p_core")), drift.of_p_core),
    ]
    if drift.core_changed_share is not None:
        measured.append(Measurement("core_changed_share", str(Slice(since=drift.since)), drift.core_changed_share))
    return measured


def _advise(context: StageContext, drift: Drift | None, retrain: str, model: ServingModel) -> str:
    """Say which drift is above its limits, and what follows; empty where none is."""
    beyond = [] if drift is None else drift.beyond(context.config.tiers.drift)
    if drift is None or not beyond:
        return ""
    found = f"; drift since {drift.since}: {', '.join(beyond)}"
    if model.folder is None:
        return found
    return f"{found}: retrained" if retrain == "auto" else f"{found}: retrain the model, see --retrain auto"


def _describe(model: ServingModel, calibration: Calibration, cutoff: date) -> str:
    if model.folder is not None:
        return f"network {version_of(model.folder)}"
    by_rule = f"rule by mass, {model.reason}"
    if calibration.n_pairs == 0:
        return f"{by_rule}; no outcome is complete yet (nothing before {cutoff}): every probability is 1/3"
    kept = ", ".join(f"{tier} {calibration.probabilities[tier][tier]:.0%}" for tier in calibration.probabilities)
    return f"{by_rule}; of {calibration.n_pairs:,} pairs at {cutoff} these kept their tier: {kept}"
