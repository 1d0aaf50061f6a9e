"""The back-test: compute everything as of a cutoff, and compare it with what users did in the horizon that followed.

It calls the same compositions as the stages. A model is trained by the caller, who decides where it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.clustering.composition import ClusteredUsers, ClusterInputs, cluster_users
from interest_tiers.clustering.profiles import select_had_items
from interest_tiers.config import Config, Recommend
from interest_tiers.evaluation.boosting import fit_boosting, predict_by_boosting
from interest_tiers.evaluation.cluster_quality import measure_interest_lift, measure_list_lift
from interest_tiers.evaluation.factorisation import list_by_als
from interest_tiers.evaluation.lists import Contender, list_items
from interest_tiers.evaluation.next_basket import list_by_neighbours, weigh_baskets
from interest_tiers.evaluation.ranking_quality import (
    find_future_items,
    group_by_activity,
    measure_groups,
    measure_lists,
    measure_lists_as_wholes,
    measure_popularity,
)
from interest_tiers.interests.composition import InterestMethod, sum_pairs
from interest_tiers.interests.evidence import PAIR
from interest_tiers.intervals import Estimate
from interest_tiers.recommend.composition import TierFrames, prepare_ranking, select_by
from interest_tiers.recommend.item_use import find_widely_used
from interest_tiers.recommend.knowledge import code_items, sum_use
from interest_tiers.recommend.ranker import Ranker
from interest_tiers.recommend.training import Kind
from interest_tiers.slices import Slice
from interest_tiers.spark.materialise import Materialise, prefixed
from interest_tiers.spark.sampling import sample_by_hash
from interest_tiers.tiers.attributes import Attribute
from interest_tiers.tiers.baselines import predictions
from interest_tiers.tiers.calibration import Calibration, calibrate
from interest_tiers.tiers.composition import (
    TierInputs,
    TierMethod,
    apply_rule,
    assign_tiers,
    calibrate_rule,
    compute_features,
    days_before,
    label_pairs,
)

#: What the metrics call the tiers that the back-test computed, and those that the table user_tiers held for the cutoff.
COMPUTED_TIERS, STORED_TIERS = "user_tiers", "stored_user_tiers"

#: What the metrics call the lists as the stage recommend makes them.
COMPUTED_LISTS = "recommender"

#: Settings of recommend by which the trade-off between NDCG and the spread of lists is measured, beside those of the config.
EXPLORATIONS, DIVERSITIES, CALIBRATIONS = (0.05, 0.08, 0.1, 0.2), (0.2, 0.5), (0.0, 0.3)

#: Explorations that are also tried with the smallest of DIVERSITIES: one widens the catalogue, the other a list.
DIVERSE_EXPLORATIONS = (0.05, 0.08)

#: The baselines whose lists are judged by groups of users too: the strongest ones and the plainest one.
GROUPED_BASELINES = ("tifu_knn", "ease", "own_frequency", "popularity")

#: The lists that are judged, and whether a user's own items may be in them.
KINDS: tuple[tuple[Kind, bool], ...] = (("all", True), ("new", False))


@dataclass(frozen=True)
class TrainedForTest:
    """The model that the back-test judges, and the examples that others may learn from.

    folder:     of the network; None where the rule decides
    attributes: of users, that the network reads
    examples:   (cutoff, user_id, interest_id, level, features, rule_recent_tier, label, weight), of users that trained
    latest:     the latest training cutoff
    """

    folder: Path | None
    attributes: Sequence[Attribute]
    examples: DataFrame
    latest: date


@dataclass(frozen=True)
class BackTest:
    """Everything that was computed as of the cutoff, ready to be judged.

    pairs:       rows of user_interests
    tiers:       rows of user_tiers
    features:    see compute_features; None where the rule decides without training
    calibration: of the rule
    had:         (user_id, item_id) before the cutoff, see clustering.profiles.select_had_items
    clustered:   see clustering.composition
    """

    inputs: TierInputs
    cutoff: date
    pairs: DataFrame
    tiers: DataFrame
    features: DataFrame | None
    calibration: Calibration
    had: DataFrame
    clustered: ClusteredUsers


def compute_as_of(
    inputs: TierInputs, cutoff: date, config: Config, method: TierMethod, trained: TrainedForTest | None, materialise: Materialise
) -> BackTest:
    """Compute pairs, tiers and clusters as of the cutoff. trained: None where the config asks for the rule."""
    before = days_before(inputs.item_days, cutoff)
    pairs = materialise("pairs", sum_pairs(before, cutoff, InterestMethod.of(config), prefixed(materialise, "borrowing")))
    calibration = calibrate_rule(inputs, cutoff, method)
    features = None
    if trained is not None:
        features = compute_features(lambda cutoff: inputs, [cutoff], method, trained.attributes, prefixed(materialise, "features"))
        features = materialise("features/all", features)
    folder = None if trained is None else trained.folder
    tiers = assign_tiers(pairs, features, calibration, folder, cutoff, method, prefixed(materialise, "tiers"))
    tiers = materialise("user_tiers", tiers)
    finest = pairs.where(F.col("level") == method.n_levels)
    had = materialise("had", select_had_items(before.where(F.col("level") == method.n_levels)))
    users = ClusterInputs(finest, had, inputs.topics, inputs.items, inputs.text_embeddings)
    clustered = cluster_users(users, cutoff, config.clustering, "", prefixed(materialise, "clusters"))
    return BackTest(inputs, cutoff, pairs, tiers, features, calibration, had, clustered)


@dataclass(frozen=True)
class PredictedTiers:
    """Predictions of every model for the pairs that have a label.

    rows: (model, user_id, level, interest_id, label, tier, p_core, p_secondary, p_marginal)
    """

    rows: DataFrame
    n_pairs: int
    n_users: int


def predict_tiers(
    test: BackTest, method: TierMethod, trained: TrainedForTest | None, stored: DataFrame | None, seed: int, materialise: Materialise
) -> PredictedTiers:
    """Collect what every model predicted of the pairs that have a label.

    stored: rows of the table user_tiers as of the cutoff; None where it has none
    """
    # What a user borrowed decides on tiers, and is never a pair that has a label.
    touched = apply_rule(test.pairs, method).where("n_days > 0")
    labels = label_pairs(touched, _days_after(test.inputs.interest_days, test.cutoff), method)
    known = materialise("labelled", labels.select(*PAIR, "level", "label", "rule_tier"))
    counts = known.agg(F.count(F.lit(1)).alias("pairs"), F.countDistinct("user_id").alias("users")).first()
    assert counts is not None  # an aggregate without keys has one row
    predicted = predictions(known, test.calibration)
    for model, tiers in ((COMPUTED_TIERS, test.tiers), (STORED_TIERS, stored)):
        if tiers is not None:
            rows = known.join(tiers, PAIR).withColumn("model", F.lit(model))
            predicted = predicted.unionByName(rows.select(*predicted.columns))
    if trained is not None and test.features is not None and not trained.examples.isEmpty():
        others = _predict_by_baselines(known, test.features, trained, seed, materialise)
        predicted = predicted.unionByName(others.select(*predicted.columns))
    return PredictedTiers(materialise("predicted", predicted), counts["pairs"], counts["users"])


def _predict_by_baselines(known: DataFrame, features: DataFrame, trained: TrainedForTest, seed: int, materialise: Materialise) -> DataFrame:
    """Predict the same pairs by the rule on the last horizon's days, and by gradient boosting on the network's features."""
    rows = materialise("with_features", features.join(known.select(*PAIR, "label"), PAIR))
    latest = trained.examples.where(F.col("cutoff") == F.lit(trained.latest))
    calibration = calibrate(latest.select("level", F.col("rule_recent_tier").alias("rule_tier"), "label"))
    boosted = predict_by_boosting(rows, fit_boosting(trained.examples, seed)).join(known.select(*PAIR, "level", "label"), PAIR)
    by_rule = predictions(rows, calibration, "rule_recent")
    return by_rule.unionByName(boosted.withColumn("model", F.lit("gradient_boosting")).select(*by_rule.columns))


def judge_lists(
    test: BackTest,
    config: Config,
    vectors: DataFrame,
    rankers: Mapping[str, Mapping[Kind, Ranker | None]],
    thorough: bool,
    materialise: Materialise,
) -> dict[Slice, dict[str, Estimate]]:
    """Compare the recommender with itself without a ranker or without some features, and with traditional recommenders.

    vectors: see recommend.knowledge.learn_items
    rankers: by the name of a model, those of all and of new items; None for the score without a model
    thorough: also by MLlib's ALS, which takes as long as all the others
    """
    settings, recommend, k = config.evaluation, config.recommend, config.recommend.k
    of_items = test.inputs.item_days.where((F.col("level") == config.interests.n_levels) & F.col("item_id").isNotNull())
    use = sum_use(of_items, test.cutoff, prefixed(materialise, "lists"), settings.min_item_users)
    catalogue = materialise("catalogue", measure_popularity(use.used.where("is_had").select("user_id", "item_id")))
    after = _days_after(of_items, test.cutoff)
    known = materialise("users", sample_known_users(after, use.active, settings.max_users))
    truth = materialise("truth", find_future_items(after, use.used, catalogue, known))
    finest = test.pairs.where(F.col("level") == config.interests.n_levels)
    ready = prepare_ranking(use, vectors, recommend, known, tiers=TierFrames(finest, test.tiers))
    if ready.knowledge is None:
        return {}
    frequencies = materialise("frequencies", weigh_baskets(of_items, test.cutoff).join(catalogue, "item_id", "left_semi"))
    codes, _ = code_items(catalogue.sparkSession, ready.knowledge.value.table)
    lists = list_items(ready.histories, ready.knowledge, name_contenders(rankers, recommend), k)
    lists = lists.unionByName(list_by_neighbours(frequencies, known, codes, ready.knowledge, k))
    if thorough:
        seed = recommend.training.seed
        lists = lists.unionByName(list_by_als(use.used, known, codes, ready.knowledge, k, seed))
    ranked = materialise("ranked", lists)
    measured = measure_lists(ranked, truth, catalogue, k, settings.bootstrap_samples, COMPUTED_LISTS)
    for part, of_part in measure_lists_as_wholes(ranked, truth).items():
        measured[part] |= {f"{name}@{k}": value for name, value in of_part.items()}
    in_clusters = test.clustered.user_clusters.where("is_primary").select(
        "user_id", F.concat(F.lit("cluster "), "cluster_id").alias("users")
    )
    groups = group_by_activity(use.active, known).unionByName(in_clusters)
    shown = ranked.where(F.col("model").isin(COMPUTED_LISTS, *GROUPED_BASELINES))
    return measured | measure_groups(shown, truth, catalogue, groups, k, settings.bootstrap_samples, COMPUTED_LISTS)


def name_contenders(rankers: Mapping[str, Mapping[Kind, Ranker | None]], config: Recommend) -> list[Contender]:
    """Name the variants of the recommender: every ranker as configured, and ours with other settings of the selection."""
    contenders = []
    for kind, repeats in KINDS:
        configured = select_by(config, repeats)
        contenders += [Contender(kind, model, of_kind[kind], configured) for model, of_kind in rankers.items()]
        others = {f"exploration_{value:g}": replace(configured, exploration=value) for value in EXPLORATIONS}
        others |= {f"calibration_{value:g}": replace(configured, calibration=value) for value in CALIBRATIONS}
        others |= {f"diversity_{value:g}": replace(configured, diversity=value) for value in DIVERSITIES}
        others |= {
            f"diverse_exploration_{value:g}": replace(configured, exploration=value, diversity=DIVERSITIES[0])
            for value in DIVERSE_EXPLORATIONS
        }
        ours = rankers[COMPUTED_LISTS][kind]
        contenders += [Contender(kind, f"{COMPUTED_LISTS}_{name}", ours, selection) for name, selection in others.items()]
    return contenders


def judge_clusters(test: BackTest, config: Config, materialise: Materialise) -> dict[Slice, dict[str, Estimate]]:
    """Measure how much the clusters say about the interests of the horizon, and about items new to a user."""
    settings, n_levels = config.evaluation, config.interests.n_levels
    members = test.clustered.user_clusters
    days = _days_after(test.inputs.interest_days, test.cutoff).where((F.col("level") == n_levels) & (F.col("weight") > 0))
    future = days.groupBy("user_id", "interest_id").agg(F.count_distinct("event_date").cast("double").alias("evidence"))
    primary = members.where("is_primary").select("user_id", "cluster_id")
    pairs = test.pairs.where(F.col("level") == n_levels)
    measured = measure_interest_lift(pairs, primary, future, settings.bootstrap_samples)
    had = test.had.join(find_widely_used(test.had, settings.min_item_users), "item_id", "left_semi")
    of_items = _days_after(test.inputs.item_days, test.cutoff).where(F.col("level") == n_levels)
    wanted = select_had_items(of_items)
    lists = measure_list_lift(had, members, wanted, settings.max_users, config.recommend.k, settings.bootstrap_samples, materialise)
    return {**measured, **lists}


def sample_known_users(after: DataFrame, active: DataFrame, max_users: int) -> DataFrame:
    """Take the users active in the horizon who were there before it, (user_id); above max_users those with the smallest hashes.

    Users who came later get no list from anybody: to score them 0 would say how many there were.

    active: (user_id, ...) before the cutoff
    """
    known = after.select("user_id").distinct().join(active.select("user_id"), "user_id", "left_semi")
    return sample_by_hash(known, "user_id", max_users, known.count())


def has_both_sides(item_days: DataFrame, cutoff: date) -> bool:
    """Say whether there are days before the cutoff and days from it on."""
    return not days_before(item_days, cutoff).isEmpty() and not _days_after(item_days, cutoff).isEmpty()


def _days_after(days: DataFrame, cutoff: date) -> DataFrame:
    return days.where(F.col("event_date") >= F.lit(cutoff))
