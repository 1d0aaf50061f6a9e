"""Looks up one user: tiers, clusters and recommendations, users like them, and their tiers over the days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from interest_tiers.config import TIERS
from interest_tiers.errors import WarehouseError
from interest_tiers.storage.row_reader import Row, RowReader, Where

#: Columns of an interest in the answers.
PAIR = ("interest_id", "tier", "p_core", "p_secondary", "p_marginal", "low_evidence")
EVIDENCE = ("interest_id", "share", "rank", "n_days", "recency_days")

#: Days that a message names.
NAMED_DAYS = 5

#: Core interests that are named of each similar user.
SHARED_INTERESTS = 5


def find_day(rows: RowReader, table: str, stage: str, requested: date | None) -> date:
    """Return the requested day, or the newest of a table. Raises WarehouseError where the table has no rows of it."""
    days = rows.list_days(table, {})
    if not days:
        raise WarehouseError(f"{rows.location} has no rows in {table}: run the stage {stage} first")
    if requested is not None and requested not in days:
        newest = ", ".join(map(str, days[:NAMED_DAYS]))
        raise WarehouseError(
            f"{table} has no rows for as_of {requested}: run the stage {stage} with --as-of {requested} first. It has {newest}"
        )
    return requested or days[0]


def show_user(rows: RowReader, user: str, requested: date | None) -> dict[str, Any]:
    """Collect what the warehouse holds of one user. Raises WarehouseError for an unknown user."""
    as_of = find_day(rows, "user_tiers", "assign_tiers", requested)
    of_user: Where = {"user_id": user, "as_of": as_of}
    known = rows.select("users", ["attributes"], {"user_id": user})
    tiers = _tiers(rows, user, as_of)
    if not known and not tiers:
        raise WarehouseError(f"{rows.location} has no user {user!r}")
    recommended = rows.select("recommendations", ["rank", "item_id", "score", "interest_id", "tier", "reason"], of_user, order_by="rank")
    texts = _names(rows, "items", "item_id", "text", [row["item_id"] for row in recommended], None)
    return {
        "user_id": user,
        "as_of": as_of,
        "attributes": dict(known[0]["attributes"]) if known else {},
        "low_evidence": bool(tiers and tiers[0]["low_evidence"]),
        "tiers": tiers,
        "clusters": _clusters(rows, user, as_of),
        "recommendations": [{**row, "text": texts.get(row["item_id"])} for row in recommended],
    }


def find_similar(rows: RowReader, user: str, requested: date | None, limit: int) -> dict[str, Any]:
    """Find the users whose vectors have the highest cosine with that of a user, and the core interests that they share.

    Raises WarehouseError for a user without a vector.
    """
    as_of = find_day(rows, "user_vectors", "cluster_users", requested)
    own = rows.select("user_vectors", ["vector"], {"user_id": user, "as_of": as_of})
    if not own:
        raise WarehouseError(f"{rows.location} has no vector of user {user!r} as of {as_of}: without evidence a user has none")
    near = rows.find_nearest("user_vectors", {"as_of": as_of}, own[0]["vector"], limit + 1)
    # Vectors have L2 norm 1, so the distance decides on the cosine.
    cosines = {other: 1 - distance * distance / 2 for other, distance in near if other != user}
    others = list(cosines)[:limit]
    core: dict[str, set[str]] = {each: set() for each in (user, *others)}
    for row in rows.select("user_tiers", ["user_id", "interest_id"], {"user_id": [user, *others], "as_of": as_of, "tier": TIERS[0]}):
        core[row["user_id"]].add(row["interest_id"])
    order = {row["interest_id"]: row["rank"] for row in rows.select("user_interests", EVIDENCE, {"user_id": user, "as_of": as_of})}
    names = _names(rows, "interests", "interest_id", "name", sorted(core[user]), as_of)
    primary = rows.select("user_clusters", ["user_id", "cluster_id"], {"user_id": others, "as_of": as_of, "is_primary": True})
    clusters = _names(rows, "clusters", "cluster_id", "name", sorted({row["cluster_id"] for row in primary}), as_of)
    cluster_of = {row["user_id"]: row["cluster_id"] for row in primary}
    similar = []
    for other in others:
        shared = sorted(core[user] & core[other], key=lambda interest: (order.get(interest, len(order)), interest))
        similar.append(
            {
                "user_id": other,
                "cosine": round(cosines[other], 4),
                "cluster_id": cluster_of.get(other),
                "cluster": clusters.get(cluster_of.get(other, "")),
                "n_shared_core": len(shared),
                "shared_core": [names.get(interest, interest) for interest in shared[:SHARED_INTERESTS]],
            }
        )
    return {"user_id": user, "as_of": as_of, "similar": similar}


def list_history(rows: RowReader, user: str, most_days: int) -> dict[str, Any]:
    """List a user's tiers and primary cluster on the newest days. Raises WarehouseError for a user without tiers."""
    days = rows.list_days("user_tiers", {"user_id": user})[:most_days]
    if not days:
        raise WarehouseError(f"{rows.location} has no tiers of user {user!r}")
    newest_first = rows.select("user_tiers", ["as_of", *PAIR], {"user_id": user, "as_of": days})
    names: dict[str, str] = {}
    for day in reversed(days):  # The newest name of an interest stays.
        touched = sorted({row["interest_id"] for row in newest_first if row["as_of"] == day})
        names |= _names(rows, "interests", "interest_id", "name", touched, day)
    tiers: dict[str, dict[date, Row]] = {}
    for row in newest_first:
        tiers.setdefault(row["interest_id"], {})[row["as_of"]] = row
    primary = rows.select("user_clusters", ["as_of", "cluster_id"], {"user_id": user, "as_of": days, "is_primary": True})
    cluster_of = {row["as_of"]: row["cluster_id"] for row in primary}
    cluster_names = {
        day: _names(rows, "clusters", "cluster_id", "name", [cluster], day).get(cluster) for day, cluster in cluster_of.items()
    }
    return {
        "user_id": user,
        "days": [
            {
                "as_of": day,
                "cluster_id": cluster_of.get(day),
                "cluster": cluster_names.get(day),
                "counts": {tier: sum(row["as_of"] == day and row["tier"] == tier for row in newest_first) for tier in TIERS},
            }
            for day in sorted(days)
        ],
        "interests": [
            {
                "interest_id": interest,
                "name": names.get(interest, interest),
                "tiers": [{"as_of": day, "tier": row["tier"], "p_core": row["p_core"]} for day, row in sorted(by_day.items())],
            }
            for interest, by_day in sorted(tiers.items(), key=lambda pair: _strength(pair[1], days[0]))
        ],
    }


def _strength(by_day: dict[date, Row], newest: date) -> tuple[float, str]:
    """Order interests by their probability on the newest day, then by the largest of earlier days."""
    now = by_day[newest]["p_core"] + 1 if newest in by_day else max(row["p_core"] for row in by_day.values())
    return -now, next(iter(by_day.values()))["interest_id"]


def _tiers(rows: RowReader, user: str, as_of: date) -> list[Row]:
    """Join the user's tiers with their evidence and names, the strongest first; as many as the user has."""
    of_user: Where = {"user_id": user, "as_of": as_of}
    evidence = {row["interest_id"]: row for row in rows.select("user_interests", EVIDENCE, of_user)}
    tiers = [row for row in rows.select("user_tiers", PAIR, of_user) if row["interest_id"] in evidence]
    ids = [row["interest_id"] for row in tiers]
    found = rows.select("interests", ["interest_id", "name", "level", "parent_id"], {"interest_id": ids, "as_of": as_of})
    catalogue = {row["interest_id"]: row for row in found}
    joined = [{**catalogue.get(row["interest_id"], _unknown(row)), **evidence[row["interest_id"]], **row} for row in tiers]
    return sorted(joined, key=lambda row: (row["rank"], row["interest_id"]))


def _unknown(row: Row) -> Row:
    return {"name": row["interest_id"], "level": None, "parent_id": None}


def _clusters(rows: RowReader, user: str, as_of: date) -> list[Row]:
    columns = ["cluster_id", "membership", "is_primary", "distance", "silhouette"]
    own = rows.select("user_clusters", columns, {"user_id": user, "as_of": as_of}, order_by="membership DESC")
    ids = [row["cluster_id"] for row in own]
    named = {row["cluster_id"]: row for row in rows.select("clusters", ["cluster_id", "name", "size"], {"cluster_id": ids, "as_of": as_of})}
    return [{**row, **named[row["cluster_id"]]} for row in own if row["cluster_id"] in named]


def _names(rows: RowReader, table: str, key: str, column: str, ids: Sequence[str], as_of: date | None) -> dict[str, str]:
    if not ids:
        return {}
    where: dict[str, Any] = {key: list(ids)} if as_of is None else {key: list(ids), "as_of": as_of}
    return {row[key]: row[column] for row in rows.select(table, [key, column], where)}
