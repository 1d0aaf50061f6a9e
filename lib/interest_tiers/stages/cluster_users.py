"""cluster_users: user vectors, the clusters that they form, and the clusters of every user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.clustering.composition import ClusteredUsers, ClusterInputs, Memory, cluster_users
from interest_tiers.clustering.description import describe_clusters
from interest_tiers.clustering.measures import ClusterQuality, measure_clusters
from interest_tiers.clustering.model import ClusterModel
from interest_tiers.clustering.profiles import select_had_items
from interest_tiers.clustering.trials import Trial
from interest_tiers.config import Config
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.slices import Slice
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.inputs import read_item_days, read_pairs, read_text_embeddings
from interest_tiers.stages.results import Measurement, StageResult
from interest_tiers.storage.schemas import CLUSTER_MODELS, CLUSTERS, INTERESTS, ITEMS, USER_CLUSTERS, USER_VECTORS, USERS

#: Settings that a model does not depend on: they decide how it is used.
_OF_USE = {"max_memberships", "min_membership", "stay_within", "refit_days", "max_population_stability_index", "max_distance_growth"}


def run(context: StageContext) -> StageResult:
    """Give users clusters of users who are alike, by the recorded model or by a new one, and describe the clusters."""
    as_of, config = context.as_of, context.config.clustering
    pairs, interests = read_pairs(context, finest=True), context.read(INTERESTS, as_of)
    had = context.materialise("had", select_had_items(read_item_days(context)))
    topics = interests.select("interest_id", "embedding") if context.config.interests.source == "topic" else None
    items = context.read(ITEMS)
    embeddings = read_text_embeddings(context) if "text" in config.vectors else None
    inputs = ClusterInputs(pairs, had, topics, items, embeddings)
    settings = fingerprint_settings(context.config)
    memory = _recall(context, settings)
    clustered = cluster_users(inputs, as_of, config, settings, context.materialise, memory)
    model = clustered.model
    if model is not None and clustered.fit is not None:
        context.warehouse.append(CLUSTER_MODELS, context.spark.createDataFrame([model.as_row()], CLUSTER_MODELS.schema))
    version = F.lit("none" if model is None else model.version)
    n_vectors = context.replace_day(USER_VECTORS, clustered.vectors)
    names = interests.select("interest_id", "name")
    centroids = {} if model is None else dict(zip(model.cluster_ids, model.centroids, strict=True))
    users = None if context.config.users is None else context.read_or_empty(USERS)
    described = describe_clusters(clustered.user_clusters, pairs, names, had, items, centroids, memory.previous, users)
    n_clusters = context.replace_day(CLUSTERS, described.withColumn("model_version", version))
    n_rows = context.replace_day(USER_CLUSTERS, clustered.user_clusters.withColumn("model_version", version))
    n_users = pairs.select("user_id").distinct().count()
    quality = measure_clusters(clustered.vectors, clustered.user_clusters, config.max_fit_users, max(1, n_vectors))
    kept = None if memory.previous is None else _measure_kept(clustered.user_clusters, memory.previous)
    without_vector = Measurement("users_without_vector", str(Slice("all")), n_users - n_vectors)
    context.write_metrics([*measure_model(model, quality), *_measure_identity(kept), without_vector])
    described_as = _describe(clustered, quality, kept)
    return StageResult(n_users, n_rows, f"{n_clusters} clusters, {described_as}; {n_users - n_vectors:,} users without a vector")


def fingerprint_settings(config: Config) -> str:
    """Fingerprint the settings that decide on a model."""
    clustering = config.clustering.model_dump(mode="json", exclude=_OF_USE)
    parts = [clustering, config.interests.model_dump(mode="json"), {name: w.model_dump(mode="json") for name, w in config.weights.items()}]
    if config.augmentation is not None:
        parts.append(config.augmentation.model_dump(mode="json"))
    if "text" in config.clustering.vectors or config.interests.source == "topic":
        parts.append({"embedding": model_id(config.embedding)})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def measure_model(model: ClusterModel | None, quality: ClusterQuality) -> list[Measurement]:
    """List what every k gave when the model was fitted, and how good its clusters are today."""
    if model is None:
        return []
    measured = [measurement for trial in model.trials for measurement in _measure_trial(trial)]
    chosen = str(Slice(k=len(model.cluster_ids)))
    trial = next((trial for trial in model.trials if trial.k == len(model.cluster_ids)), None)
    if quality.silhouette is not None:
        measured.append(Measurement("silhouette_chosen", chosen, quality.silhouette))
    if quality.silhouette is not None and trial is not None:
        measured.append(Measurement("excess_silhouette", chosen, quality.silhouette - trial.null_silhouette))
    if quality.activity_explained is not None:
        measured.append(Measurement("activity_explained", chosen, quality.activity_explained))
    return measured


def _measure_trial(trial: Trial) -> list[Measurement]:
    values = {
        "silhouette": trial.silhouette,
        "null_silhouette": trial.null_silhouette,
        "agreement_of_halves": trial.agreement,
        "smallest_share": trial.smallest,
    }
    return [Measurement(name, str(Slice(k=trial.k)), value) for name, value in values.items()]


def _recall(context: StageContext, settings: str) -> Memory:
    """Read the models of these settings up to as_of, and the primary clusters of the latest earlier day."""
    models = context.read_or_empty(CLUSTER_MODELS)
    listed = models.select("model_version", "fitted_as_of", "settings", "last_number").collect()  # a row per refit
    known = [row for row in listed if row["settings"] == settings]
    earlier = [(row["fitted_as_of"], row["model_version"]) for row in known if row["fitted_as_of"] < context.as_of]
    of_today = {row["model_version"] for row in known if row["fitted_as_of"] == context.as_of}

    def read(version: str) -> ClusterModel:
        row = models.where(F.col("model_version") == version).first()
        assert row is not None  # it was listed above
        return ClusterModel.from_row(row.asDict())

    def find(version: str) -> ClusterModel | None:
        return read(version) if version in of_today else None

    before = read(max(earlier)[1]) if earlier else None
    # Models of this day that other data replaced do not count: the day is as if they had never been.
    last = max((row["last_number"] for row in listed if row["fitted_as_of"] != context.as_of), default=0)
    return Memory(find if of_today else None, before, _read_previous(context), last)


def _read_previous(context: StageContext) -> DataFrame | None:
    """Read the primary clusters of the latest day before as_of: (user_id, cluster_id)."""
    if not context.exists(USER_CLUSTERS):
        return None
    earlier = context.read(USER_CLUSTERS).where(F.col("as_of") < F.lit(context.as_of))
    found = earlier.agg(F.max("as_of").alias("day")).first()
    if found is None or found["day"] is None:
        return None
    return earlier.where((F.col("as_of") == F.lit(found["day"])) & F.col("is_primary")).select("user_id", "cluster_id")


def _measure_kept(user_clusters: DataFrame, previous: DataFrame) -> float | None:
    """Measure the share of users who are in the same primary cluster as on the earlier day; None where no user is in both."""
    both = user_clusters.where("is_primary").join(previous.withColumnRenamed("cluster_id", "previous"), "user_id")
    found = both.agg(F.avg((F.col("cluster_id") == F.col("previous")).cast("double")).alias("kept")).first()
    return None if found is None else found["kept"]


def _measure_identity(kept: float | None) -> list[Measurement]:
    return [] if kept is None else [Measurement("kept_cluster_share", str(Slice("all")), kept)]


def _describe(clustered: ClusteredUsers, quality: ClusterQuality, kept: float | None) -> str:
    model = clustered.model
    if model is None:
        return "because no user has evidence of an interest"
    parts = [f"fitted because {clustered.reason}" if clustered.fit is not None else f"by the model of {model.fitted_as_of}"]
    if clustered.fit is not None:
        parts += _describe_changes(model)
    if quality.silhouette is None:
        parts.append("no silhouette: all users are alike")
    else:
        parts.append(f"silhouette {quality.silhouette:.3f}{_describe_trials(model.trials)}")
    if kept is not None:
        parts.append(f"{kept:.1%} of users kept their cluster")
    return "; ".join(parts)


def _describe_changes(model: ClusterModel) -> list[str]:
    named = [
        f"{change.cluster_id} {change.change}" + (f" ({change.other_id})" if change.other_id else "")
        for change in model.changes
        if change.change != "kept"
    ]
    return [", ".join(named)] if named else []


def _describe_trials(trials: Sequence[Trial]) -> str:
    tried = ", ".join(f"k={trial.k} {trial.agreement:.2f} {trial.excess:.2f}" for trial in trials)
    return f" (agreement of halves, excess silhouette: {tried})" if tried else ""
