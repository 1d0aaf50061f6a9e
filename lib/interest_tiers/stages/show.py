"""show: one user's tiers, clusters and recommendations, for a person to read."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.errors import WarehouseError
from interest_tiers.spark.session import build_session
from interest_tiers.storage.schemas import (
    CLUSTERS,
    INTERESTS,
    ITEMS,
    RECOMMENDATIONS,
    USER_CLUSTERS,
    USER_INTERESTS,
    USER_TIERS,
    USERS,
    Table,
)
from interest_tiers.storage.warehouse import Warehouse

#: Interests printed per tier.
INTERESTS_PER_TIER = 10

#: Of a hierarchy, interests printed at the coarsest level, and within each interest.
COARSEST_INTERESTS, FINER_INTERESTS = 10, 3


def add_command(commands: Any) -> None:
    """Add the command show to a parser's commands."""
    parser = commands.add_parser("show", help="print one user's tiers, clusters and recommendations", description=__doc__)
    parser.add_argument("user", help="user_id")
    parser.add_argument("--warehouse", required=True, metavar="DIR", help="a folder, or catalog.schema")
    parser.add_argument("--as-of", type=date.fromisoformat, metavar="YYYY-MM-DD", help="default: the newest day with tiers")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what the warehouse holds of one user; returns the exit code."""
    _show(Warehouse(build_session("interest-tiers show"), arguments.warehouse), arguments.user, arguments.as_of)
    return 0


def _show(warehouse: Warehouse, user: str, requested: date | None) -> None:
    as_of = requested or _newest_day(warehouse)
    known = _rows_of(warehouse, USERS, user, None).first()
    tiers = _tiers(warehouse, user, as_of)
    if known is None and not tiers:
        raise WarehouseError(f"{warehouse.location} has no user {user!r}")
    print(f"user {user}, as of {as_of}")
    if known is not None and known["attributes"]:
        print("  " + ", ".join(f"{name} {value}" for name, value in sorted(known["attributes"].items())))
    if not tiers:
        print("  no interaction before that day")
    elif tiers[0]["low_evidence"]:
        print("  low evidence: events on so few days that the tiers say little of this user")
    if any((row["level"] or 1) > 1 for row in tiers):
        _print_hierarchy(tiers)
    else:
        for tier in TIERS:
            _print_tier(tier, [row for row in tiers if row["tier"] == tier])
    _print_clusters(warehouse, user, as_of)
    _print_recommendations(warehouse, user, as_of)


def _newest_day(warehouse: Warehouse) -> date:
    newest = warehouse.read(USER_TIERS).agg(F.max("as_of").alias("day")).first()
    if newest is None or newest["day"] is None:
        raise WarehouseError(f"{warehouse.location} has no tiers: run the stage {USER_TIERS.stage} first")
    return newest["day"]


def _rows_of(warehouse: Warehouse, table: Table, user: str, as_of: date | None) -> DataFrame:
    return warehouse.read(table, as_of).where(F.col("user_id") == user)


def _tiers(warehouse: Warehouse, user: str, as_of: date) -> list[Row]:
    """The user's interests, the strongest first; as many as the user has."""
    pairs = _rows_of(warehouse, USER_INTERESTS, user, as_of).select("interest_id", "share", "rank", "n_days", "recency_days")
    names = warehouse.read(INTERESTS, as_of).select("interest_id", "name", "level", "parent_id")
    tiers = _rows_of(warehouse, USER_TIERS, user, as_of)
    return tiers.join(pairs, "interest_id").join(names, "interest_id").orderBy("rank").collect()


def _print_tier(tier: str, rows: Sequence[Row]) -> None:
    title = f"{tier} ({len(rows)})"
    print(f"\n{title:<36} share  days  last P(core)  P(secondary)  P(marginal)" if rows else f"\n{title}")
    for row in rows[:INTERESTS_PER_TIER]:
        print(f"  {row['name'][:34]:<34} {_numbers(row)}")
    if len(rows) > INTERESTS_PER_TIER:
        print(f"  and {len(rows) - INTERESTS_PER_TIER} more")


def _numbers(row: Row) -> str:
    """Share, days, last and the probabilities, as the titles have them."""
    probabilities = f"{row['p_core']:>7.2f} {row['p_secondary']:>13.2f} {row['p_marginal']:>12.2f}"
    last = "none" if row["recency_days"] is None else f"{row['recency_days']}d"  # never touched: borrowed
    return f"{row['share']:>6.1%} {row['n_days']:>5} {last:>5} {probabilities}"


def _print_hierarchy(rows: Sequence[Row]) -> None:
    """Every interest with the strongest finer ones within it. A share is that of the interest's level."""
    counts = [sum(row["tier"] == tier for row in rows) for tier in TIERS]
    title = ", ".join(f"{tier} {count}" for tier, count in zip(TIERS, counts, strict=True))
    print(f"\n{title:<50} tier       share  days  last  P(core)  P(secondary)  P(marginal)")
    within: dict[str | None, list[Row]] = {}
    ids = {row["interest_id"] for row in rows}
    for row in rows:
        # Borrowed, while nothing was of what holds it.
        holder = row["parent_id"] if row["parent_id"] in ids else None
        within.setdefault(holder, []).append(row)
    _print_within(None, within, 0)


def _print_within(holder: str | None, within: Mapping[str | None, Sequence[Row]], depth: int) -> None:
    rows, shown = within.get(holder, []), FINER_INTERESTS if depth else COARSEST_INTERESTS
    margin = "  " * (depth + 1)
    for row in rows[:shown]:
        print(f"{(margin + row['name'])[:50]:<50} {row['tier']:<9} {_numbers(row)}")
        _print_within(row["interest_id"], within, depth + 1)
    if len(rows) > shown:
        print(f"{margin}and {len(rows) - shown} more")


def _print_clusters(warehouse: Warehouse, user: str, as_of: date) -> None:
    names = warehouse.read(CLUSTERS, as_of).select("cluster_id", "name", "size")
    rows = _rows_of(warehouse, USER_CLUSTERS, user, as_of).join(names, "cluster_id").orderBy(F.desc("membership")).collect()
    print("\nclusters" if rows else "\nclusters: none (no vector)")
    for row in rows:
        primary = ", primary" if row["is_primary"] else ""
        print(f"  {row['membership']:>5.0%} {row['cluster_id']} {row['name']} ({row['size']:,} users{primary})")


def _print_recommendations(warehouse: Warehouse, user: str, as_of: date) -> None:
    texts = warehouse.read(ITEMS).select("item_id", "text")
    rows = _rows_of(warehouse, RECOMMENDATIONS, user, as_of).join(texts, "item_id", "left").orderBy("rank").collect()
    print("\nrecommendations" if rows else "\nrecommendations: none")
    for row in rows:
        print(f"  {row['rank']:>3}. {row['text'] or row['item_id']} [{row['item_id']}]\n       {row['reason']}")
