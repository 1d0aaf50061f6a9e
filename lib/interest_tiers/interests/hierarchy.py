"""Name the interests of a hierarchy, such as department over category over type.

The id of an interest holds its path from the coarsest level: ``category:DAIRY > CHEESE > SHREDDED``. A type of the same
name under another category is another interest. Frames of days and of pairs have a column level, 1 for the coarsest.
In a flat catalogue every interest has level 1.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

PREFIX = "category:"

#: Keys of the interests that compete for one user's shares, ranks and tiers.
USER_LEVEL = ["user_id", "level"]

#: Between the names of an id. Within a name, > is written with a backslash before it.
SEPARATOR = " > "


def path_interest(names: Column) -> Column:
    """Build the id of the interest with these names, array<string>, coarse to fine."""
    escaped = F.transform(names, lambda name: F.regexp_replace(name, r"([\\>])", r"\\$1"))
    return F.concat(F.lit(PREFIX), F.array_join(escaped, SEPARATOR))


def all_names(interest_id: Column) -> Column:
    """Read the names from an id of path_interest, as given: array<string>, coarse to fine."""
    names = F.split(F.regexp_replace(interest_id, f"^{PREFIX}", ""), SEPARATOR)
    return F.transform(names, lambda name: F.regexp_replace(name, r"\\(.)", "$1"))


def own_name(interest_id: Column) -> Column:
    """Read the finest name from an id of path_interest, as given."""
    return F.element_at(all_names(interest_id), -1)


def parent(interest_id: Column) -> Column:
    """Find the interest one level above; null at the coarsest."""
    parts = _parts(interest_id)
    return F.when(F.size(parts) > 1, F.array_join(F.slice(parts, F.lit(1), F.size(parts) - 1), SEPARATOR))


def ancestors(interest_id: Column) -> Column:
    """List the interests above and the interest itself, coarse to fine: array<string>."""
    parts = _parts(interest_id)
    return F.transform(F.sequence(F.lit(1), F.size(parts)), lambda level: F.array_join(F.slice(parts, F.lit(1), level), SEPARATOR))


def at_every_level(days: DataFrame, n_levels: int) -> DataFrame:
    """Repeat each day for the interest of every level.

    days:    (user_id, interest_id of the finest level, ...), see evidence.item_days
    Returns: the same columns and level bigint; 1 is the coarsest, and the only one of a flat catalogue (n_levels = 1)
    """
    if n_levels == 1:
        return days
    placed = days.select("*", F.posexplode(ancestors(F.col("interest_id"))).alias("place", "of_level"))
    return placed.withColumns({"interest_id": F.col("of_level"), "level": (F.col("place") + 1).cast("bigint")}).drop("place", "of_level")


def _parts(interest_id: Column) -> Column:
    return F.split(interest_id, SEPARATOR)
