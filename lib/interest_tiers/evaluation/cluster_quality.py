"""How much the clusters as of a cutoff say about what users did after it: interests, and items new to a user."""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.evaluation.ranking_quality import measure_lists, measure_popularity, name_lists
from interest_tiers.intervals import Estimate, assign_bucket, divide_sums, estimate
from interest_tiers.slices import Slice
from interest_tiers.spark.materialise import Materialise
from interest_tiers.spark.sampling import sample_by_hash

#: What the metrics call lists by popularity in the user's clusters, and by popularity among all.
BY_CLUSTERS, BY_ALL = "cluster_popularity", "user_popularity"

#: What the metrics call the users with a cluster.
CLUSTERED = "clustered"

#: Users of the mean share of all that smooth a cluster's mean shares.
SMOOTHING_USERS = 10.0

#: Days of the mean share of all that smooth a user's own history; the best of them counts.
SMOOTHING_DAYS = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)

#: A share is never below this, since a user may turn to what nobody had.
SMALLEST_SHARE = 1e-7

#: Items of a cluster from which its lists are made; users of the popularity of all that smooth the cluster's.
POOL, SMOOTHING_OF_ITEMS = 200, 30.0


def measure_interest_lift(pairs: DataFrame, primary: DataFrame, future: DataFrame, samples: int) -> dict[Slice, dict[str, Estimate]]:
    """Measure how much better cluster means predict the shares of interests in the horizon than the mean of all users.

    The log-likelihood of a user's future shares is taken under the mean shares of the cluster, the user left out, minus that
    under the mean of all. It is a share of what the user's own smoothed history gains.

    pairs:   (user_id, interest_id, evidence, share, ...) before the cutoff, of the finest level
    primary: (user_id, cluster_id), one row per user
    future:  (user_id, interest_id, evidence double), of the horizon
    Returns: interest_lift of the clusters, and n_users; nothing where the own histories gain nothing
    """
    rows = _score_users(pairs, primary, future)
    sums = rows.groupBy("bucket").agg(
        F.count(F.lit(1)).alias("users"), *[F.sum(name).alias(name) for name in ("by_cluster", "by_all", *_OWN)]
    )
    found = sums.orderBy("bucket").toPandas()  # a row per bucket of the bootstrap
    if found.empty:
        return {}
    best = max(_OWN, key=lambda name: float(found[name].to_numpy().sum()))
    by_cluster, own = (found[name].to_numpy() - found["by_all"].to_numpy() for name in ("by_cluster", best))
    if own.sum() <= 0:
        return {}
    lift = estimate([by_cluster, own], divide_sums, samples)
    return {Slice(model="clusters"): {"interest_lift": lift, "n_users": Estimate(float(found["users"].sum()))}}


_OWN = [f"own_{number}" for number in range(len(SMOOTHING_DAYS))]


def _score_users(pairs: DataFrame, primary: DataFrame, future: DataFrame) -> DataFrame:
    """Compute the log-likelihoods of every user with a future: (bucket, user_id, by_cluster, by_all, own_0, ...)."""
    known = pairs.where("share > 0").join(primary, "user_id").select("user_id", "cluster_id", "interest_id", "share", "evidence")
    n_users = F.count_distinct("user_id")
    of_clusters = known.groupBy("cluster_id").agg(n_users.alias("cluster_users"))
    everyone = known.agg(n_users.alias("users"))
    in_cluster = known.groupBy("cluster_id", "interest_id").agg(F.sum("share").alias("cluster_sum"))
    in_all = known.groupBy("interest_id").agg(F.sum("share").alias("all_sum"))
    totals = known.groupBy("user_id").agg(F.sum("evidence").alias("total"))
    # Interests that nobody had before the cutoff say nothing of a model that knows the past.
    wanted = future.where("evidence > 0").join(F.broadcast(in_all), "interest_id").join(totals, "user_id").join(primary, "user_id")
    share = F.col("evidence") / F.sum("evidence").over(Window.partitionBy("user_id"))
    wanted = wanted.select("user_id", "cluster_id", "interest_id", "all_sum", "total", share.alias("future"))
    own = known.select("user_id", "interest_id", "share", "evidence")
    rows = wanted.join(own, ["user_id", "interest_id"], "left").na.fill(0.0, ["share", "evidence"])
    rows = rows.join(F.broadcast(in_cluster), ["cluster_id", "interest_id"], "left").na.fill(0.0, ["cluster_sum"])
    rows = rows.join(F.broadcast(of_clusters), "cluster_id").crossJoin(F.broadcast(everyone))
    of_all = F.col("all_sum") / F.col("users")
    others_sum, others = F.col("cluster_sum") - F.col("share"), F.col("cluster_users") - 1
    parts = {
        "by_cluster": (others_sum + SMOOTHING_USERS * of_all) / (others + SMOOTHING_USERS),
        "by_all": (F.col("all_sum") - F.col("share")) / F.greatest(F.col("users") - 1, F.lit(1)),
        **{name: (F.col("evidence") + days * of_all) / (F.col("total") + days) for name, days in zip(_OWN, SMOOTHING_DAYS, strict=True)},
    }
    logs = {name: F.sum(F.col("future") * F.log(F.greatest(part, F.lit(SMALLEST_SHARE)))) for name, part in parts.items()}
    scored = rows.groupBy("user_id").agg(*[total.alias(name) for name, total in logs.items()])
    return scored.withColumn("bucket", assign_bucket())


def rank_cluster_items(own_items: DataFrame, user_clusters: DataFrame, users: DataFrame, k: int) -> DataFrame:
    """Rank for every user the new items that are most popular in the user's clusters, by membership.

    A cluster's popularity is smoothed by SMOOTHING_OF_ITEMS users of all.

    own_items:     (user_id, item_id), what users have had
    user_clusters: (user_id, cluster_id, membership, is_primary)
    users:         (user_id), those who get a list
    Returns:       (user_id, item_id, rank), at most k rows per user
    """
    primary = user_clusters.where("is_primary").select("user_id", "cluster_id")
    sizes = primary.groupBy("cluster_id").agg(F.count(F.lit(1)).alias("size"))
    held = own_items.join(primary, "user_id").groupBy("cluster_id", "item_id").agg(F.count(F.lit(1)).alias("n"))
    of_item = F.sum("n").over(Window.partitionBy("item_id"))
    everyone = primary.agg(F.count(F.lit(1)).alias("everyone"))
    smoothed = F.lit(SMOOTHING_OF_ITEMS) * F.col("of_item") / F.col("everyone")
    scored = (
        held.withColumn("of_item", of_item)
        .join(F.broadcast(sizes), "cluster_id")
        .crossJoin(F.broadcast(everyone))
        .withColumn("popularity", (F.col("n") + smoothed) / (F.col("size") + SMOOTHING_OF_ITEMS))
    )
    place = F.row_number().over(Window.partitionBy("cluster_id").orderBy(F.desc("popularity"), "item_id"))
    pool = scored.withColumn("place", place).where(F.col("place") <= POOL).select("cluster_id", "item_id", "popularity")
    offered = users.join(user_clusters.select("user_id", "cluster_id", "membership"), "user_id").join(F.broadcast(pool), "cluster_id")
    summed = offered.groupBy("user_id", "item_id").agg(F.sum(F.col("membership") * F.col("popularity")).alias("score"))
    unseen = summed.join(own_items.select("user_id", "item_id"), ["user_id", "item_id"], "left_anti")
    rank = F.row_number().over(Window.partitionBy("user_id").orderBy(F.desc(F.round("score", 9)), "item_id"))
    return unseen.select("user_id", "item_id", rank.alias("rank")).where(F.col("rank") <= k)


def measure_list_lift(
    had: DataFrame, user_clusters: DataFrame, wanted: DataFrame, max_users: int, k: int, samples: int, materialise: Materialise
) -> dict[Slice, dict[str, Estimate]]:
    """Measure lists of new items by popularity in the user's clusters, against popularity among all users.

    had:           (user_id, item_id) before the cutoff, of the items that count
    user_clusters: (user_id, cluster_id, membership, is_primary)
    wanted:        (user_id, item_id), what users turned to in the horizon
    Returns:       the measures of ranking_quality.measure_lists, of users=clustered; and list_lift: NDCG of cluster_popularity over
                   that of popularity among all
    """
    new = wanted.join(had, ["user_id", "item_id"], "left_anti").join(had.select("item_id").distinct(), "item_id", "left_semi")
    new = new.join(user_clusters.where("is_primary").select("user_id"), "user_id", "left_semi")
    users = new.select("user_id").distinct()
    truth = materialise(
        "truth", sample_by_hash(new, "user_id", max_users, users.count()).select(F.lit("new").alias("items"), "user_id", "item_id")
    )
    users = truth.select("user_id").distinct()
    in_one = (F.lit("all").alias("cluster_id"), F.lit(1.0).alias("membership"), F.lit(True).alias("is_primary"))
    everyone = user_clusters.where("is_primary").select("user_id", *in_one)
    lists = [
        name_lists("new", name, rank_cluster_items(had, clusters, users, k))
        for name, clusters in ((BY_CLUSTERS, user_clusters), (BY_ALL, everyone))
    ]
    ranked = materialise("lists", lists[0].unionByName(lists[1]))
    measured = measure_lists(ranked, truth, measure_popularity(had), k, samples, BY_CLUSTERS)
    ours, theirs = (measured.get(Slice(items="new", model=name), {}).get(f"ndcg@{k}") for name in (BY_CLUSTERS, BY_ALL))
    if ours is not None and theirs is not None and theirs.value > 0:
        measured[Slice(items="new", model=BY_CLUSTERS)]["list_lift"] = Estimate(ours.value / theirs.value)
    # Apart from the recommender's lists, which are judged on other users and have a reference of their own.
    return {replace(where, users=CLUSTERED): metrics for where, metrics in measured.items()}
