"""How good ranked lists of items are against what users turned to next."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.intervals import Estimate, assign_bucket, divide_sums, estimate
from interest_tiers.recommend.item_use import find_used
from interest_tiers.slices import Slice


def find_future_items(days_after: DataFrame, own_items: DataFrame, catalogue: DataFrame, users: DataFrame) -> DataFrame:
    """Find what the judged users turned to in the horizon: the ground truth.

    days_after: (user_id, item_id, weight, ...) of the horizon; an item that was given back or disliked in sum is no wish
    own_items:  (user_id, item_id) before the cutoff
    catalogue:  (item_id), what can be recommended
    users:      (user_id), the judged ones
    Returns:    (items, user_id, item_id); items is all, or new for items that the user did not have before the cutoff
    """
    touched = find_used(days_after).join(users, "user_id", "left_semi").join(catalogue, "item_id", "left_semi")
    new = touched.join(own_items.select("user_id", "item_id"), ["user_id", "item_id"], "left_anti")
    return _label_items("all", touched).unionByName(_label_items("new", new))


def measure_popularity(had: DataFrame) -> DataFrame:
    """Measure which share of the users has had each item.

    had:     (user_id, item_id), one row per pair
    Returns: (item_id, user_share double)
    """
    n_users = F.lit(float(max(1, had.select("user_id").distinct().count())))
    return had.groupBy("item_id").agg((F.count(F.lit(1)) / n_users).alias("user_share"))


def name_lists(items: str, model: str, lists: DataFrame) -> DataFrame:
    """Add the names of a slice of items and of a model: (items, model, user_id, item_id, rank)."""
    return lists.select(F.lit(items).alias("items"), F.lit(model).alias("model"), "user_id", "item_id", "rank")


#: Thirds of the judged users.
ACTIVITY = ("least active third", "medium active third", "most active third")

#: Means over users.
PER_USER = ("ndcg", "recall", "precision", "map", "hit_rate")


def measure_lists(
    lists: DataFrame, truth: DataFrame, popularity: DataFrame, k: int, samples: int, reference: str
) -> dict[Slice, dict[str, Estimate]]:
    """Measure every model's lists, and how far they are from those of a reference model.

    lists:     (items, model, user_id, item_id, rank from 1 to k)
    truth:     (items, user_id, item_id), see find_future_items; a user without a list scores 0
    popularity: (item_id, user_share double > 0), the catalogue, and the share of the users before the cutoff who had an item
    reference: the model that the others are compared with
    Returns:   for items=X,model=A: the means PER_USER over users with a future item, coverage@k, gini@k, novelty@k and n_users;
               for items=X,model=A,minus=reference: the mean over the same users of the difference of their scores

    NDCG has binary gains, the discount log2(rank + 1) and the best possible list as its ideal (Järvelin and Kekäläinen 2002). MAP
    divides by the hits that were possible. Coverage is the share of the catalogue that is in lists, Gini that of how often its
    items are (0: all alike), novelty the mean of -log2(user_share) over the items of lists (Castells et al. 2015).
    """
    spread = _measure_spread(lists, truth, popularity)
    metrics = [f"{name}@{k}" for name in PER_USER]
    measured: dict[Slice, dict[str, Estimate]] = {}
    for (items, model), sums in _sum_scores(lists, truth, k, metrics, reference).groupby(["items", "model"]):
        one, users = Slice(items=str(items), model=str(model)), sums["users"].to_numpy()
        measured[one] = {
            **{name: estimate([sums[name].to_numpy(), users], divide_sums, samples) for name in metrics},
            **{f"{name}@{k}": Estimate(value) for name, value in spread.get((str(items), str(model)), NOTHING).items()},
            "n_users": Estimate(float(users.sum())),
        }
        if model != reference and sums[f"{metrics[0]}_difference"].notna().all():
            measured[Slice(items=one.items, model=one.model, minus=reference)] = {
                name: estimate([sums[f"{name}_difference"].to_numpy(), users], divide_sums, samples) for name in metrics
            }
    return measured


def group_by_activity(active: DataFrame, users: DataFrame) -> DataFrame:
    """Put users into thirds by their days of activity: (user_id, users), users ACTIVITY. Equal numbers of days are never parted.

    active: (user_id, active_days, ...)
    """
    known = active.join(users, "user_id", "left_semi").select("user_id", "active_days")
    bounds = known.agg(F.percentile_approx("active_days", [1 / 3, 2 / 3]).alias("bounds"))
    least, medium, most = (F.lit(name) for name in ACTIVITY)
    third = (
        F.when(F.col("active_days") <= F.col("bounds")[0], least).when(F.col("active_days") <= F.col("bounds")[1], medium).otherwise(most)
    )
    return known.crossJoin(F.broadcast(bounds)).select("user_id", third.alias("users"))  # one row


def measure_groups(
    lists: DataFrame, truth: DataFrame, popularity: DataFrame, groups: DataFrame, k: int, samples: int, reference: str
) -> dict[Slice, dict[str, Estimate]]:
    """Measure the lists of groups of users, each by itself. See measure_lists, for the slices with users=GROUP as well.

    groups: (user_id, users), a user may be in several; names have no comma and no equals sign
    """
    parted = F.concat_ws("=", "items", "users").alias("items")

    def part(frame: DataFrame) -> DataFrame:
        return frame.join(groups, "user_id").select(parted, *[name for name in frame.columns if name != "items"])

    measured = measure_lists(part(lists), part(truth), popularity, k, samples, reference)
    named = {}
    for where, metrics in measured.items():
        items, _, users = str(where.items).partition("=")
        named[replace(where, items=items, users=users)] = metrics
    return named


def measure_lists_as_wholes(lists: DataFrame, truth: DataFrame) -> dict[Slice, dict[str, Estimate]]:
    """Measure diversity and miscalibration of the judged users' lists, by items and model.

    Diversity is the mean of 1 - cosine over pairs of items in one list whose texts the language model can read (Ziegler et al.
    2005). Miscalibration is the mean over users of the divergence of the list's tiers from theirs (Steck 2018), in nats; the models
    whose lists know no tiers have none.

    lists: see lists.LISTS
    """
    judged = lists.join(truth.select("items", "user_id").distinct(), ["items", "user_id"], "left_semi")
    of_user = judged.groupBy("items", "model", "user_id").agg(
        F.sum("distance").alias("distance"), F.sum("n_above").alias("n_pairs"), F.max_by("divergence", "rank").alias("divergence")
    )
    sums = of_user.groupBy("items", "model").agg(
        (F.sum("distance") / F.sum("n_pairs")).alias("diversity"), F.mean("divergence").alias("miscalibration")
    )
    return {
        Slice(items=row["items"], model=row["model"]): {
            name: Estimate(row[name]) for name in ("diversity", "miscalibration") if row[name] is not None
        }
        for row in sums.orderBy("items", "model").collect()  # a row per model
    }


def _sum_scores(lists: DataFrame, truth: DataFrame, k: int, metrics: list[str], reference: str) -> pd.DataFrame:
    """Sum scores of users: items, model, bucket, users, and per metric its sum and that of its difference from the reference.

    The differences are null where the reference has no lists of these items.
    """
    sought = truth.groupBy("items", "user_id").agg(F.count(F.lit(1)).alias("n_sought"))
    models = lists.select("items", "model").distinct()
    hits = Window.partitionBy("items", "model", "user_id").orderBy("rank")
    found = (
        lists.join(truth, ["items", "user_id", "item_id"])
        .withColumn("n_hits", F.row_number().over(hits))
        .groupBy("items", "model", "user_id")
        .agg(
            F.count(F.lit(1)).alias("hits"),
            F.sum(1 / F.log2(F.col("rank") + 1)).alias("gain"),
            F.sum(F.col("n_hits") / F.col("rank")).alias("precisions"),
        )
    )
    judged = (
        sought.join(F.broadcast(models), "items")
        .join(found, ["items", "model", "user_id"], "left")
        .na.fill(0, ["hits", "gain", "precisions"])
    )
    values = [
        F.col("gain") / _ideal_gain(F.col("n_sought"), k),
        F.col("hits") / F.col("n_sought"),
        F.col("hits") / F.lit(k),
        F.col("precisions") / F.least(F.col("n_sought"), F.lit(k)),
        (F.col("hits") > 0).cast("double"),
    ]
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


#: The spread of a model without lists.
NOTHING = {"coverage": 0.0}


def _measure_spread(lists: DataFrame, truth: DataFrame, popularity: DataFrame) -> dict[tuple[str, str], dict[str, float]]:
    """Measure coverage, Gini and novelty of the judged users' lists, by items and model."""
    judged = lists.join(truth.select("items", "user_id").distinct(), ["items", "user_id"], "left_semi")
    shown = judged.groupBy("items", "model", "item_id").agg(F.count(F.lit(1)).alias("times")).join(popularity, "item_id")
    # Many items are shown equally often: one row per model and number of times, and not per item.
    counted = shown.groupBy("items", "model", "times").agg(
        F.count(F.lit(1)).alias("n_items"), F.sum(-F.log2("user_share") * F.col("times")).alias("novelty")
    )
    n_catalogue = popularity.count()
    measured = {}
    for (items, model), rows in counted.toPandas().sort_values("times").groupby(["items", "model"]):
        times, n_items = rows["times"].to_numpy(dtype=float), rows["n_items"].to_numpy(dtype=float)
        n_shown = float((times * n_items).sum())
        measured[str(items), str(model)] = {
            "coverage": float(n_items.sum()) / n_catalogue,
            "gini": _measure_gini(times, n_items, n_catalogue),
            "novelty": float(rows["novelty"].sum()) / n_shown,
        }
    return measured


def _measure_gini(times: np.ndarray, n_items: np.ndarray, n_catalogue: int) -> float:
    """Measure how unequally often items are shown, 0 to 1. n_items: shown so many times, ascending; the others never."""
    before = n_catalogue - n_items.sum() + np.concatenate([[0], n_items.cumsum()[:-1]])
    # Of n values in ascending order, the sum of (2 place - n - 1) value over n times their sum; places of equal ones are consecutive.
    places = n_items * (2 * before + n_items + 1)
    total = (times * n_items).sum()
    return float((times * (places - n_items * (n_catalogue + 1))).sum() / (n_catalogue * total))


def _label_items(items: str, frame: DataFrame) -> DataFrame:
    return frame.select(F.lit(items).alias("items"), "user_id", "item_id")


def _ideal_gain(n_sought: Column, k: int) -> Column:
    gains = [1 / math.log2(rank + 1) for rank in range(1, k + 1)]
    cumulated = F.array(*[F.lit(sum(gains[:n])) for n in range(1, k + 1)])
    return F.element_at(cumulated, F.least(n_sought, F.lit(k)).cast("int"))
