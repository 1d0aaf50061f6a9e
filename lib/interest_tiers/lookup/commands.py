"""The commands show, similar, cluster and history. They start no JVM where the warehouse is a local folder or on S3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from interest_tiers.command_options import JsonOption, WarehouseOption, end_with_exit_code, parse_day, print_json
from interest_tiers.lookup.warehouse import open_warehouse

PANEL = "Look up"

User = Annotated[str, typer.Argument(metavar="USER", help="The user_id.")]
Day = Annotated[Any, typer.Option("--as-of", parser=parse_day, metavar="YYYY-MM-DD", help="Default: the newest day.")]
Spark = Annotated[bool, typer.Option("--spark", help="Read a local folder and S3 by Spark too; all else always is.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100, help="Print at most so many users.")]


def add_lookups(app: typer.Typer) -> None:
    """Add the commands that look up users and clusters."""
    commands: tuple[Callable[..., None], ...] = (show, similar, cluster, history)
    for command in commands:
        # A user's id may begin with a hyphen, as those of signed numbers do.
        app.command(rich_help_panel=PANEL, context_settings={"ignore_unknown_options": True})(end_with_exit_code(command))


def show(user: User, warehouse: WarehouseOption, as_of: Day = None, as_json: JsonOption = False, spark: Spark = False) -> None:
    """Show one user's tiers, clusters and recommendations."""
    from interest_tiers.lookup import pages, users

    _print(users.show_user(open_warehouse(warehouse, spark), user, as_of), as_json, pages.print_user)


def similar(
    user: User, warehouse: WarehouseOption, limit: Limit = 10, as_of: Day = None, as_json: JsonOption = False, spark: Spark = False
) -> None:
    """List the users who are most like one, by the cosine of their vectors."""
    from interest_tiers.lookup import pages, users

    _print(users.find_similar(open_warehouse(warehouse, spark), user, as_of, limit), as_json, pages.print_similar)


def cluster(
    warehouse: WarehouseOption,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Its id or a part of its name; default: list all.")] = None,
    limit: Limit = 10,
    as_of: Day = None,
    as_json: JsonOption = False,
    spark: Spark = False,
) -> None:
    """Describe a cluster and the users nearest to its centroid, or list all clusters."""
    from interest_tiers.lookup import clusters, pages

    rows = open_warehouse(warehouse, spark)
    if name is None:
        _print(clusters.list_clusters(rows, as_of), as_json, pages.print_clusters)
    else:
        _print(clusters.show_cluster(rows, name, as_of, limit), as_json, pages.print_cluster)


def history(
    user: User,
    warehouse: WarehouseOption,
    days: Annotated[int, typer.Option("--days", min=1, max=60, help="Print the newest N days that have tiers.")] = 6,
    as_json: JsonOption = False,
    spark: Spark = False,
) -> None:
    """Show how one user's tiers and cluster changed over the days."""
    from interest_tiers.lookup import pages, users

    _print(users.list_history(open_warehouse(warehouse, spark), user, days), as_json, pages.print_history)


def _print(found: Mapping[str, Any], as_json: bool, print_page: Callable[[Mapping[str, Any]], None]) -> None:
    if as_json:
        print_json(found)
    else:
        print_page(found)
