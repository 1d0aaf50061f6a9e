"""evaluate: the back-test. Everything is made as of a horizon ago and compared with what users did since."""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.evaluation.baselines import one_cluster, own_frequency, popular_items, popularity
from interest_tiers.evaluation.boosting import fitted_boosting, said_by_boosting
from interest_tiers.evaluation.intervals import Estimate
from interest_tiers.evaluation.ranking_quality import future_items, in_lists, ranking_quality
from interest_tiers.evaluation.tier_quality import tier_quality
from interest_tiers.interests.evidence import PAIR, interest_days, item_days
from interest_tiers.recommend.candidates import find_widely_used, rank_popular_items, score_candidates
from interest_tiers.recommend.ranking import rank_items
from interest_tiers.spark.sampling import drawn_by_hash
from interest_tiers.stages.assign_tiers import calibration_as_of, ruled, tiers_as_of
from interest_tiers.stages.build_interests import (
    InterestsOfItems,
    augmented_pairs_as_of,
    embeddings_as_of,
    finest,
    interests_of_items_as_of,
    with_levels,
    with_user_texts,
)
from interest_tiers.stages.cluster_users import cluster, silhouettes_tried
from interest_tiers.stages.context import Measurement, StageContext, StageResult, stage_main, write_metrics
from interest_tiers.stages.recommend import cluster_items, own_items_as_of
from interest_tiers.stages.train_tiers import Evidence, TrainingOfTiers, features_as_of, labels_of, model_day, model_there
from interest_tiers.storage.schemas import INTERACTIONS
from interest_tiers.tiers.baselines import predictions
from interest_tiers.tiers.calibration import Calibration, calibrate


def run(context: StageContext) -> StageResult:
    """Back-test tiers, clusters and recommendations as of as_of - horizon against the horizon up to as_of."""
    as_of = context.as_of
    cut = as_of - timedelta(days=context.config.tiers.horizon_days)
    found = interests_of_items_as_of(context, cut)
    days = _days_by(context, found)
    rows_in = days.count()
    if any(part.isEmpty() for part in split_at(days, cut)):
        return StageResult(rows_in, 0, f"no back-test: it needs interactions before and after {cut}")
    measurements = _back_test(context, found, days, cut)
    write_metrics(context, "evaluate", measurements)
    return StageResult(rows_in, len(measurements), f"cut {cut}: {_headline(measurements, context.config.recommend.k)}")


def _days_by(context: StageContext, found: InterestsOfItems) -> DataFrame:
    """What users did with items before as_of, by the interests as they were known at the cut (see evidence.item_days)."""
    item_interests = context.warehouse.stage("evaluate/item_interests", found.item_interests)
    return context.warehouse.stage(
        "evaluate/item_days",
        item_days(context.read(INTERACTIONS, context.as_of), item_interests, context.config.weights, context.config.interests.n_levels),
    )


def split_at(days: DataFrame, cut: date) -> tuple[DataFrame, DataFrame]:
    """The days before the cut, and those from it on."""
    return days.where(F.col("event_date") < F.lit(cut)), days.where(F.col("event_date") >= F.lit(cut))


def _back_test(context: StageContext, found: InterestsOfItems, days_of_items: DataFrame, cut: date) -> list[Measurement]:
    items_before, items_after = split_at(days_of_items, cut)
    embeddings = embeddings_as_of(context, found, items_before)
    days = with_levels(context, with_user_texts(context, days_of_items, embeddings, "evaluate/user_texts"))
    before, after = split_at(days, cut)
    pairs = context.warehouse.stage("evaluate/pairs", augmented_pairs_as_of(context, before, cut, "evaluate/borrowing"))
    calibration = calibration_as_of(context, before, cut)
    topics = None if found.topics is None else embeddings
    evidence = Evidence(before, context.warehouse.stage("evaluate/interest_days", interest_days(before)), topics)
    day = model_day(cut, context.config.tiers.training)
    training = None if context.config.tiers.network == "rule" else TrainingOfTiers(context, evidence, day, "evaluate/training")
    model = model_there(context, evidence, cut) if training is None else training.model()
    features = None if training is None else features_as_of(context, evidence, training.attributes, cut, "evaluate/features")
    tiers = tiers_as_of(context, pairs, features, calibration, model, cut, "evaluate/said")
    tiers = context.warehouse.stage("evaluate/tiers", tiers)
    placed = finest(context, pairs)
    clustered = cluster(context, placed, tiers, embeddings, "evaluate/clusters")
    judged = _Judged(pairs, features, tiers, calibration, after)
    return [
        *_judge_tiers(context, judged, training),
        *silhouettes_tried(clustered.fit),
        *_judge_lists(context, items_before, items_after, cut, placed, tiers, clustered.user_clusters),
    ]


@dataclass(frozen=True)
class _Judged:
    """What is compared with the days after the cut."""

    pairs: DataFrame
    features: DataFrame | None
    tiers: DataFrame
    calibration: Calibration
    after: DataFrame


def _judge_tiers(context: StageContext, judged: _Judged, training: TrainingOfTiers | None) -> list[Measurement]:
    # What a user borrowed decides on tiers, and is never a pair that has a label.
    touched = ruled(context, judged.pairs).where("n_days > 0")
    labels = labels_of(context, touched, judged.after).select(*PAIR, "level", "label", "rule_tier")
    known = context.warehouse.stage("evaluate/labelled", labels)
    counts = known.agg(F.count(F.lit(1)).alias("pairs"), F.countDistinct("user_id").alias("users")).first()
    assert counts is not None  # an aggregate without keys has one row
    predicted = predictions(known, judged.calibration)
    said = known.join(judged.tiers, PAIR).withColumn("model", F.lit("user_tiers"))
    predicted = predicted.unionByName(said.select(*predicted.columns))
    if training is not None and judged.features is not None and not training.training_examples.isEmpty():
        by_others = _baselines_on_features(context, known, judged.features, training)
        predicted = predicted.unionByName(by_others.select(*predicted.columns))
    predicted = context.warehouse.stage("evaluate/predicted", predicted)
    return [
        Measurement("n_pairs", "tiers", counts["pairs"]),
        Measurement("n_users", "tiers", counts["users"]),
        *_tier_measurements(context, predicted, ""),
        *(
            measurement
            for place, name in enumerate(context.config.interests.levels, start=1)
            for measurement in _tier_measurements(context, predicted.where(F.col("level") == place), f"level={name},")
        ),
    ]


def _tier_measurements(context: StageContext, predicted: DataFrame, slice_: str) -> list[Measurement]:
    quality = tier_quality(predicted, context.config.evaluation.bootstrap_samples)
    return [_measured(metric, f"{slice_}model={model}", value) for model, metrics in quality.items() for metric, value in metrics.items()]


def _baselines_on_features(context: StageContext, known: DataFrame, features: DataFrame, training: TrainingOfTiers) -> DataFrame:
    """What the rule on the last horizon's days, and gradient boosting, say of the same pairs."""
    rows = context.warehouse.stage("evaluate/with_features", features.join(known.select(*PAIR, "label"), PAIR))
    latest = training.training_examples.where(F.col("cut") == F.lit(training.cuts[0]))
    calibration = calibrate(latest.select("level", F.col("rule_recent_tier").alias("rule_tier"), "label"))
    classifier = fitted_boosting(training.training_examples, context.config.tiers.training.seed)
    boosted = said_by_boosting(rows, classifier).join(known.select(*PAIR, "level", "label"), PAIR)
    by_rule = predictions(rows, calibration, "rule_recent")
    return by_rule.unionByName(boosted.withColumn("model", F.lit("gradient_boosting")).select(*by_rule.columns))


def _judge_lists(
    context: StageContext, before: DataFrame, after: DataFrame, cut: date, pairs: DataFrame, tiers: DataFrame, user_clusters: DataFrame
) -> list[Measurement]:
    """Compare the recommender with itself without clusters, with popularity and with the user's own frequency."""
    warehouse, settings, k = context.warehouse, context.config.evaluation, context.config.recommend.k
    everything = own_items_as_of(context, before, cut)
    catalogue = warehouse.stage("evaluate/catalogue", find_widely_used(everything, settings.min_item_users))
    own_items = warehouse.stage("evaluate/own_items", everything.join(catalogue, "item_id", "left_semi"))
    users = warehouse.stage("evaluate/users", judged_users(after, settings.max_users))
    truth = warehouse.stage("evaluate/truth", future_items(after, own_items, catalogue, users))
    popular = warehouse.stage("evaluate/popular", popular_items(own_items))
    judged_items = own_items.join(users, "user_id", "left_semi")
    of_judged = [frame.join(users, "user_id", "left_semi") for frame in (pairs, tiers)]

    def offered(clusters: DataFrame) -> DataFrame:
        popular_there = rank_popular_items(own_items, clusters, context.config.recommend.candidates_per_interest)
        return cluster_items(context, popular_there, *of_judged, clusters.join(users, "user_id", "left_semi"))

    lists = [in_lists("all", "own_frequency", own_frequency(judged_items, k))]
    for items, repeats in (("all", True), ("new", False)):
        lists.append(in_lists(items, "popularity", popularity(users, popular, judged_items, k, repeats)))
    for model, clusters in (("tiers_and_clusters", user_clusters), ("without_clusters", one_cluster(pairs.select("user_id").distinct()))):
        candidates = warehouse.stage(f"evaluate/offered_{model}", offered(clusters))
        for items, repeats in (("all", True), ("new", False)):
            ranked = rank_items(score_candidates(judged_items, candidates, context.config.recommend, repeats), k)
            lists.append(in_lists(items, model, ranked))
    staged = warehouse.stage("evaluate/lists", reduce(DataFrame.unionByName, lists))
    judged = ranking_quality(staged, truth, catalogue.count(), k, settings.bootstrap_samples)
    return [_measured(metric, f"items={q.items},model={q.model}", value) for q in judged for metric, value in q.metrics.items()]


def judged_users(after: DataFrame, max_users: int) -> DataFrame:
    """The users active in the horizon: user_id; above max_users those with the smallest hashes, the same every time."""
    active = after.select("user_id").distinct()
    return drawn_by_hash(active, "user_id", max_users, active.count())


def _measured(metric: str, slice_: str, estimate: Estimate) -> Measurement:
    return Measurement(metric, slice_, estimate.value, estimate.lower, estimate.upper)


def _headline(measurements: list[Measurement], k: int) -> str:
    wanted = {
        ("J", "model=user_tiers"): "J",
        ("macro_f1", "model=user_tiers"): "macro-F1",
        (f"ndcg@{k}", "items=all,model=tiers_and_clusters"): f"NDCG@{k} all items",
        (f"ndcg@{k}", "items=new,model=tiers_and_clusters"): "new items",
    }
    found = {(m.metric, m.slice): m.value for m in measurements}
    return ", ".join(f"{name} {found[key]:.3f}" for key, name in wanted.items() if key in found)


main = stage_main("evaluate", run)
