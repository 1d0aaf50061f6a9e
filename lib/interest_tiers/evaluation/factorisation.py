"""Implicit matrix factorisation by MLlib (Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets, 2008)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.evaluation.lists import LISTS, list_best
from interest_tiers.recommend.knowledge import SAMPLED_PAIRS, Knowledge, keep_strongest
from interest_tiers.spark.sampling import sample_by_hash

#: Factors, regularisation, weight of evidence and iterations of ALS; evidence is the logarithm of days.
RANK, REGULARISATION, ALPHA, ITERATIONS = 64, 0.1, 1.0, 8

_USERS_AT_ONCE = 256


def list_by_als(used: DataFrame, users: DataFrame, codes: DataFrame, knowledge: Broadcast[Knowledge], k: int, seed: int) -> DataFrame:
    """List the items of the table by ALS, fitted on the judged users and on others sampled by hash.

    used:  see item_use.summarise_use
    users: (user_id), those who get lists
    codes: (item_id, code int), see knowledge.code_items
    Returns: lists.LISTS, model als
    """
    had = keep_strongest(used.where("is_had").join(F.broadcast(codes), "item_id"))
    # ALS wants numbers of 31 bits: of 100,000 users two or three share theirs with another one, and their factors.
    number = F.xxhash64("user_id").bitwiseAND(F.lit(2**31 - 1)).cast("int").alias("user")
    judged = had.join(users, "user_id", "left_semi")
    n_pairs = int(knowledge.value.table.counts.users.sum())
    sampled = sample_by_hash(had, "user_id", SAMPLED_PAIRS, n_pairs).join(users, "user_id", "left_anti")
    evidence = F.log1p("n_days").cast("float").alias("rating")
    # In one order, so that sums of floats are the same again.
    ratings = judged.unionByName(sampled).select(number, "code", evidence).repartition("user").sortWithinPartitions("user", "code")
    als = ALS(
        rank=RANK, regParam=REGULARISATION, alpha=ALPHA, maxIter=ITERATIONS, implicitPrefs=True, seed=seed,
        userCol="user", itemCol="code", ratingCol="rating",
    )  # fmt: skip
    model = als.fit(ratings)
    of_items = model.itemFactors.toPandas()  # a row per item of the table
    factors = np.zeros((len(knowledge.value.table), RANK), dtype=np.float32)
    factors[of_items["id"].to_numpy()] = np.stack(list(of_items["features"]))
    shared = used.sparkSession.sparkContext.broadcast(factors)
    histories = judged.groupBy("user_id").agg(F.first(number).alias("user"), F.collect_list("code").alias("codes"))
    described = histories.join(model.userFactors.withColumnRenamed("id", "user"), "user")

    def rank(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start in range(0, batch.num_rows, _USERS_AT_ONCE):
                part = batch.slice(start, _USERS_AT_ONCE)
                own, of_users = part.column("codes"), part.column("features").flatten().to_numpy().reshape(part.num_rows, RANK)
                scores = of_users.astype(np.float32) @ shared.value.T
                names = part.column("user_id").to_numpy(zero_copy_only=False)
                yield list_best("all", "als", scores, names, knowledge.value, k)
                scores[np.repeat(np.arange(part.num_rows), own.value_lengths().to_numpy()), own.flatten().to_numpy()] = -np.inf
                yield list_best("new", "als", scores, names, knowledge.value, k)

    return described.mapInArrow(rank, LISTS)
