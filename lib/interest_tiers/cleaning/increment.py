"""What a run has to read: what no run read before, or everything where adding to the tables would be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from interest_tiers.cleaning.ledger import SourceChanges
from interest_tiers.config import ITEMS_SOURCE, USERS_SOURCE, Config, Files, Source

#: Why everything is read where nothing was read before.
FIRST_RUN = "the first run"


@dataclass
class Increment:
    """What a run reads of the sources, and what the tables hold already.

    listed: (source, path, state), the files as they are now.
    ledger: (source, path, state, rules, columns, run_id), the files read before; None on the first run.
    files: by source, the files to read; None reads all. A source without an entry is not read.
    added: by source, the raw rows that were added to a Delta table; they stand for its files.
    rebuilt: by source, why its rows in the tables are replaced.
    columns: by source, the columns that its files had before.
    rules: by source, the fingerprint of its cleaning rules and of the tables that it joins.
    vanished: number of files that are no longer there.
    """

    listed: DataFrame
    ledger: DataFrame | None = None
    files: dict[str, list[str] | None] = field(default_factory=dict)
    added: dict[str, DataFrame] = field(default_factory=dict)
    rebuilt: dict[str, str] = field(default_factory=dict)
    columns: dict[str, StructType] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    vanished: int = 0

    def rebuild(self, names: Iterable[str], reason: str) -> None:
        """Read all files of these sources, as if for the first time."""
        names = list(names)
        self.rebuilt.update(dict.fromkeys(names, reason))
        self.files.update(dict.fromkeys(names))
        for name in names:
            self.columns.pop(name, None)
            self.added.pop(name, None)

    def rebuilds_all(self, config: Config) -> bool:
        """Check whether every source of interactions is read whole."""
        return config.named_sources.keys() <= self.rebuilt.keys()


def all_sources(config: Config) -> dict[str, Source]:
    """Return every source of the config by its name in the ledger."""
    named: dict[str, Source] = {**config.named_sources, ITEMS_SOURCE: config.items}
    return named if config.users is None else {**named, USERS_SOURCE: config.users}


def all_tables(config: Config) -> list[Files]:
    """Return everything that clean reads: the sources, and the tables that they join."""
    sources = all_sources(config).values()
    return [*sources, *(join for source in sources for join in source.join)]


def read_everything(config: Config, listed: DataFrame, reason: str, rules: Mapping[str, str]) -> Increment:
    """Plan to read all files of all sources. listed: (source, path, state). rules: see Increment."""
    increment = Increment(listed, rules=rules)
    for names in _groups(config):
        increment.rebuild(names, reason)
    return increment


def plan_increment(
    config: Config,
    listed: DataFrame,
    ledger: DataFrame,
    changes: Mapping[str, SourceChanges],
    rules: Mapping[str, str],
    added: Mapping[str, DataFrame],
    grown: Collection[str],
    are_items_counted: Callable[[], bool],
) -> Increment:
    """Plan to read what is new, and whole groups of sources where what the tables hold of them is no longer right.

    listed, ledger, rules: see Increment.
    changes: by source (see ledger.compare_files).
    added: by Delta source, the raw rows that were added since.
    grown: Delta sources that only had rows added; those without added rows are read whole, and duplicates are dropped.
    are_items_counted: whether the run that counted the items last also wrote the ledger.
    """
    increment = Increment(listed, ledger, rules=rules, vanished=sum(change.vanished for change in changes.values()))
    increment.columns = {name: parse_columns(change.columns) for name, change in changes.items() if change.columns is not None}
    changes = {name: replace(change, changed=None) if name in grown else change for name, change in changes.items()}
    gone = sorted(changes.keys() - all_sources(config).keys())
    # Attributes of users are as many as users: all files are read where one is new.
    whole = {USERS_SOURCE, *grown} - added.keys()
    fresh = {
        name: None if name in whole or change.columns is None else list(change.new)
        for name, change in changes.items()
        if change.new or name in grown
    }
    groups = _groups(config)
    for names in groups:
        reason = _reason_to_rebuild(changes, names)
        if gone and names == groups[0]:
            reason = f"the config no longer has the source {gone[0]}"
        if reason is None and names == [ITEMS_SOURCE] and not are_items_counted():
            reason = "a run stopped after it had counted the items"
        if reason is not None:
            increment.rebuild(names, reason)
        else:
            increment.files |= {name: fresh[name] for name in names if name in fresh}
            increment.added |= {name: added[name] for name in names if name in added}
    return increment


def parse_columns(text: str) -> StructType:
    """Parse the columns of a source as the ledger keeps them."""
    return StructType.fromJson(json.loads(text))


def mark_as_read(increment: Increment, columns: Mapping[str, StructType], run_id: str) -> DataFrame:
    """Return the ledger after a run that read the sources in ``columns``; a source without rules leaves it.

    Returns: (source, path, state, rules, columns, run_id), one row per file.
    """
    read_now = increment.listed.where(F.lit(False)).withColumns({name: F.lit("") for name in ("rules", "columns", "run_id")})
    rules = increment.rules
    for name, schema in columns.items():
        marks = {"rules": rules[name], "columns": schema.json(), "run_id": run_id}
        own = increment.listed.where(F.col("source") == name)
        read_now = read_now.unionByName(own.withColumns({key: F.lit(value) for key, value in marks.items()}))
    if increment.ledger is None:
        return read_now
    kept = increment.ledger.where(~F.col("source").isin(*increment.rebuilt) & F.col("source").isin(*rules))
    return read_now.unionByName(kept.join(read_now, ["source", "path"], "left_anti"))


def describe_increment(increment: Increment) -> list[str]:
    """Describe what was read and what was no longer there, for the run record."""
    if increment.rebuilt:
        return [f"all files read ({'; '.join(dict.fromkeys(increment.rebuilt.values()))})"]
    parts = [f"{sum(len(files) for name, files in increment.files.items() if files and name not in increment.added):,} new files"]
    if increment.added:
        parts.append(f"the rows added to {', '.join(sorted(increment.added))}")
    return [*parts, *describe_vanished(increment)]


def describe_vanished(increment: Increment) -> list[str]:
    """Describe the files that are gone, where their rows stay."""
    if not increment.vanished or increment.rebuilt:
        return []
    return [f"{increment.vanished:,} files are no longer there, their rows stay"]


def _groups(config: Config) -> list[list[str]]:
    """Return the sources that are read whole together, that of interactions first."""
    return [list(config.named_sources), [ITEMS_SOURCE], *([] if config.users is None else [[USERS_SOURCE]])]


def _reason_to_rebuild(changes: Mapping[str, SourceChanges], names: Sequence[str]) -> str | None:
    """Return why sources that belong together must be read whole, or None. A source never read before is no reason."""
    reasons = {name: changes[name].reason_to_rebuild for name in names if name in changes and changes[name].columns is not None}
    if not reasons:
        return FIRST_RUN
    return next((f"{name}: {reason}" for name, reason in reasons.items() if reason is not None), None)
