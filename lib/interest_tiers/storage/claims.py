"""Let one run at a time write a table, or one day of it. Where claims are kept is in claim_stores.py."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta

from interest_tiers.errors import WarehouseError, short_message
from interest_tiers.processes import machine, process_start
from interest_tiers.storage.claim_stores import Claim, ClaimStore, new_claim
from interest_tiers.storage.table import Table

#: How long a claim of another machine counts without a heartbeat. The clocks of the machines must agree to some minutes.
LEASE = timedelta(minutes=10)

#: Between two looks at a claim that is waited for, and between two lines of the log that say so.
POLL_SECONDS, LOG_SECONDS = 1.0, 60.0

log = logging.getLogger(__name__)


class Claims:
    """The claims of one run. A claim names a table and an as_of, or a whole table.

    A daemon thread renews the claims while they are held. A claim whose writer died is taken over: on the same machine
    when its process is gone, of another machine when it was not renewed for LEASE.
    """

    def __init__(self, store: ClaimStore, run_id: str) -> None:
        self.run_id = run_id
        self._store = store
        self._held: dict[str, tuple[Claim, int]] = {}
        self._lock = threading.RLock()
        self._heart: _Heart | None = None

    @contextmanager
    def hold(self, tables: Iterable[Table], as_of: date | None, wait: bool = False) -> Iterator[None]:
        """Hold the claims on tables: for as_of where a table has rows for each, else on the whole table.

        Tables that several runs may write at once need no claim and take none (Table.is_shared). Without as_of, a claim
        on a table with rows for each as_of excludes the writers of every as_of.
        Raises WarehouseError at once when another run holds one of them; with wait, waits until it is free.
        """
        names = sorted({_name_of(table, as_of) for table in tables if not table.is_shared})
        with ExitStack() as held:
            # All runs take them in the same order, so that no two wait for each other.
            for name in names:
                self._take(name, wait)
                held.callback(self._release, name)
            yield

    def register_run(self) -> None:
        """Let other runs see that this one is alive, until release_run.

        Not in a catalog, where it would cost commits: there a run is alive while it holds the claim on a table.
        """
        name = _name_of_run(self.run_id)
        if self._store.registers_runs and name not in self._held:
            self._take(name, wait=False)

    def release_run(self) -> None:
        """End what register_run began."""
        name = _name_of_run(self.run_id)
        if name in self._held:
            self._release(name)

    def live_runs(self) -> set[str]:
        """Return the ids of the runs that hold a claim and are alive."""
        live = set()
        for claim in self._store.list():
            if not is_dead(claim):
                live.add(claim.run_id)
            elif claim.name == _name_of_run(claim.run_id):
                self._store.release(claim)  # nobody takes it over
        return live

    def _take(self, name: str, wait: bool) -> None:
        with self._lock:
            if name in self._held:
                claim, count = self._held[name]
                self._held[name] = claim, count + 1
                return
        logged_at = None
        while (other := self._try_to_take(name)) is not None:
            if not wait:
                raise WarehouseError(
                    f"{_described(name)} is being written by the run {other.run_id} on {other.host} (process {other.pid}, started "
                    f"{other.started_at:%Y-%m-%d %H:%M:%S} UTC). Try again when it has ended, or wait for it with --wait"
                )
            if logged_at is None or time.monotonic() - logged_at > LOG_SECONDS:
                log.warning("waiting for the run %s on %s, which writes %s", other.run_id, other.host, _described(name))
                logged_at = time.monotonic()
            # Random, so that two that wait do not meet again.
            time.sleep(POLL_SECONDS * random.uniform(0.5, 1))  # noqa: S311

    def _try_to_take(self, name: str) -> Claim | None:
        """Take a claim; returns the claim of another run that is in the way, or None when it was taken."""
        own = new_claim(name, self.run_id)
        while True:
            found = self._store.read(name)
            if found is not None and not is_dead(found):
                return found
            if found is not None:
                log.warning("taking over %s from the run %s on %s, which has died", _described(name), found.run_id, found.host)
            if self._store.take(own, found):
                break
        # A whole table and its days exclude each other: both write their claim before they look, so one of them sees the other.
        other = next((claim for claim in self._overlapping(name) if claim.run_id != self.run_id and not is_dead(claim)), None)
        if other is not None:
            self._store.release(own)
            return other
        with self._lock:
            self._held[name] = own, 1
            if self._heart is None:
                self._heart = _Heart(self._store.heartbeat_seconds, self._renew)
                self._heart.start()
        return None

    def _overlapping(self, name: str) -> list[Claim]:
        table, _, day = name.partition("@")
        if day:
            whole = None if table == "run" else self._store.read(table)
            return [] if whole is None else [whole]
        return [claim for claim in self._store.list() if claim.name.startswith(f"{table}@")]

    def _release(self, name: str) -> None:
        with self._lock:
            claim, count = self._held[name]
            if count > 1:
                self._held[name] = claim, count - 1
                return
            del self._held[name]
            if not self._held and self._heart is not None:
                self._heart.stop()
                self._heart = None
        self._store.release(claim)

    def _renew(self) -> None:
        with self._lock:
            claims = [claim for claim, _ in self._held.values()]
        for claim in claims:
            if not self._store.renew(claim) and claim.name in self._held:
                log.error("another run took over %s: this one was not heard of for %s", _described(claim.name), LEASE)


def is_dead(claim: Claim) -> bool:
    """Whether the process that made a claim has ended."""
    if claim.machine and claim.machine == machine():
        return process_start(claim.pid) != claim.process_started
    return datetime.now(UTC) - claim.renewed_at > LEASE


class _Heart(threading.Thread):
    """Calls a function every few seconds until it is stopped, or until the process ends."""

    def __init__(self, seconds: float, beat: Callable[[], None]) -> None:
        super().__init__(name="claims", daemon=True)
        self._seconds, self._beat, self._stopped = seconds, beat, threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._beat()
            except Exception as error:  # a store that cannot be reached now may be reached at the next beat
                log.warning("the claims of this run could not be renewed: %s", short_message(error))

    def stop(self) -> None:
        self._stopped.set()


def _name_of(table: Table, as_of: date | None) -> str:
    return f"{table.name}@{as_of.isoformat()}" if table.is_derived and as_of is not None else table.name


def _name_of_run(run_id: str) -> str:
    return f"run@{run_id}"


def _described(name: str) -> str:
    table, _, day = name.partition("@")
    return f"{table} of {day}" if day else table
