"""Find the warehouse table whose file a failed job could not read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from interest_tiers.errors import WarehouseError
from interest_tiers.storage.location import Location
from interest_tiers.storage.table import Table

#: How Spark, Hadoop and Delta name a file that they cannot read.
FILE_PATTERNS = (
    r"Encountered error while reading file\s+(\S+)",
    r"FAILED_READ_FILE\S*\s+(\S+)",
    r"Could not read footer for file:?\s+(\S+)",
    r"Checksum error:\s+(\S+)",
    r"(\S+) is not a Parquet file",
    r"File (\S+) does not exist",
    r"File (\S+) referenced in the transaction log cannot be found",
)


def explain_damage(error: BaseException, location: Location, tables: Iterable[Table]) -> WarehouseError | None:
    """Return an error that names the table, its damaged or missing file and the remedy; None when no table is damaged."""
    text = str(error)
    paths = [found.rstrip(".,;") for pattern in FILE_PATTERNS for found in re.findall(pattern, text)]
    if not paths:
        return None
    for table in tables:
        root = _root(location, table)
        for path in paths:
            if root is not None and _plain(path).startswith(f"{root}/"):
                return WarehouseError(_message(table, path))
    return None


def _message(table: Table, path: str) -> str:
    day = re.search(r"/as_of=(\d{4}-\d\d-\d\d)/", path)
    if table.stage == "clean":
        remedy = "run clean --full to write it again"
    elif table.stage == "every" or table.stage == "forget_users":
        remedy = "move the table's folder away and lose its rows"
    else:
        remedy = f"run the stage {table.stage}{f' with --as-of {day[1]}' if day else ''} to write it again"
    return f"the table {table.name} is damaged: its file {path} is missing or cut short. Restore that file from a backup, or {remedy}"


def _root(location: Location, table: Table) -> str | None:
    """Return where the files of a table are; None where it does not exist or cannot be described."""
    if not location.exists(table.name):
        return None
    row = location.delta(table.name).detail().select("location").first()
    return None if row is None else _plain(row["location"]).rstrip("/")


def _plain(path: str) -> str:
    """Return a path in one spelling: file:///a, file:/a and /a are the same, and %3D is =."""
    return re.sub(r"^file:/*", "/", unquote(path))
