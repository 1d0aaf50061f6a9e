"""evaluate: the back-test of tiers, clusters and recommendations against the days held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.clustering.measures import measure_clusters
from interest_tiers.config import Config
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.evaluation.backtest import (
    COMPUTED_LISTS,
    COMPUTED_TIERS,
    KINDS,
    BackTest,
    PredictedTiers,
    compute_as_of,
    has_both_sides,
    judge_clusters,
    judge_lists,
    predict_tiers,
)
from interest_tiers.evaluation.tier_quality import measure_tiers
from interest_tiers.intervals import Estimate
from interest_tiers.recommend.ranker import GROUPS, Ranker
from interest_tiers.recommend.training import Kind, ranker_day
from interest_tiers.slices import Slice
from interest_tiers.stages.cluster_users import measure_model
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.inputs import read_or_compute_tier_inputs, tier_inputs_at, tier_method
from interest_tiers.stages.models import ranker_models
from interest_tiers.stages.recommend import item_inputs_at, set_up_ranker
from interest_tiers.stages.results import Measurement, StageResult
from interest_tiers.stages.train_tiers import preflight_training, train_for_test
from interest_tiers.storage.schemas import USER_TIERS
from interest_tiers.training.leakage import require_encoder_before
from interest_tiers.training.model_store import ModelStore


def preflight(context: StageContext, thorough: bool = False) -> list[str]:
    """Check what the training of the back-test needs, and that the language model saw no day that is held back."""
    if context.known_as_of is None:
        return preflight_training(context, None)
    cutoff = context.known_as_of - timedelta(days=context.config.tiers.horizon_days)
    _require_encoder(context, cutoff)
    return preflight_training(context, cutoff)


def _require_encoder(context: StageContext, cutoff: date) -> None:
    folder = read_model_folder(context.config.embedding.model).path
    require_encoder_before(folder, cutoff, f"The back-test as of {cutoff}")


def run(context: StageContext, thorough: bool = False) -> StageResult:
    """Compute everything as of one horizon before as_of, and compare it with what users did since.

    thorough: also judge the lists of rankers without each group of features, and of MLlib's ALS
    """
    config, method = context.config, tier_method(context)
    cutoff = context.as_of - timedelta(days=config.tiers.horizon_days)
    _require_encoder(context, cutoff)
    inputs = read_or_compute_tier_inputs(context, cutoff)
    touched = inputs.item_days.where((F.col("level") == method.n_levels) & F.col("item_id").isNotNull())
    rows_in = touched.count()
    if not has_both_sides(touched, cutoff):
        context.write_metrics([])
        return StageResult(rows_in, 0, f"no back-test: it needs interactions before and after {cutoff}")
    trained = train_for_test(context, tier_inputs_at(context, inputs, cutoff), cutoff)
    test = compute_as_of(inputs, cutoff, config, method, trained, context.materialise)
    predicted = predict_tiers(test, method, trained, _stored_tiers(context, cutoff), config.tiers.training.seed, context.materialise)
    measurements = [
        *_measure_tiers(context, predicted),
        *_measure_clusters(test, config, context),
        *_as_measurements(_judge_lists(context, test, cutoff, thorough)),
    ]
    context.write_metrics(measurements)
    return StageResult(
        rows_in, len(measurements), f"cutoff {cutoff}: {_summarise(measurements, config.recommend.k, config.interests.levels)}"
    )


def _judge_lists(context: StageContext, test: BackTest, cutoff: date, thorough: bool) -> Mapping[Slice, Mapping[str, Estimate]]:
    """Train the ranker that would have served the cutoff, in a folder of the back-test, and judge its lists.

    thorough: train it again without each group of features, and judge MLlib's ALS
    """
    config, models = context.config, ranker_models(context)
    items_at = item_inputs_at(context, tier_inputs_at(context, test.inputs, cutoff))
    store = ModelStore(models.sibling("backtest"), models.record, models.run_id)
    day, kinds = ranker_day(cutoff, config.recommend), [kind for kind, _ in KINDS]
    training = set_up_ranker(context, items_at, store, kinds, day, config.evaluation.min_item_users)
    trained = training.read_or_train()
    without: Mapping[Kind, Ranker | None] = dict.fromkeys(kinds)
    rankers: dict[str, Mapping[Kind, Ranker | None]] = {COMPUTED_LISTS: without}
    if not isinstance(trained, str):
        store.keep_in_use(training.folder)
        rankers = {COMPUTED_LISTS: trained, "without_ranker": without}
        if thorough:
            rankers |= {f"without_{group}": training.train_without(group) for group in GROUPS}
    return judge_lists(test, config, items_at(cutoff).vectors, rankers, thorough, context.materialise)


def _stored_tiers(context: StageContext, cutoff: date) -> DataFrame | None:
    """Read the tiers that an earlier run stored for the cutoff."""
    if not context.exists(USER_TIERS):
        return None
    stored = context.read(USER_TIERS).where(F.col("as_of") == F.lit(cutoff))
    return None if stored.isEmpty() else stored


def _measure_tiers(context: StageContext, predicted: PredictedTiers) -> list[Measurement]:
    """Measure the tiers of each level by itself: they compete within a level, so errors of several levels have no common mean."""
    levels, samples = context.config.interests.levels, context.config.evaluation.bootstrap_samples
    parts = [(Slice(level=name), predicted.rows.where(F.col("level") == number)) for number, name in enumerate(levels, start=1)]
    return [
        Measurement("n_pairs", str(Slice("tiers")), predicted.n_pairs),
        Measurement("n_users", str(Slice("tiers")), predicted.n_users),
        *(
            measurement
            for part, rows in (parts or [(Slice(), predicted.rows)])
            for measurement in _as_measurements(measure_tiers(rows, samples, COMPUTED_TIERS, part))
        ),
    ]


def _measure_clusters(test: BackTest, config: Config, context: StageContext) -> list[Measurement]:
    """Measure the clusters as of the cutoff by themselves, and by what users did since."""
    clustered, max_users = test.clustered, config.clustering.max_fit_users
    quality = measure_clusters(clustered.vectors, clustered.user_clusters, max_users, max(1, clustered.vectors.count()))
    judged = judge_clusters(test, config, context.materialise_in("judged_clusters"))
    return [*measure_model(clustered.model, quality), *_as_measurements(judged)]


def _as_measurements(measured: Mapping[Slice, Mapping[str, Estimate]]) -> list[Measurement]:
    return [
        Measurement(metric, str(part), estimate.value, estimate.lower, estimate.upper)
        for part, metrics in measured.items()
        for metric, estimate in metrics.items()
    ]


def _summarise(measurements: Sequence[Measurement], k: int, levels: Sequence[str]) -> str:
    """Name the measures of our models; those of tiers are of the finest level of a hierarchy."""
    finest, of_level = (levels[-1], f" of level {levels[-1]}") if levels else (None, "")
    wanted = {
        ("J", str(Slice(level=finest, model=COMPUTED_TIERS))): f"J{of_level}",
        ("macro_f1", str(Slice(level=finest, model=COMPUTED_TIERS))): "macro-F1",
        (f"ndcg@{k}", str(Slice(items="all", model=COMPUTED_LISTS))): f"NDCG@{k} all items",
        (f"ndcg@{k}", str(Slice(items="new", model=COMPUTED_LISTS))): "new items",
    }
    found = {(m.metric, m.slice): m.value for m in measurements}
    judged = [f"{name} {found[key]:.3f}" for key, name in wanted.items() if key in found]
    return ", ".join(judged) or "nothing to judge by, because no user who was there before it did anything that counts since"
