"""Describe clusters for people: a name, the interests, items and attributes that set a cluster apart, and its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

#: Interests and items that are listed, and interests in a name.
TOP_INTERESTS, TOP_ITEMS, NAMING_INTERESTS = 8, 8, 3

#: Interests and items from which those are taken: several clusters may have the same, and several items the same text.
POOL = 40

#: Attributes that are listed, and users of a cluster who must have each: fewer are chance, and could be identified.
TOP_ATTRIBUTES, ATTRIBUTE_USERS = 5, 10

#: An interest names a cluster if it holds so much of the cluster's evidence, an item if so many of its users had it.
INTEREST_FLOOR, ITEM_FLOOR = 0.005, 0.05

#: An attribute is listed if so many of the cluster's users have the value, and so many times as many as of all users.
ATTRIBUTE_FLOOR, ATTRIBUTE_LIFT = 0.05, 1.2

ATTRIBUTES = "array<struct<name: string, value: string, share: double, lift: double>>"

CLUSTERS = (
    "cluster_id string, name string, size bigint, previous_size bigint, centroid array<float>, silhouette double, "
    f"top_interests array<string>, top_items array<string>, top_attributes {ATTRIBUTES}"
)


@dataclass(frozen=True)
class Candidate:
    """An interest or an item of a cluster: its label, its share in the cluster, and that share over the share of all users."""

    label: str
    share: float
    lift: float


def describe_clusters(
    user_clusters: DataFrame,
    pairs: DataFrame,
    names: DataFrame,
    had: DataFrame,
    items: DataFrame,
    centroids: Mapping[str, np.ndarray],
    previous: DataFrame | None,
    attributes: DataFrame | None = None,
) -> DataFrame:
    """Describe every cluster that is the primary one of some user.

    user_clusters: (user_id, cluster_id, is_primary, silhouette, ...), see membership.compute_memberships
    pairs:         (user_id, interest_id, share, ...)
    names:         (interest_id, name)
    had:           (user_id, item_id), each once
    items:         (item_id, text, ...)
    centroids:     cluster_id to centroid
    previous:      (user_id, cluster_id) of the latest earlier day; None where there is none
    attributes:    (user_id, attributes map<string,string>); None without a source of users
    Returns:       CLUSTERS; silhouette is the mean over users, previous_size null for a cluster that nobody was in
    """
    primary = user_clusters.where("is_primary").select("user_id", "cluster_id", "silhouette")
    sizes = primary.groupBy("cluster_id").agg(F.count(F.lit(1)).alias("size"), F.avg("silhouette").alias("silhouette"))
    rows = {row["cluster_id"]: row for row in sizes.collect()}  # a row per cluster
    before = {row["cluster_id"]: row["count"] for row in previous.groupBy("cluster_id").count().collect()} if previous is not None else {}
    users = {each: row["size"] for each, row in rows.items()}
    interests, listed = _read_interests(primary, pairs, names, users), _read_items(primary, had, items, users)
    apart = {} if attributes is None else _read_attributes(primary, attributes)
    order = sorted(rows, key=lambda each: (-rows[each]["size"], each))
    ranked = {each: rank_candidates(interests.get(each, []), INTEREST_FLOOR) for each in order}
    named = name_apart(ranked)
    described = [
        (
            each, named[each], rows[each]["size"], before.get(each), [float(x) for x in centroids[each]], rows[each]["silhouette"],
            ranked[each][:TOP_INTERESTS], rank_candidates(listed.get(each, []), ITEM_FLOOR)[:TOP_ITEMS], apart.get(each, []),
        )
        for each in order
    ]  # fmt: skip
    return user_clusters.sparkSession.createDataFrame(described, CLUSTERS)


def rank_candidates(candidates: Sequence[Candidate], floor: float) -> list[str]:
    """Rank labels by lift among those whose share reaches the floor, then the others by share; each label once."""
    widely = [each for each in candidates if each.share >= floor]
    rest = [each for each in candidates if each.share < floor]
    # Rounded, so that labels that tie (all of them where there is one cluster) fall back to their share.
    by_lift = sorted(widely, key=lambda each: (-round(each.lift, 6), -round(each.share, 9), each.label))
    by_share = sorted(rest, key=lambda each: (-round(each.share, 9), each.label))
    return list(dict.fromkeys(each.label for each in (*by_lift, *by_share)))


def name_apart(ranked: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Name clusters by their first interests, such that no two names share one as long as there are others.

    ranked: cluster_id to interests, the most characteristic first; clusters in the order in which they choose
    """
    used: set[str] = set()
    named = {}
    for cluster_id, interests in ranked.items():
        free = [each for each in interests if each not in used][:NAMING_INTERESTS] or list(interests[:NAMING_INTERESTS])
        used.update(free)
        named[cluster_id] = " · ".join(_in_sentence(each, first=place == 0) for place, each in enumerate(free)) or cluster_id
    return named


def _in_sentence(name: str, first: bool) -> str:
    """Write a name that is all capitals in small letters, with a capital where it comes first; keep any other name."""
    if not name.isupper():
        return name
    return name[:1] + name[1:].lower() if first else name.lower()


def _read_interests(primary: DataFrame, pairs: DataFrame, names: DataFrame, sizes: Mapping[str, int]) -> dict[str, list[Candidate]]:
    """Read the interests that set every cluster apart; share is the mean share of the cluster's users."""
    held = pairs.where("share > 0 AND share <= 1").join(primary, "user_id").repartition("interest_id").groupBy("interest_id", "cluster_id")
    return _collect_pool(held.agg(F.sum("share").alias("users")), "interest_id", names.withColumnRenamed("name", "label"), sizes)


def _read_items(primary: DataFrame, had: DataFrame, items: DataFrame, sizes: Mapping[str, int]) -> dict[str, list[Candidate]]:
    """Read the items that set every cluster apart; share is that of the cluster's users who had the item."""
    held = had.join(primary, "user_id").repartition("item_id").groupBy("item_id", "cluster_id")
    counted = held.agg(F.count(F.lit(1)).cast("double").alias("users"))
    return _collect_pool(counted, "item_id", items.select("item_id", F.coalesce("text", "item_id").alias("label")), sizes)


def _read_attributes(primary: DataFrame, users: DataFrame) -> dict[str, list[tuple[str, str, float, float]]]:
    """Read the attributes that set every cluster apart: cluster_id to name, value, share and lift, see clusters.top_attributes.

    Shares are of the users who have the attribute at all.

    users: (user_id, attributes map<string,string>)
    """
    values = users.select("user_id", F.explode("attributes").alias("name", "value")).where(F.col("value").isNotNull())
    counted = values.join(primary, "user_id").groupBy("name", "value", "cluster_id").agg(F.count(F.lit(1)).alias("users"))
    of_cluster = counted.groupBy("name", "cluster_id").agg(F.sum("users").alias("of_cluster"))
    of_name = F.sum("of_cluster").over(Window.partitionBy("name"))
    of_value = F.sum("users").over(Window.partitionBy("name", "value"))
    shares = counted.withColumn("of_value", of_value).join(F.broadcast(of_cluster.withColumn("of_name", of_name)), ["name", "cluster_id"])
    shares = shares.withColumn("share", F.col("users") / F.col("of_cluster"))
    scored = shares.withColumn("lift", F.col("share") * F.col("of_name") / F.col("of_value"))
    apart = (F.col("users") >= ATTRIBUTE_USERS) & (F.col("share") >= ATTRIBUTE_FLOOR) & (F.col("lift") >= ATTRIBUTE_LIFT)
    best = Window.partitionBy("cluster_id").orderBy(F.desc(F.round(F.col("share") * F.log("lift"), 9)), "name", "value")
    top = scored.where(apart).withColumn("place", F.row_number().over(best)).where(F.col("place") <= TOP_ATTRIBUTES)
    found: dict[str, list[tuple[str, str, float, float]]] = {}
    for row in top.orderBy("cluster_id", "place").collect():  # TOP_ATTRIBUTES rows per cluster
        found.setdefault(row["cluster_id"], []).append((row["name"], row["value"], row["share"], row["lift"]))
    return found


def _collect_pool(held: DataFrame, key: str, labels: DataFrame, sizes: Mapping[str, int]) -> dict[str, list[Candidate]]:
    """Collect the POOL largest parts of the divergence of every cluster from all users: cluster_id to candidates.

    With the share s_c in a cluster and s of all users, the part is s_c * ln(s_c / s) (Kullback and Leibler 1951).

    held:   (key, cluster_id, users double), by key; users who have it, or their shares
    labels: (key, label)
    """
    of_clusters = [(cluster_id, float(size)) for cluster_id, size in sizes.items()]
    size = F.broadcast(held.sparkSession.createDataFrame(of_clusters, "cluster_id string, size double"))
    of_all = F.sum("users").over(Window.partitionBy(key)) / F.lit(float(max(1, sum(sizes.values()))))
    shares = held.withColumn("of_all", of_all).join(size, "cluster_id").withColumn("share", F.col("users") / F.col("size"))
    scored = shares.withColumn("lift", F.col("share") / F.col("of_all"))
    best = Window.partitionBy("cluster_id").orderBy(F.desc(F.round(F.col("share") * F.log("lift"), 9)), F.desc("share"), key)
    top = scored.withColumn("place", F.row_number().over(best)).where(F.col("place") <= POOL).join(labels, key)
    found: dict[str, list[Candidate]] = {}
    for row in top.select("cluster_id", "label", "share", "lift").collect():  # POOL rows per cluster
        found.setdefault(row["cluster_id"], []).append(Candidate(row["label"], row["share"], row["lift"]))
    return found
