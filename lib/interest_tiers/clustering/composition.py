"""Clusters as of a cutoff: the model that gives them, fitted or frozen, and the clusters of every user."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.clustering.fit import Fit, fit_clusters, take_sample
from interest_tiers.clustering.identity import Change, last_number, match_clusters, measure_stability, name_clusters
from interest_tiers.clustering.membership import compute_memberships
from interest_tiers.clustering.model import ClusterModel
from interest_tiers.clustering.profiles import build_profiles, find_vocabulary
from interest_tiers.clustering.space import Space, fit_space, locate_users, place_at_one_point
from interest_tiers.clustering.texts import Reading, fit_reading, reduce_texts
from interest_tiers.config import Clustering
from interest_tiers.spark.materialise import Materialise, prefixed

#: Characters of a fingerprint that the version of a model bears.
NAMED_CHARACTERS = 10


@dataclass(frozen=True)
class ClusterInputs:
    """The frames that clusters are computed from, all of the days before the cutoff.

    pairs:      (user_id, interest_id, evidence, n_days, n_items, ...) of the finest level
    had:        (user_id, item_id), see profiles.select_had_items; materialised
    topics:     (interest_id, embedding) where the ids of interests change from day to day; None where they stay
    items:      (item_id, text_hash, ...)
    embeddings: (text_hash, embedding array<float>); None without the block text
    """

    pairs: DataFrame
    had: DataFrame
    topics: DataFrame | None
    items: DataFrame
    embeddings: DataFrame | None


@dataclass(frozen=True)
class Memory:
    """What other days recorded.

    find:        finds a model that was fitted at the cutoff itself by its version; None where there is none
    before:      the latest model of the same settings that was fitted earlier
    previous:    (user_id, cluster_id), the primary clusters of the latest earlier day, under any settings
    last_number: the largest number that a cluster of another day has had
    """

    find: Callable[[str], ClusterModel | None] | None = None
    before: ClusterModel | None = None
    previous: DataFrame | None = None
    last_number: int = 0


@dataclass(frozen=True)
class ClusteredUsers:
    """User vectors, the model that gave users their clusters, and who belongs to which.

    vectors:       (user_id, n_events double, vector array<float>)
    model:         None where no user has evidence
    fit:           None where the model was fitted before
    reason:        why it was fitted now; empty where it was not
    user_clusters: see membership.compute_memberships
    """

    vectors: DataFrame
    model: ClusterModel | None
    fit: Fit | None
    reason: str
    user_clusters: DataFrame


def cluster_users(
    inputs: ClusterInputs, cutoff: date, config: Clustering, settings: str, materialise: Materialise, memory: Memory | None = None
) -> ClusteredUsers:
    """Give every user clusters: by the recorded model where it still serves, else by a new one that keeps the ids of its clusters.

    A model serves refit_days, unless the users have drifted from it.

    settings: fingerprint of what decides on the space and its clusters
    """
    memory = memory or Memory()
    labels, reason = memory.previous, "no earlier model has these settings"
    if memory.before is not None:
        of_before = _assign(inputs, memory.before, config, prefixed(materialise, "before"), memory.previous)
        reason = _find_reason(of_before, memory.before, cutoff, config)
        if memory.find is None and not reason:
            return of_before
        labels = of_before.user_clusters.where("is_primary").select("user_id", "cluster_id")
        if memory.previous is not None:
            # Users who came since have no identity that could be kept.
            labels = labels.join(memory.previous.select("user_id"), "user_id", "left_semi")
    if memory.find is not None:
        fitted = memory.find(_name_version(inputs, cutoff, settings))
        if fitted is not None:
            # As on its first run: users stay where the model before left them.
            return _assign(inputs, fitted, config, prefixed(materialise, "again"), labels)
        reason = reason or "the data of the day have changed"
    old_ids, last_used = _list_old_ids(memory, labels)
    return _fit(inputs, cutoff, config, settings, materialise, labels, old_ids, last_used, reason)


def _list_old_ids(memory: Memory, labels: DataFrame | None) -> tuple[tuple[str, ...], int]:
    """List the ids of the clusters so far, and find the largest number that any cluster has had."""
    if memory.before is not None:
        return memory.before.cluster_ids, max(memory.last_number, memory.before.last_number)
    if labels is None:
        return (), memory.last_number
    found = tuple(sorted(row["cluster_id"] for row in labels.select("cluster_id").distinct().collect()))  # a row per cluster
    return found, max(memory.last_number, last_number(found))


def _assign(
    inputs: ClusterInputs, model: ClusterModel, config: Clustering, materialise: Materialise, previous: DataFrame | None
) -> ClusteredUsers:
    """Give users the clusters of a frozen model. previous: (user_id, cluster_id), see compute_memberships."""
    space = model.space
    if space is None:
        vectors = place_at_one_point(inputs.pairs, model.centroids.shape[1])
    else:
        columns = {each: place for place, each in enumerate(space.interests)}
        if model.topics is not None and inputs.topics is not None:
            columns = _match_topics(inputs.topics, model.topics)
        profiles = _build(inputs, columns, space.items, space.reading)
        vectors = locate_users(profiles, space)
    vectors = materialise("vectors", vectors)
    members = compute_memberships(vectors, model.centroids, model.cluster_ids, config, previous)
    return ClusteredUsers(vectors, model, None, "", materialise("user_clusters", members))


def _find_reason(clustered: ClusteredUsers, model: ClusterModel, cutoff: date, config: Clustering) -> str:
    """Say why a model should serve no longer; empty where it still does."""
    if cutoff - model.fitted_as_of >= timedelta(days=config.refit_days):
        return f"the model is of {model.fitted_as_of}"
    primary = clustered.user_clusters.where("is_primary").groupBy("cluster_id")
    rows = primary.agg(F.count(F.lit(1)).alias("size"), F.sum("distance").alias("distance")).collect()  # a row per cluster
    found = {row["cluster_id"]: row["size"] for row in rows}
    if not found:
        return ""
    sizes = np.array([found.get(each, 0) for each in model.cluster_ids])
    stability = measure_stability(np.array(model.sizes), sizes)
    if stability > config.max_population_stability_index:
        return f"the population stability index of sizes is {stability:.3f}"
    distance = sum(row["distance"] for row in rows) / sizes.sum()
    if distance > model.mean_distance * (1 + config.max_distance_growth):
        return f"the mean distance is {distance:.3f}, was {model.mean_distance:.3f}"
    return ""


def _fit(
    inputs: ClusterInputs,
    cutoff: date,
    config: Clustering,
    settings: str,
    materialise: Materialise,
    labels: DataFrame | None,
    old_ids: tuple[str, ...],
    last_used: int,
    reason: str,
) -> ClusteredUsers:
    """Fit a space and clusters to all users.

    labels:    (user_id, cluster_id), the clusters that users had so far; None where there are none
    old_ids:   of these clusters, also of those that nobody is in
    last_used: the largest number that a cluster has had
    """
    space, vectors = _fit_space(inputs, config, materialise)
    n_users = vectors.count()
    if n_users == 0:
        nobody = compute_memberships(vectors, np.eye(1, config.components), name_clusters(1), config)
        return ClusteredUsers(vectors, None, None, reason, nobody)
    sample = take_sample(vectors, labels, old_ids, config.max_fit_users, n_users)
    fit = fit_clusters(vectors, np.ones(1) if space is None else space.variances, config, n_users, sample, len(old_ids))
    ids = name_clusters(len(fit.centroids), after=last_used)
    changes: tuple[Change, ...] = ()
    if labels is not None and old_ids:
        nearest = compute_memberships(vectors, fit.centroids, ids, config).where("is_primary")
        ids, changes = match_clusters(_count_shared(labels, nearest, old_ids, ids), old_ids, last_used)
    members = materialise("user_clusters", compute_memberships(vectors, fit.centroids, ids, config, labels))
    sizes, distance = _measure_fit(members, ids)
    topics = None
    if inputs.topics is not None and space is not None and space.interests:
        topics = _read_topics(inputs.topics, space)
    model = ClusterModel(
        _name_version(inputs, cutoff, settings),
        cutoff,
        settings,
        space,
        topics,
        fit.centroids,
        ids,
        sizes,
        distance,
        max(last_used, last_number(ids)),
        fit.trials,
        changes,
    )
    return ClusteredUsers(vectors, model, fit, reason, members)


def _fit_space(inputs: ClusterInputs, config: Clustering, materialise: Materialise) -> tuple[Space | None, DataFrame]:
    """Fit the space of all users, and compute their vectors."""
    blocks = config.vectors
    vocabulary = find_vocabulary(
        inputs.pairs if "interests" in blocks else None, inputs.had if "items" in blocks else None, config.min_item_users
    )
    reading = None
    if "text" in blocks and inputs.embeddings is not None:
        reading = fit_reading(_select_texts(inputs, inputs.embeddings))
    columns = {each: place for place, each in enumerate(vocabulary.interests)}
    profiles = materialise("profiles", _build(inputs, columns, vocabulary.items, reading))
    space = fit_space(profiles, vocabulary, reading, profiles.count(), config.components, config.seed)
    vectors = place_at_one_point(inputs.pairs, config.components) if space is None else locate_users(profiles, space)
    return space, materialise("vectors", vectors)


def _build(inputs: ClusterInputs, columns: Mapping[str, int], items: tuple[str, ...], reading: Reading | None) -> DataFrame:
    """Build profiles. columns: of the interests that are known. reading: of item texts; None without the block text."""
    texts = None
    if reading is not None and inputs.embeddings is not None:
        texts = reduce_texts(inputs.items, inputs.embeddings, reading)
    return build_profiles(inputs.pairs, inputs.had if items or texts is not None else None, texts, columns, items)


def _select_texts(inputs: ClusterInputs, embeddings: DataFrame) -> DataFrame:
    """Select the vectors of the texts of items that users had, each text once: (text_hash, embedding)."""
    hashes = inputs.items.join(inputs.had.select("item_id").distinct(), "item_id", "left_semi").select("text_hash").distinct()
    return embeddings.join(hashes, "text_hash", "left_semi").select("text_hash", "embedding")


def _read_topics(topics: DataFrame, space: Space) -> np.ndarray:
    """Read the embeddings of the space's interests, in their order; zeros for one without an embedding."""
    known = {row["interest_id"]: row["embedding"] for row in topics.where("embedding IS NOT NULL").collect()}  # a row per topic
    width = len(next(iter(known.values()), [0.0]))
    return np.array([known.get(each, [0.0] * width) for each in space.interests])


def _match_topics(topics: DataFrame, known: np.ndarray) -> dict[str, int]:
    """Give every topic of today the column of the nearest topic that the model knows: topic ids change from day to day."""
    rows = topics.where("embedding IS NOT NULL").collect()  # a row per topic
    nearest = (np.array([row["embedding"] for row in rows]) @ known.T).argmax(axis=1) if rows else []
    return {row["interest_id"]: int(column) for row, column in zip(rows, nearest, strict=True)}


def _count_shared(old: DataFrame, new: DataFrame, old_ids: tuple[str, ...], new_ids: tuple[str, ...]) -> np.ndarray:
    """Count the users of every old and new cluster: (old, new). old, new: (user_id, cluster_id)."""
    both = old.select("user_id", F.col("cluster_id").alias("old")).join(new.select("user_id", F.col("cluster_id").alias("new")), "user_id")
    shared = np.zeros((len(old_ids), len(new_ids)), dtype=np.int64)
    for row in both.groupBy("old", "new").count().collect():  # a row per pair of clusters
        shared[old_ids.index(row["old"]), new_ids.index(row["new"])] = row["count"]
    return shared


def _measure_fit(members: DataFrame, ids: tuple[str, ...]) -> tuple[tuple[int, ...], float]:
    """Measure the size of every cluster, and the mean distance of users to the centroid of their primary one."""
    primary = members.where("is_primary").groupBy("cluster_id")
    rows = primary.agg(F.count(F.lit(1)).alias("size"), F.sum("distance").alias("distance")).collect()  # a row per cluster
    sizes = {row["cluster_id"]: row["size"] for row in rows}
    # Rounded, since sums of doubles differ from run to run in their last digits.
    return tuple(sizes.get(each, 0) for each in ids), round(sum(row["distance"] for row in rows) / sum(sizes.values()), 9)


def _name_version(inputs: ClusterInputs, cutoff: date, settings: str) -> str:
    """Name a model by its day, and by a fingerprint of its settings and of the evidence that it is fitted to."""
    # The upper half of a hash: the sum of 10^8 of them fits.
    hashed = F.shiftright(F.xxhash64("user_id", "interest_id", "evidence", "n_days", "n_items"), 32)
    found = inputs.pairs.agg(F.count(F.lit(1)).alias("n"), F.sum(hashed).alias("hash")).first()
    assert found is not None  # an aggregate without keys has one row
    fingerprint = hashlib.sha256(f"{settings} {found['n']} {found['hash']}".encode()).hexdigest()
    return f"kmeans-{cutoff}-{fingerprint[:NAMED_CHARACTERS]}"
