"""Staging tables: intermediate rows of one run, stored under its id, so that no run touches those of another."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.storage.claims import Claims
from interest_tiers.storage.files import Files
from interest_tiers.storage.location import Catalog, Folder

#: The folder of staging tables, and the prefix of their names in a catalog.
STAGING = "_staging"

#: The age at which staging tables of dead runs are removed.
MAX_AGE = timedelta(days=7)


def new_run_id() -> str:
    """Return the time, by which runs sort, and a random part that no other run has."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


class StagingStore(Protocol):
    """Stores staging tables. What it lists of other runs it names as it likes."""

    def write(self, run_id: str, name: str, rows: DataFrame) -> DataFrame: ...

    def delete(self, run_id: str, name: str) -> None: ...

    def delete_run(self, run_id: str) -> None: ...

    def list_others(self, run_ids: Iterable[str]) -> list[str]:
        """List what does not belong to these runs."""
        ...

    def last_modified(self, other: str) -> datetime | None: ...

    def delete_other(self, other: str) -> None: ...


class Staging:
    """The staging tables of one run."""

    def __init__(self, store: StagingStore, run_id: str, claims: Claims) -> None:
        self._store = store
        self._run_id = run_id
        self._claims = claims
        self._names: set[str] = set()

    def write(self, name: str, rows: DataFrame) -> DataFrame:
        """Store rows and read them back: they are not computed again and do not change."""
        if any(other.startswith(f"{name}/") or name.startswith(f"{other}/") for other in self._names):
            raise AssertionError(f"the staging table {name} would hold another one, or lie in it")
        self._claims.register_run()
        self._names.add(name)
        return self._store.write(self._run_id, name, rows)

    def clear(self, prefix: str = "") -> None:
        """Remove the staging tables of this run whose names start with a prefix."""
        cleared = sorted(name for name in self._names if name.startswith(prefix))
        for name in cleared:
            self._store.delete(self._run_id, name)
            self._names.remove(name)
        if cleared and not self._names:
            self._store.delete_run(self._run_id)
            self._claims.release_run()

    def remove_expired(self, max_age: timedelta = MAX_AGE) -> list[str]:
        """Remove the staging tables of dead runs that were written longer ago than max_age; returns what was removed."""
        removed = []
        for other in self._list_dead():
            written_at = self._store.last_modified(other)
            # Without a file yet, it may belong to a run that is just starting.
            if written_at is not None and datetime.now(UTC) - written_at > max_age:
                self._store.delete_other(other)
                removed.append(other)
        return removed

    def remove_all(self) -> list[str]:
        """Remove the staging tables of this run and of dead runs; returns the ids of live runs, whose tables stay."""
        self.clear()
        for other in self._list_dead():
            self._store.delete_other(other)
        return sorted(self._claims.live_runs() - {self._run_id})

    def _list_dead(self) -> list[str]:
        """List the staging tables of runs that are not alive.

        They are listed before the live runs are: a run registers before it writes, so one that starts meanwhile is not listed.
        """
        found = set(self._store.list_others({self._run_id}))
        return [other for other in self._store.list_others({self._run_id, *self._claims.live_runs()}) if other in found]


class FolderStaging:
    """Staging tables as Parquet in ``_staging/RUN_ID/NAME``."""

    def __init__(self, folder: Folder, files: Files) -> None:
        self._folder = folder
        self._files = files

    def write(self, run_id: str, name: str, rows: DataFrame) -> DataFrame:
        path = self._path(run_id, name)
        rows.write.mode("overwrite").parquet(path)
        return self._folder.spark.read.schema(rows.schema).parquet(path)

    def delete(self, run_id: str, name: str) -> None:
        self._files.delete(self._path(run_id, name))

    def delete_run(self, run_id: str) -> None:
        self._files.delete(self._path(run_id))

    def list_others(self, run_ids: Iterable[str]) -> list[str]:
        own = {_safe(run_id) for run_id in run_ids}
        return [name for name in self._files.list(self._folder.path(STAGING)) if name not in own]

    def last_modified(self, other: str) -> datetime | None:
        return self._files.last_modified(self._folder.path(f"{STAGING}/{other}"))

    def delete_other(self, other: str) -> None:
        self._files.delete(self._folder.path(f"{STAGING}/{other}"))

    def _path(self, run_id: str, name: str = "") -> str:
        return self._folder.path(f"{STAGING}/{_safe(run_id)}/{name}".rstrip("/"))


class CatalogStaging:
    """Staging tables as Delta tables ``_staging_RUN_ID_NAME`` of the schema."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def write(self, run_id: str, name: str, rows: DataFrame) -> DataFrame:
        return self._catalog.create(f"{_prefix(run_id)}{_word(name)}", rows)

    def delete(self, run_id: str, name: str) -> None:
        self._catalog.drop(f"{_prefix(run_id)}{_word(name)}")

    def delete_run(self, run_id: str) -> None:
        for table in self._catalog.list(_prefix(run_id)):
            self._catalog.drop(table)

    def list_others(self, run_ids: Iterable[str]) -> list[str]:
        own = tuple(_prefix(run_id) for run_id in run_ids)
        return [table for table in self._catalog.list(f"{STAGING}_") if not table.startswith(own)]

    def last_modified(self, other: str) -> datetime | None:
        row = self._catalog.delta(other).history(1).select(F.col("timestamp")).first()
        return None if row is None else row["timestamp"].astimezone(UTC)

    def delete_other(self, other: str) -> None:
        self._catalog.drop(other)


def _safe(run_id: str) -> str:
    return re.sub(r"[^\w.-]", "_", run_id)


def _prefix(run_id: str) -> str:
    return f"{STAGING}_{_word(run_id)}_"


def _word(text: str) -> str:
    # Catalogs keep names in lower case.
    return re.sub(r"\W", "_", text).lower()
