"""TIFU-KNN, the strongest traditional recommender of repeated baskets (Hu et al., Modeling Personalized Item Frequency
Information for Next-basket Recommendation, 2020): decayed item frequency, blended with that of the nearest users.

A basket is a day of a user here. Neighbours are searched among at most REFERENCE_USERS users sampled by hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.evaluation.baseline_lists import LISTS, list_best
from interest_tiers.interests.evidence import exact_sum
from interest_tiers.recommend.item_table import ItemTable
from interest_tiers.spark.sampling import sample_by_hash

#: Groups of baskets, decay within and between groups, neighbours, and the weight of the user's own vector.
GROUPS, WITHIN_DECAY, GROUP_DECAY, NEIGHBOURS, OWN_WEIGHT = 3, 1.0, 0.7, 300, 0.3

REFERENCE_USERS = 5_000

#: Items of a user, those with the largest weights.
ITEMS_PER_USER = 1_000

_USERS_AT_ONCE = 64


def weigh_baskets(days: DataFrame, cutoff: date) -> DataFrame:
    """Sum the decayed frequency of every user's items.

    The baskets of a user are put into GROUPS groups of equal size, the oldest one with the rest. A basket weighs
    WITHIN_DECAY^(place in its group) / size of the group, a group GROUP_DECAY^(its place) / number of groups.

    days:    (user_id, item_id, event_date, weight)
    Returns: (user_id, item_id, frequency double)
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
    weighed = placed.select("user_id", "event_date", weight.alias("weight"))
    return used.join(weighed, ["user_id", "event_date"]).groupBy("user_id", "item_id").agg(exact_sum(F.col("weight")).alias("frequency"))


def rank_by_neighbours(frequencies: DataFrame, users: DataFrame, codes: DataFrame, table: ItemTable, k: int) -> DataFrame:
    """Rank the items of the table by TIFU-KNN.

    frequencies: see weigh_baskets, of all users
    users:       (user_id), those who get lists
    codes:       (item_id, code int), see knowledge.code_items
    Returns:     (items, model, user_id, item_id, rank), model tifu_knn
    """
    coded = frequencies.join(F.broadcast(codes), "item_id")
    strongest = Window.partitionBy("user_id").orderBy(F.desc("frequency"), "code")
    placed = coded.withColumn("place", F.row_number().over(strongest)).where(F.col("place") <= ITEMS_PER_USER)
    known = frequencies.select("user_id").distinct()
    reference = sample_by_hash(placed, "user_id", REFERENCE_USERS, known.count())
    rows = reference.select(F.xxhash64("user_id").alias("user"), "code", "frequency").toPandas()
    ids, position = np.unique(rows["user"].to_numpy(), return_inverse=True)
    vectors = sp.csr_matrix(
        (rows["frequency"].to_numpy(dtype=np.float32), (position, rows["code"].to_numpy())), shape=(len(ids), len(table))
    )
    vectors.sort_indices()
    shared = frequencies.sparkSession.sparkContext.broadcast((table, ids, vectors))
    pairs = F.array_sort(F.collect_list(F.struct("code", "frequency"))).alias("pairs")
    histories = placed.join(users, "user_id", "left_semi").groupBy("user_id").agg(F.xxhash64("user_id").alias("user"), pairs)

    def rank(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        table, ids, vectors = shared.value
        for batch in batches:
            for start in range(0, batch.num_rows, _USERS_AT_ONCE):
                part = batch.slice(start, _USERS_AT_ONCE)
                own = _read_vectors(part, len(table))
                blended = blend(own, part.column("user").to_numpy(), vectors, ids)
                names = part.column("user_id").to_numpy(zero_copy_only=False)
                yield list_best("all", "tifu_knn", np.where(blended > 0, blended, -np.inf), names, table, k)
                is_new = (blended > 0) & (own.toarray() == 0)
                yield list_best("new", "tifu_knn", np.where(is_new, blended, -np.inf), names, table, k)

    return histories.mapInArrow(rank, LISTS)


def blend(own: sp.csr_matrix, users: np.ndarray, vectors: sp.csr_matrix, ids: np.ndarray) -> np.ndarray:
    """Blend users' vectors with the mean of those of their nearest users, (users, items).

    own: (users, items); users: their hashes. vectors: (reference users, items); ids: their hashes
    """
    squares = [np.asarray(rows.multiply(rows).sum(axis=1)).ravel() for rows in (own, vectors)]
    distance = squares[0][:, None] + squares[1][None, :] - 2 * (own @ vectors.T).toarray()
    distance[users[:, None] == ids[None, :]] = np.inf
    n_near = min(NEIGHBOURS, len(ids) - 1)
    if n_near < 1:
        return OWN_WEIGHT * own.toarray()
    nearest = np.argpartition(distance, n_near - 1, axis=1)[:, :n_near]
    means = sp.csr_matrix(
        (np.full(nearest.size, 1 / n_near, dtype=np.float32), nearest.ravel(), np.arange(len(nearest) + 1) * n_near), shape=distance.shape
    )
    return OWN_WEIGHT * own.toarray() + (1 - OWN_WEIGHT) * (means @ vectors).toarray()


def _read_vectors(batch: pa.RecordBatch, n_items: int) -> sp.csr_matrix:
    pairs = batch.column("pairs")
    starts = np.concatenate([[0], pairs.value_lengths().to_numpy().cumsum()])
    flat = pairs.flatten()
    data, codes = flat.field("frequency").to_numpy().astype(np.float32), flat.field("code").to_numpy()
    return sp.csr_matrix((data, codes, starts), shape=(batch.num_rows, n_items))
