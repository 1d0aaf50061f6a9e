"""Keep claims: as local files, as files of another file system, or as rows of a Delta table. Who may write is decided in claims.py."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.processes import machine, process_start
from interest_tiers.storage.commits import retry_conflicts
from interest_tiers.storage.files import Files
from interest_tiers.storage.location import Catalog, text_literal

#: The folder of the claims in a warehouse, and their table in a catalog.
CLAIMS = "_claims"


@dataclass(frozen=True)
class Claim:
    """Says which run writes a table.

    machine: identifies the machine, its boot and its process namespace; empty where the system does not say.
    process_started: start time of the process in clock ticks; a process id alone may be used again.
    nonce: differs for each claim. renewed_at: the last heartbeat.
    """

    name: str
    run_id: str
    host: str
    machine: str
    pid: int
    process_started: str
    started_at: datetime
    nonce: str
    renewed_at: datetime


class ClaimStore(Protocol):
    """Holds at most one claim of a name."""

    heartbeat_seconds: float
    registers_runs: bool

    def read(self, name: str) -> Claim | None: ...

    def list(self) -> list[Claim]: ...

    def take(self, claim: Claim, dead: Claim | None) -> bool:
        """Store a claim in place of a dead one, or where there is none; returns whether it was stored."""
        ...

    def renew(self, claim: Claim) -> bool:
        """Store a heartbeat; returns whether the claim is still there."""
        ...

    def release(self, claim: Claim) -> None:
        """Remove a claim, unless another run took it over."""
        ...


class LocalClaims:
    """Claims as files of a local or mounted folder.

    A claim is created by a hard link, which is atomic, on NFS too. A takeover and a release hold a lock of the system on
    ``.lock``, which ends with its process. The heartbeat is the file's modification time.
    """

    heartbeat_seconds = 30.0
    registers_runs = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> Claim | None:
        return self._read(self._path(name))

    def list(self) -> list[Claim]:
        found = [self._read(path) for path in sorted(self._folder.glob("[!.]*.json"))]
        return [claim for claim in found if claim is not None]

    def take(self, claim: Claim, dead: Claim | None) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        path, written = self._path(claim.name), self._folder / f".{claim.nonce}"
        written.write_text(_to_json(claim), encoding="utf-8")
        try:
            if dead is None:
                os.link(written, path)
                return True
            with self._locked():
                found = self._read(path)
                if found is None or found.nonce != dead.nonce:
                    return False
                os.replace(written, path)  # noqa: PTH105
                return True
        except FileExistsError:
            return False
        finally:
            written.unlink(missing_ok=True)

    def renew(self, claim: Claim) -> bool:
        found = self.read(claim.name)
        if found is None or found.nonce != claim.nonce:
            return False
        os.utime(self._path(claim.name))
        return True

    def release(self, claim: Claim) -> None:
        with self._locked():
            found = self.read(claim.name)
            if found is not None and found.nonce == claim.nonce:
                self._path(claim.name).unlink()

    def _path(self, name: str) -> Path:
        return self._folder / _file_name(name)

    def _read(self, path: Path) -> Claim | None:
        try:
            return _from_json(path.read_text(encoding="utf-8"), datetime.fromtimestamp(path.stat().st_mtime, UTC))
        except FileNotFoundError:
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class RemoteClaims:
    """Claims as files of any file system that Hadoop knows.

    HDFS, ABFS and Google Cloud Storage create a file only where there is none. S3A first looks and then writes: two commands
    that start within the same second may both get the claim; the one that wrote first finds the other's at its next heartbeat.
    A takeover renames the dead claim to a name that only it can have, which succeeds once. The heartbeat rewrites the file.
    """

    heartbeat_seconds = 30.0
    registers_runs = True

    def __init__(self, files: Files, folder: str) -> None:
        self._files = files
        self._folder = folder

    def read(self, name: str) -> Claim | None:
        return self._read(self._path(name))

    def list(self) -> list[Claim]:
        names = [name for name in self._files.list(self._folder) if name.endswith(".json") and not name.startswith(".")]
        found = [self._read(f"{self._folder}/{name}") for name in names]
        return [claim for claim in found if claim is not None]

    def take(self, claim: Claim, dead: Claim | None) -> bool:
        path = self._path(claim.name)
        try:
            if dead is not None:
                grave = f"{self._folder}/.dead-{dead.nonce}"
                if self._files.list(grave) or not self._files.rename(path, grave):
                    return False
            self._files.write_text(path, _to_json(claim), overwrite=False)
        except Py4JJavaError:  # another run was faster
            return False
        found = self.read(claim.name)
        return found is not None and found.nonce == claim.nonce

    def renew(self, claim: Claim) -> bool:
        found = self.read(claim.name)
        if found is None or found.nonce != claim.nonce:
            return False
        self._files.write_text(self._path(claim.name), _to_json(claim))
        return True

    def release(self, claim: Claim) -> None:
        found = self.read(claim.name)
        if found is not None and found.nonce == claim.nonce:
            self._files.delete(self._path(claim.name))

    def _path(self, name: str) -> str:
        return f"{self._folder}/{_file_name(name)}"

    def _read(self, path: str) -> Claim | None:
        for _ in range(20):
            text = self._files.read_text(path)
            if text is None:
                return None
            renewed_at = self._files.last_modified(path)
            if text and renewed_at is not None:
                return _from_json(text, renewed_at)
            time.sleep(0.1)  # being rewritten
        raise OSError(f"{path} is empty: delete it when no command runs")


class CatalogClaims:
    """Claims as rows of a Delta table of the schema. Delta commits one of two merges at once; the other sees its row and stops."""

    #: Each heartbeat is a commit.
    heartbeat_seconds = 120.0
    registers_runs = False

    def __init__(self, spark: SparkSession, catalog: Catalog) -> None:
        self._spark = spark
        self._catalog = catalog

    def read(self, name: str) -> Claim | None:
        return next((claim for claim in self.list() if claim.name == name), None)

    def list(self) -> list[Claim]:
        if not self._catalog.exists(CLAIMS):
            return []
        rows = self._catalog.read(CLAIMS).collect()  # one row per table that a live run writes
        return [_from_json(row["claim"], row["renewed_at"].astimezone(UTC)) for row in rows]

    def take(self, claim: Claim, dead: Claim | None) -> bool:
        retry_conflicts(self._create, CLAIMS)
        row = self._spark.range(1).select(
            F.lit(claim.name).alias("name"),
            F.lit(claim.nonce).alias("nonce"),
            F.lit(_to_json(claim)).alias("claim"),
            F.current_timestamp().alias("renewed_at"),
        )
        is_dead = "false" if dead is None else f"target.nonce = {text_literal(dead.nonce)}"

        def merge() -> None:
            merged = self._delta().alias("target").merge(row.alias("source"), "target.name = source.name")
            merged.whenMatchedUpdateAll(condition=is_dead).whenNotMatchedInsertAll().execute()

        retry_conflicts(merge, CLAIMS)
        found = self.read(claim.name)
        return found is not None and found.nonce == claim.nonce

    def renew(self, claim: Claim) -> bool:
        own = f"nonce = {text_literal(claim.nonce)}"
        retry_conflicts(lambda: self._delta().update(own, {"renewed_at": F.current_timestamp()}), CLAIMS)
        found = self.read(claim.name)
        return found is not None and found.nonce == claim.nonce

    def release(self, claim: Claim) -> None:
        retry_conflicts(lambda: self._delta().delete(f"nonce = {text_literal(claim.nonce)}"), CLAIMS)

    def _delta(self) -> DeltaTable:
        return self._catalog.delta(CLAIMS)

    def _create(self) -> None:
        if not self._catalog.exists(CLAIMS):
            columns = self._catalog.builder(CLAIMS).addColumn("name", "STRING").addColumn("nonce", "STRING")
            columns.addColumn("claim", "STRING").addColumn("renewed_at", "TIMESTAMP").execute()


def new_claim(name: str, run_id: str) -> Claim:
    """Make a claim of this process."""
    now = datetime.now(UTC)
    return Claim(name, run_id, socket.gethostname(), machine(), os.getpid(), process_start(os.getpid()) or "", now, uuid.uuid4().hex, now)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w@.-]", "_", name) + ".json"


def _to_json(claim: Claim) -> str:
    fields = asdict(claim) | {"started_at": claim.started_at.isoformat()}
    del fields["renewed_at"]
    return json.dumps(fields)


def _from_json(text: str, renewed_at: datetime) -> Claim:
    fields = json.loads(text)
    started_at = datetime.fromisoformat(fields.pop("started_at"))
    return Claim(**fields, started_at=started_at, renewed_at=renewed_at)
