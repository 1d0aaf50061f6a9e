"""What sets each cluster apart, as bars, and how clusters began and ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.report.language import N_

#: Clusters with a profile, the largest first, and the bars of one.
PROFILES_LIMIT, BARS_LIMIT = 24, 6

#: Changes that are listed; a refit has at most one per old and new cluster.
CHANGES_LIMIT = 200

#: What happened to a cluster in a refit, in the order of the table.
CHANGES = {
    "born": N_("began"),
    "split": N_("split from"),
    "merged": N_("merged into"),
    "died": N_("ended"),
    "kept": N_("kept"),
}


@dataclass(frozen=True)
class ProfileBar:
    """An interest of a cluster. share: mean share of its users' evidence; lift: that share over the one of all users."""

    interest: str
    share: float
    lift: float


@dataclass(frozen=True)
class Profile:
    """The most characteristic interests of a cluster, in the order of the table clusters."""

    cluster_id: str
    name: str
    bars: tuple[ProfileBar, ...]


@dataclass(frozen=True)
class ClusterChange:
    """What happened to one cluster when clusters were fitted. shared: users who are in both clusters."""

    change: str  # a key of CHANGES
    name: str
    other: str  # the cluster that it split from or merged into, or nothing
    shared: int


@dataclass(frozen=True)
class ClusterHistory:
    """The fit of the clusters of one as_of."""

    fitted_as_of: date
    changes: tuple[ClusterChange, ...]

    @property
    def kept(self) -> int:
        """The number of clusters that kept their id."""
        return sum(change.change == "kept" for change in self.changes)

    @property
    def others(self) -> tuple[ClusterChange, ...]:
        """The changes but the clusters that were kept."""
        return tuple(change for change in self.changes if change.change != "kept")


def build_profiles(clusters: DataFrame, user_clusters: DataFrame, user_interests: DataFrame, interests: DataFrame) -> tuple[Profile, ...]:
    """Measure the lift of the most characteristic interests of the largest clusters.

    clusters:       (cluster_id, name, size, top_interests array<string>)
    user_clusters:  (user_id, cluster_id, is_primary)
    user_interests: (user_id, interest_id, share), of one level
    interests:      (interest_id, name)
    """
    largest = clusters.orderBy(F.desc("size"), "cluster_id").limit(PROFILES_LIMIT)
    rows = largest.select("cluster_id", "name", "size", F.slice("top_interests", 1, BARS_LIMIT).alias("top_interests")).collect()
    wanted = sorted({name for row in rows for name in row["top_interests"]})
    sizes = {row["cluster_id"]: row["size"] for row in rows}
    if not wanted:
        return ()
    primary = user_clusters.where("is_primary").select("user_id", "cluster_id")
    named = interests.where(F.col("name").isin(wanted)).select("interest_id", F.col("name").alias("interest"))
    held = user_interests.where("share > 0").select("user_id", "interest_id", "share").join(F.broadcast(named), "interest_id")
    sums = held.join(primary, "user_id").groupBy("interest", "cluster_id").agg(F.sum("share").alias("share"))
    total = clusters.agg(F.sum("size")).collect()[0][0]
    of_all: dict[str, float] = {}
    of_cluster: dict[tuple[str, str], float] = {}
    for row in sums.collect():  # at most PROFILES_LIMIT times BARS_LIMIT interests, by cluster
        of_all[row["interest"]] = of_all.get(row["interest"], 0.0) + row["share"] / total
        of_cluster[row["cluster_id"], row["interest"]] = row["share"] / sizes.get(row["cluster_id"], total)
    return tuple(
        Profile(row["cluster_id"], row["name"], _list_bars(row["cluster_id"], row["top_interests"], of_cluster, of_all)) for row in rows
    )


def _list_bars(
    cluster_id: str, names: list[str], of_cluster: Mapping[tuple[str, str], float], of_all: Mapping[str, float]
) -> tuple[ProfileBar, ...]:
    shares = ((name, of_cluster.get((cluster_id, name), 0.0)) for name in names)
    return tuple(ProfileBar(name, share, share / of_all[name]) for name, share in shares if share)


def read_history(models: DataFrame, clusters: DataFrame, names: DataFrame) -> ClusterHistory | None:
    """Read what happened when the clusters were fitted; None where their model is not on record.

    models:   (model_version, fitted_as_of, changes array<struct<cluster_id, change, other_id, shared>>)
    clusters: (cluster_id, model_version)
    names:    (cluster_id, name, as_of), of all days up to this one; the latest name counts
    """
    version = clusters.select("model_version").distinct()
    found = models.join(F.broadcast(version), "model_version", "left_semi").select("fitted_as_of", "changes").first()
    if found is None:
        return None
    changes = (found["changes"] or [])[:CHANGES_LIMIT]
    ids = {each for change in changes for each in (change["cluster_id"], change["other_id"]) if each}
    latest = names.where(F.col("cluster_id").isin(*ids)).groupBy("cluster_id").agg(F.max_by("name", "as_of").alias("name"))
    known = {row["cluster_id"]: row["name"] for row in latest.collect()} if ids else {}  # CHANGES_LIMIT
    listed = [
        ClusterChange(change["change"], known.get(own, own), known.get(other, other), change["shared"])
        for change in changes
        for own, other in [(change["cluster_id"], change["other_id"] or "")]
    ]
    order = list(CHANGES)
    return ClusterHistory(found["fitted_as_of"], tuple(sorted(listed, key=lambda c: (order.index(c.change), -c.shared, c.name))))
