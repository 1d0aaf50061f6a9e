"""Looks up clusters: all of a day, or one by its id or a part of its name."""

from __future__ import annotations

from datetime import date
from typing import Any

from interest_tiers.errors import WarehouseError
from interest_tiers.lookup.users import find_day
from interest_tiers.storage.row_reader import Row, RowReader

COLUMNS = (
    "cluster_id", "name", "size", "previous_size", "silhouette", "top_interests", "top_items", "top_attributes", "model_version",
)  # fmt: skip


def list_clusters(rows: RowReader, requested: date | None) -> dict[str, Any]:
    """List the clusters of a day, the largest first."""
    as_of = find_day(rows, "clusters", "cluster_users", requested)
    return {"as_of": as_of, "clusters": rows.select("clusters", COLUMNS, {"as_of": as_of}, order_by="size DESC")}


def show_cluster(rows: RowReader, name: str, requested: date | None, limit: int) -> dict[str, Any]:
    """Collect one cluster, and the users nearest to its centroid, which are its medoids by cosine.

    name: its id, or a part of its name in any case. Raises WarehouseError where no cluster or several match.
    """
    listed = list_clusters(rows, requested)
    found = _match(listed["clusters"], name)
    if len(found) != 1:
        choices = "; ".join(f"{row['cluster_id']} {row['name']}" for row in found or listed["clusters"])
        raise WarehouseError(
            f"{'several clusters' if found else 'no cluster'} as of {listed['as_of']} match {name!r}. Choose one: {choices}"
        )
    cluster = found[0]
    where = {"as_of": listed["as_of"], "cluster_id": cluster["cluster_id"], "is_primary": True}
    users = rows.select("user_clusters", ["user_id", "membership", "distance", "silhouette"], where, order_by="distance", limit=limit)
    return {"as_of": listed["as_of"], **cluster, "nearest_users": users}


def _match(clusters: list[Row], name: str) -> list[Row]:
    exact = [row for row in clusters if name in (row["cluster_id"], row["name"])]
    return exact or [row for row in clusters if name.casefold() in row["name"].casefold()]
