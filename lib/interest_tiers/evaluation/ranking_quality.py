"""How good ranked lists of items are against what users turned to next."""

from __future__ import annotations

import math

import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import summed_evidence
from interest_tiers.intervals import Estimate, assign_bucket, divide_sums, estimate
from interest_tiers.slices import Slice


def find_future_items(days_after: DataFrame, own_items: DataFrame, catalogue: DataFrame, users: DataFrame) -> DataFrame:
    """Find what the judged users turned to in the horizon: the ground truth.

    days_after: (user_id, item_id, weight, ...) of the horizon; an item that was given back or disliked in sum is no wish
    own_items:  (user_id, item_id) before the cutoff
    catalogue:  (item_id), what can be recommended
    users:      (user_id), the judged ones
    Returns:    (items, user_id, item_id); items is all, or new for items that the user did not have before the cutoff
    """
    wanted = days_after.groupBy("user_id", "item_id").agg(summed_evidence(F.col("weight")).alias("evidence")).where("evidence > 0")
    touched = wanted.drop("evidence").join(users, "user_id", "left_semi").join(catalogue, "item_id", "left_semi")
    new = touched.join(own_items.select("user_id", "item_id"), ["user_id", "item_id"], "left_anti")
    return _label_items("all", touched).unionByName(_label_items("new", new))


def name_lists(items: str, model: str, lists: DataFrame) -> DataFrame:
    """Add the names of a slice of items and of a model: (items, model, user_id, item_id, rank)."""
    return lists.select(F.lit(items).alias("items"), F.lit(model).alias("model"), "user_id", "item_id", "rank")


def measure_lists(
    lists: DataFrame, truth: DataFrame, n_catalogue: int, k: int, samples: int, reference: str
) -> dict[Slice, dict[str, Estimate]]:
    """Measure every model's lists, and how far they are from those of a reference model.

    lists:     (items, model, user_id, item_id, rank from 1 to k)
    truth:     (items, user_id, item_id), see find_future_items; a user without a list scores 0
    reference: the model that the others are compared with
    Returns:   for items=X,model=A: ndcg@k, recall@k, precision@k (means over users with a future item), coverage@k and n_users;
               for items=X,model=A,minus=reference: the mean over the same users of the difference of their ndcg, recall and precision

    NDCG has binary gains, the discount log2(rank + 1) and the best possible list as its ideal (Järvelin and Kekäläinen 2002).
    """
    coverage = _measure_coverage(lists, truth, n_catalogue)
    metrics = [f"{name}@{k}" for name in ("ndcg", "recall", "precision")]
    measured: dict[Slice, dict[str, Estimate]] = {}
    for (items, model), sums in _sum_scores(lists, truth, k, metrics, reference).groupby(["items", "model"]):
        one, users = Slice(items=str(items), model=str(model)), sums["users"].to_numpy()
        measured[one] = {
            **{name: estimate([sums[name].to_numpy(), users], divide_sums, samples) for name in metrics},
            f"coverage@{k}": Estimate(coverage.get((str(items), str(model)), 0.0)),
            "n_users": Estimate(float(users.sum())),
        }
        if model != reference and sums[f"{metrics[0]}_difference"].notna().all():
            measured[Slice(items=one.items, model=one.model, minus=reference)] = {
                name: estimate([sums[f"{name}_difference"].to_numpy(), users], divide_sums, samples) for name in metrics
            }
    return measured


def _sum_scores(lists: DataFrame, truth: DataFrame, k: int, metrics: list[str], reference: str) -> pd.DataFrame:
    """Sum scores of users: items, model, bucket, users, and per metric its sum and that of its difference from the reference.

    The differences are null where the reference has no lists of these items.
    """
    sought = truth.groupBy("items", "user_id").agg(F.count(F.lit(1)).alias("n_sought"))
    models = lists.select("items", "model").distinct()
    found = (
        lists.join(truth, ["items", "user_id", "item_id"])
        .groupBy("items", "model", "user_id")
        .agg(F.count(F.lit(1)).alias("hits"), F.sum(1 / F.log2(F.col("rank") + 1)).alias("gain"))
    )
    judged = sought.join(F.broadcast(models), "items").join(found, ["items", "model", "user_id"], "left").na.fill(0, ["hits", "gain"])
    values = [F.col("gain") / _ideal_gain(F.col("n_sought"), k), F.col("hits") / F.col("n_sought"), F.col("hits") / F.lit(k)]
    scores = judged.select("items", "model", "user_id", *[value.alias(name) for value, name in zip(values, metrics, strict=True)])
    of_user = Window.partitionBy("items", "user_id")
    differences = {
        f"{name}_difference": F.col(name) - F.max(F.when(F.col("model") == reference, F.col(name))).over(of_user) for name in metrics
    }
    paired = scores.withColumns(differences)
    sums = paired.groupBy("items", "model", assign_bucket().alias("bucket")).agg(
        F.count(F.lit(1)).alias("users"), *[F.sum(name).alias(name) for name in (*metrics, *differences)]
    )
    return sums.orderBy("items", "model", "bucket").toPandas()  # lists times buckets


def _measure_coverage(lists: DataFrame, truth: DataFrame, n_catalogue: int) -> dict[tuple[str, str], float]:
    """Measure the share of the catalogue that is in the judged users' lists, by items and model."""
    covered = lists.join(truth.select("items", "user_id").distinct(), ["items", "user_id"], "left_semi").groupBy("items", "model")
    coverage = covered.agg((F.countDistinct("item_id") / F.lit(n_catalogue)).alias("coverage"))
    return {(row["items"], row["model"]): row["coverage"] for row in coverage.collect()}  # a row per list


def _label_items(items: str, frame: DataFrame) -> DataFrame:
    return frame.select(F.lit(items).alias("items"), "user_id", "item_id")


def _ideal_gain(n_sought: Column, k: int) -> Column:
    gains = [1 / math.log2(rank + 1) for rank in range(1, k + 1)]
    cumulated = F.array(*[F.lit(sum(gains[:n])) for n in range(1, k + 1)])
    return F.element_at(cumulated, F.least(n_sought, F.lit(k)).cast("int"))
