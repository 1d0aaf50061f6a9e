"""Prints what a look-up found: colours on a terminal, plain lines of the same words elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from interest_tiers.config import TIERS
from interest_tiers.storage.row_reader import Row

#: Characters of an item's text, which may be a whole article. JSON has it whole.
LONGEST_TEXT = 90

#: Interests printed per tier.
INTERESTS_PER_TIER = 10

#: Of a hierarchy, interests printed at the coarsest level, and within each interest.
COARSEST_INTERESTS, FINER_INTERESTS = 10, 3

#: Interests that a history prints.
INTERESTS_OF_HISTORY = 20

TITLE, FAINT = "bold", "dim"
TIER_STYLES = dict(zip(TIERS, ("bold green", "cyan", "dim"), strict=True))


class Page:
    """Writes lines to standard output."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def write(self, line: str = "", style: str = "") -> None:
        """Write a line as it is. A blank line before it carries no style."""
        start = len(line) - len(line.lstrip("\n"))
        self._console.print(Text(line[:start]) + Text(line[start:], style=style))


def print_user(found: Mapping[str, Any]) -> None:
    """Print one user's tiers, clusters and recommendations."""
    page = Page()
    page.write(f"user {found['user_id']}, as of {found['as_of']}", TITLE)
    if found["attributes"]:
        page.write("  " + ", ".join(f"{name} {value}" for name, value in sorted(found["attributes"].items())), FAINT)
    tiers = found["tiers"]
    if not tiers:
        page.write("  no interaction before that day")
    elif found["low_evidence"]:
        page.write("  low evidence: events on so few days that the tiers say little of this user", "yellow")
    if any((row["level"] or 1) > 1 for row in tiers):
        _print_hierarchy(page, tiers)
    else:
        for tier in TIERS:
            _print_tier(page, tier, [row for row in tiers if row["tier"] == tier])
    _print_clusters(page, found["clusters"])
    _print_recommendations(page, found["recommendations"])


def print_similar(found: Mapping[str, Any]) -> None:
    """Print the users who are most alike to one."""
    page = Page()
    page.write(f"users like {found['user_id']}, as of {found['as_of']}", TITLE)
    if not found["similar"]:
        page.write("  nobody else has a vector")
        return
    page.write(f"\n{'user':<16} cosine  cluster  core interests in common", TITLE)
    for row in found["similar"]:
        shared = ", ".join(row["shared_core"]) or "none"
        more = row["n_shared_core"] - len(row["shared_core"])
        page.write(
            f"{row['user_id']:<16} {row['cosine']:>6.3f}  {row['cluster_id'] or 'none':<7}  {shared}{f' and {more} more' if more else ''}"
        )


def print_clusters(found: Mapping[str, Any]) -> None:
    """Print every cluster of a day."""
    page = Page()
    page.write(f"{len(found['clusters'])} clusters, as of {found['as_of']}\n", TITLE)
    for row in found["clusters"]:
        page.write(f"{row['cluster_id']:<5} {row['size']:>9,} users  silhouette {_decimal(row['silhouette'])}  {row['name']}")


def print_cluster(found: Mapping[str, Any]) -> None:
    """Print one cluster."""
    page = Page()
    page.write(f"{found['cluster_id']} {found['name']}", TITLE)
    before = found["previous_size"]
    growth = "" if before is None else f" ({found['size'] - before:+,} since the run before)"
    page.write(f"  {found['size']:,} users{growth}, silhouette {_decimal(found['silhouette'])}, as of {found['as_of']}")
    for title, column in (("interests", "top_interests"), ("items", "top_items")):
        if found[column]:
            page.write(f"\nmost characteristic {title}", TITLE)
        for name in found[column] or ():
            page.write(f"  {_shorten(name)}")
    if found["top_attributes"]:
        page.write("\nmost characteristic attributes           share  of all", TITLE)
    for each in found["top_attributes"] or ():
        page.write(f"  {each['name'] + ' ' + each['value']:<38} {each['share']:>5.0%}  {each['share'] / each['lift']:>6.0%}")
    page.write("\nusers nearest to its centroid            distance  membership", TITLE)
    for row in found["nearest_users"]:
        page.write(f"  {row['user_id']:<38} {row['distance']:>8.3f}  {row['membership']:>9.0%}")


def print_history(found: Mapping[str, Any]) -> None:
    """Print a user's tiers over the days, one column per day."""
    page, days = Page(), [day["as_of"] for day in found["days"]]
    page.write(f"user {found['user_id']} on {len(days)} day{'s' if len(days) > 1 else ''}", TITLE)
    page.write(f"\n{'':<36}" + "".join(f"{day!s:<16}" for day in days), TITLE)
    page.write(f"{'cluster':<36}" + "".join(f"{day['cluster_id'] or 'none':<16}" for day in found["days"]))
    for tier in TIERS:
        page.write(f"{f'{tier} interests':<36}" + "".join(f"{day['counts'][tier]:<16}" for day in found["days"]), TIER_STYLES[tier])
    page.write(f"\n{'interest':<36}" + "tier P(core)    " * len(days), TITLE)
    for interest in found["interests"][:INTERESTS_OF_HISTORY]:
        by_day = {row["as_of"]: f"{row['tier']} {row['p_core']:.2f}" for row in interest["tiers"]}
        page.write(f"{interest['name'][:34]:<36}" + "".join(f"{by_day.get(day, ''):<16}" for day in days).rstrip())
    _write_more(page, len(found["interests"]) - INTERESTS_OF_HISTORY, "")


def _write_more(page: Page, count: int, margin: str) -> None:
    if count > 0:
        page.write(f"{margin}and {count} more", FAINT)


def _print_tier(page: Page, tier: str, rows: Sequence[Row]) -> None:
    title = f"{tier} ({len(rows)})"
    columns = " share  days  last P(core)  P(secondary)  P(marginal)"
    page.write(f"\n{title:<36}{columns}" if rows else f"\n{title}", TIER_STYLES[tier])
    for row in rows[:INTERESTS_PER_TIER]:
        page.write(f"  {row['name'][:34]:<34} {_numbers(row)}")
    _write_more(page, len(rows) - INTERESTS_PER_TIER, "  ")


def _numbers(row: Row) -> str:
    """Lay out share, days, last and the probabilities below the titles."""
    probabilities = f"{row['p_core']:>7.2f} {row['p_secondary']:>13.2f} {row['p_marginal']:>12.2f}"
    last = "none" if row["recency_days"] is None else f"{row['recency_days']}d"  # never touched: borrowed
    return f"{row['share']:>6.1%} {row['n_days']:>5} {last:>5} {probabilities}"


def _print_hierarchy(page: Page, rows: Sequence[Row]) -> None:
    """Print every interest with the strongest finer ones within it. A share is that of the interest's level."""
    counts = [sum(row["tier"] == tier for row in rows) for tier in TIERS]
    title = ", ".join(f"{tier} {count}" for tier, count in zip(TIERS, counts, strict=True))
    page.write(f"\n{title:<50} tier       share  days  last  P(core)  P(secondary)  P(marginal)", TITLE)
    within: dict[str | None, list[Row]] = {}
    ids = {row["interest_id"] for row in rows}
    for row in rows:
        # Borrowed evidence may lack the interest that holds it.
        holder = row["parent_id"] if row["parent_id"] in ids else None
        within.setdefault(holder, []).append(row)
    _print_within(page, None, within, 0)


def _print_within(page: Page, holder: str | None, within: Mapping[str | None, Sequence[Row]], depth: int) -> None:
    rows, shown = within.get(holder, []), FINER_INTERESTS if depth else COARSEST_INTERESTS
    margin = "  " * (depth + 1)
    for row in rows[:shown]:
        page.write(f"{(margin + row['name'])[:50]:<50} {row['tier']:<9} {_numbers(row)}")
        _print_within(page, row["interest_id"], within, depth + 1)
    _write_more(page, len(rows) - shown, margin)


def _print_clusters(page: Page, rows: Sequence[Row]) -> None:
    page.write("\nclusters" if rows else "\nclusters: none (no vector)", TITLE)
    for row in rows:
        primary = ", primary" if row["is_primary"] else ""
        page.write(f"  {row['membership']:>5.0%} {row['cluster_id']} {row['name']} ({row['size']:,} users{primary})")


def _print_recommendations(page: Page, rows: Sequence[Row]) -> None:
    page.write("\nrecommendations" if rows else "\nrecommendations: none", TITLE)
    for row in rows:
        page.write(f"  {row['rank']:>3}. {_shorten(row['text'] or row['item_id'])} [{row['item_id']}]")
        page.write(f"       {row['reason']}", FAINT)


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1].rstrip()}…"


def _decimal(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
