"""The strongest traditional recommenders of repeated baskets, both by the users who are alike.

TIFU-KNN (Hu et al., Modeling Personalized Item Frequency Information for Next-basket Recommendation, 2020): decayed item frequency,
blended with that of the nearest users. UP-CF@r (Faggioli et al., Recency Aware Collaborative Filtering for Next Basket
Recommendation, 2020): item frequency in the last r baskets, of all users weighted by how much they overlap.

A basket is a day of a user here. Neighbours are searched among at most REFERENCE_USERS users sampled by hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark import Broadcast
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.evaluation.lists import LISTS, list_best
from interest_tiers.interests.evidence import exact_sum
from interest_tiers.recommend.knowledge import Knowledge
from interest_tiers.spark.sampling import sample_by_hash

#: Groups of baskets, decay within and between groups, neighbours, and the weight of the user's own vector.
GROUPS, WITHIN_DECAY, GROUP_DECAY, NEIGHBOURS, OWN_WEIGHT = 3, 1.0, 0.7, 300, 0.3

REFERENCE_USERS = 5_000

#: Baskets that count, the share of the user in asymmetric cosine, and the power of the similarity (UP-CF@r).
LAST_BASKETS, ASYMMETRY, LOCALITY = 100, 0.75, 10

#: Items of a user, those with the largest weights.
ITEMS_PER_USER = 1_000

_USERS_AT_ONCE = 64


def weigh_baskets(days: DataFrame, cutoff: date) -> DataFrame:
    """Sum the decayed frequency of every user's items, and their frequency in the last baskets.

    The baskets of a user are put into GROUPS groups of equal size, the oldest one with the rest. A basket weighs
    WITHIN_DECAY^(place in its group) / size of the group, a group GROUP_DECAY^(its place) / number of groups.

    days:    (user_id, item_id, event_date, weight)
    Returns: (user_id, item_id, frequency double, recent double), recent as a share of the LAST_BASKETS latest baskets
    """
    used = days.where((F.col("event_date") < F.lit(cutoff)) & (F.col("weight") > 0)).select("user_id", "item_id", "event_date").distinct()
    baskets = used.select("user_id", "event_date").distinct()
    newest = Window.partitionBy("user_id").orderBy(F.desc("event_date"))
    n = F.count(F.lit(1)).over(Window.partitionBy("user_id"))
    placed = baskets.select("user_id", "event_date", (F.row_number().over(newest) - 1).alias("place"), n.alias("n"))
    size = F.ceil(F.col("n") / F.lit(GROUPS))
    n_groups, group = F.ceil(F.col("n") / size), F.floor(F.col("place") / size)
    group_size = F.when(group == n_groups - 1, F.col("n") - (n_groups - 1) * size).otherwise(size)
    weight = F.pow(F.lit(WITHIN_DECAY), F.col("place") % size) / group_size * F.pow(F.lit(GROUP_DECAY), group) / n_groups
    recent = F.when(F.col("place") < LAST_BASKETS, 1 / F.least(F.col("n"), F.lit(LAST_BASKETS))).otherwise(0)
    weighed = placed.select("user_id", "event_date", weight.alias("weight"), recent.alias("recent"))
    sums = [exact_sum(F.col(name)).alias(alias) for name, alias in (("weight", "frequency"), ("recent", "recent"))]
    return used.join(weighed, ["user_id", "event_date"]).groupBy("user_id", "item_id").agg(*sums)


def list_by_neighbours(frequencies: DataFrame, users: DataFrame, codes: DataFrame, knowledge: Broadcast[Knowledge], k: int) -> DataFrame:
    """List the items of the table by TIFU-KNN and UP-CF@r.

    frequencies: see weigh_baskets, of all users
    users:       (user_id), those who get lists
    codes:       (item_id, code int), see knowledge.code_items
    Returns:     lists.LISTS, models tifu_knn and up_cf
    """
    coded = frequencies.join(F.broadcast(codes), "item_id")
    strongest = Window.partitionBy("user_id").orderBy(F.desc("frequency"), "code")
    placed = coded.withColumn("place", F.row_number().over(strongest)).where(F.col("place") <= ITEMS_PER_USER)
    known = frequencies.select("user_id").distinct()
    reference = sample_by_hash(placed, "user_id", REFERENCE_USERS, known.count())
    rows = reference.select(F.xxhash64("user_id").alias("user"), "code", "frequency", "recent").toPandas()
    ids, position = np.unique(rows["user"].to_numpy(), return_inverse=True)
    n_items = len(knowledge.value.table)
    where, values = (position, rows["code"].to_numpy()), {name: rows[name].to_numpy() for name in ("frequency", "recent")}
    others = Baskets(*(_build(values[name], where, (len(ids), n_items)) for name in ("frequency", "recent")))
    shared = frequencies.sparkSession.sparkContext.broadcast((ids, others))
    pairs = F.array_sort(F.collect_list(F.struct("code", "frequency", "recent"))).alias("pairs")
    histories = placed.join(users, "user_id", "left_semi").groupBy("user_id").agg(F.xxhash64("user_id").alias("user"), pairs)

    def rank(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        known, (ids, others) = knowledge.value, shared.value
        for batch in batches:
            for start in range(0, batch.num_rows, _USERS_AT_ONCE):
                part = batch.slice(start, _USERS_AT_ONCE)
                own, hashes = _read_baskets(part, len(known.table)), part.column("user").to_numpy()
                names, is_own = part.column("user_id").to_numpy(zero_copy_only=False), own.frequency.toarray() > 0
                for model, blend in (("tifu_knn", blend_nearest), ("up_cf", blend_overlapping)):
                    scores = blend(own, hashes, others, ids)
                    yield list_best("all", model, np.where(scores > 0, scores, -np.inf), names, known, k)
                    yield list_best("new", model, np.where((scores > 0) & ~is_own, scores, -np.inf), names, known, k)

    return histories.mapInArrow(rank, LISTS)


@dataclass(frozen=True)
class Baskets:
    """What users had, (users, items): decayed frequency, and frequency in the last baskets."""

    frequency: sp.csr_matrix
    recent: sp.csr_matrix


def blend_nearest(own: Baskets, users: np.ndarray, others: Baskets, ids: np.ndarray) -> np.ndarray:
    """Blend users' frequencies with the mean of those of their nearest users, (users, items): TIFU-KNN.

    users: hashes of the users of own; ids: those of the users of others
    """
    mine, theirs = own.frequency, others.frequency
    squares = [np.asarray(rows.multiply(rows).sum(axis=1)).ravel() for rows in (mine, theirs)]
    distance = squares[0][:, None] + squares[1][None, :] - 2 * (mine @ theirs.T).toarray()
    distance[users[:, None] == ids[None, :]] = np.inf
    n_near = min(NEIGHBOURS, len(ids) - 1)
    if n_near < 1:
        return OWN_WEIGHT * mine.toarray()
    nearest = np.argpartition(distance, n_near - 1, axis=1)[:, :n_near]
    means = sp.csr_matrix(
        (np.full(nearest.size, 1 / n_near, dtype=np.float32), nearest.ravel(), np.arange(len(nearest) + 1) * n_near), shape=distance.shape
    )
    return OWN_WEIGHT * mine.toarray() + (1 - OWN_WEIGHT) * (means @ theirs).toarray()


def blend_overlapping(own: Baskets, users: np.ndarray, others: Baskets, ids: np.ndarray) -> np.ndarray:
    """Blend users' recent frequencies with those of all users by asymmetric cosine, (users, items): UP-CF@r. See blend_nearest."""
    mine, theirs = (baskets.frequency.sign() for baskets in (own, others))
    sizes = [np.maximum(np.asarray(rows.sum(axis=1)).ravel(), 1) for rows in (mine, theirs)]
    overlap = (mine @ theirs.T).toarray() / (sizes[0][:, None] ** ASYMMETRY * sizes[1][None, :] ** (1 - ASYMMETRY))
    weights = overlap**LOCALITY
    weights[users[:, None] == ids[None, :]] = 0  # the user counts once, with the similarity 1
    return (weights @ others.recent + own.recent.toarray()) / (1 + weights.sum(axis=1, keepdims=True))


def _read_baskets(batch: pa.RecordBatch, n_items: int) -> Baskets:
    pairs = batch.column("pairs")
    row = np.repeat(np.arange(batch.num_rows), pairs.value_lengths().to_numpy())
    flat = pairs.flatten()
    where, shape = (row, flat.field("code").to_numpy()), (batch.num_rows, n_items)
    return Baskets(*(_build(flat.field(name).to_numpy(), where, shape) for name in ("frequency", "recent")))


def _build(values: np.ndarray, where: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]) -> sp.csr_matrix:
    matrix = sp.csr_matrix((values.astype(np.float32), where), shape=shape)
    matrix.sort_indices()  # rows come in any order, and sums of float32 should not follow it
    return matrix
