"""How good ranked lists of items are against what users turned to next."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.evaluation.intervals import Estimate, bucket, estimate, ratio


@dataclass(frozen=True)
class ListQuality:
    """The judged lists of one model on one slice of items."""

    items: str
    model: str
    metrics: dict[str, Estimate]


def future_items(days_after: DataFrame, own_items: DataFrame, catalogue: DataFrame, users: DataFrame) -> DataFrame:
    """What the judged users turned to in the horizon: items (all or new), user_id, item_id.

    days_after: user_id, item_id, weight, … of the horizon; a day that only took evidence away says nothing of a wish.
    own_items: user_id, item_id before the cut. catalogue: item_id of what can be recommended. users: user_id of the judged.
    """
    wanted = days_after.where("weight > 0").select("user_id", "item_id").distinct()
    touched = wanted.join(users, "user_id", "left_semi").join(catalogue, "item_id", "left_semi")
    new = touched.join(own_items.select("user_id", "item_id"), ["user_id", "item_id"], "left_anti")
    return _in_slice("all", touched).unionByName(_in_slice("new", new))


def in_lists(items: str, model: str, lists: DataFrame) -> DataFrame:
    """Name the lists of a model: items, model, user_id, item_id, rank."""
    return lists.select(F.lit(items).alias("items"), F.lit(model).alias("model"), "user_id", "item_id", "rank")


def ranking_quality(lists: DataFrame, truth: DataFrame, n_catalogue: int, k: int, samples: int) -> list[ListQuality]:
    """ndcg@k, recall@k, precision@k (means over users with something to find), coverage@k and n_users, per list.

    lists: items, model, user_id, item_id, rank from 1 to k. truth: see future_items. A user without a list scores 0.
    NDCG has binary gains, discount log2(rank + 1) and the best list possible as its ideal (Järvelin and Kekäläinen 2002).
    """
    sought = truth.groupBy("items", "user_id").agg(F.count(F.lit(1)).alias("n_sought"))
    models = lists.select("items", "model").distinct()
    found = (
        lists.join(truth, ["items", "user_id", "item_id"])
        .groupBy("items", "model", "user_id")
        .agg(F.count(F.lit(1)).alias("hits"), F.sum(1 / F.log2(F.col("rank") + 1)).alias("gain"))
    )
    judged = sought.join(F.broadcast(models), "items").join(found, ["items", "model", "user_id"], "left").na.fill(0, ["hits", "gain"])
    scores = {
        f"ndcg@{k}": F.col("gain") / _ideal_gain(F.col("n_sought"), k),
        f"recall@{k}": F.col("hits") / F.col("n_sought"),
        f"precision@{k}": F.col("hits") / F.lit(k),
    }
    sums = judged.groupBy("items", "model", bucket().alias("bucket")).agg(
        F.count(F.lit(1)).alias("users"), *[F.sum(score).alias(name) for name, score in scores.items()]
    )
    covered = lists.join(truth.select("items", "user_id").distinct(), ["items", "user_id"], "left_semi").groupBy("items", "model")
    coverage = covered.agg((F.countDistinct("item_id") / F.lit(n_catalogue)).alias("coverage"))
    coverage_of = {(row["items"], row["model"]): row["coverage"] for row in coverage.collect()}  # a row per list
    grouped = sums.orderBy("items", "model", "bucket").toPandas().groupby(["items", "model"])  # lists times buckets
    return [
        ListQuality(
            str(items),
            str(model),
            {
                **{name: estimate([group[name].to_numpy(), group["users"].to_numpy()], ratio, samples) for name in scores},
                f"coverage@{k}": Estimate(coverage_of.get((items, model), 0.0), None, None),
                "n_users": Estimate(float(group["users"].sum()), None, None),
            },
        )
        for (items, model), group in grouped
    ]


def _in_slice(items: str, frame: DataFrame) -> DataFrame:
    return frame.select(F.lit(items).alias("items"), "user_id", "item_id")


def _ideal_gain(n_sought: Column, k: int) -> Column:
    gains = [1 / math.log2(rank + 1) for rank in range(1, k + 1)]
    cumulated = F.array(*[F.lit(sum(gains[:n])) for n in range(1, k + 1)])
    return F.element_at(cumulated, F.least(n_sought, F.lit(k)).cast("int"))
