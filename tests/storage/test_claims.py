"""Claims: who gets one, who is refused or waits, and how a dead writer's claim is taken over."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers.errors import WarehouseError
from interest_tiers.processes import process_start
from interest_tiers.storage import claims as claims_module
from interest_tiers.storage.claim_stores import ClaimStore, LocalClaims, RemoteClaims, new_claim
from interest_tiers.storage.claims import Claims, is_dead
from interest_tiers.storage.files import Files
from interest_tiers.storage.schemas import INTERACTIONS, RUNS, TEXT_EMBEDDINGS, USER_TIERS, USER_VECTORS

MONDAY, TUESDAY = date(2017, 10, 9), date(2017, 10, 10)

#: Holds a claim until it is killed.
HOLDER = """
import sys, time
from datetime import date
from pathlib import Path
from interest_tiers.storage.claim_stores import LocalClaims
from interest_tiers.storage.claims import Claims
from interest_tiers.storage.schemas import USER_TIERS
with Claims(LocalClaims(Path(sys.argv[1])), "first").hold([USER_TIERS], date(2017, 10, 9)):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "POLL_SECONDS", 0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "_claims"


def test_a_second_run_is_refused_and_told_who_writes(folder: Path) -> None:
    first, second = Claims(LocalClaims(folder), "first"), Claims(LocalClaims(folder), "second")
    with first.hold([USER_VECTORS, USER_TIERS], MONDAY):
        with pytest.raises(WarehouseError) as refused, second.hold([USER_TIERS], MONDAY):
            pass
        message = str(refused.value)
        assert message.startswith("user_tiers of 2017-10-09 is being written by the run first on ")
        assert re.search(rf"\(process {os.getpid()}, started \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)", message)
        assert message.endswith("or wait for it with --wait")
    with second.hold([USER_TIERS], MONDAY):
        pass
    assert not list(folder.glob("*.json"))


def test_other_days_and_shared_tables_do_not_conflict(folder: Path) -> None:
    first, second = Claims(LocalClaims(folder), "first"), Claims(LocalClaims(folder), "second")
    with first.hold([USER_TIERS, TEXT_EMBEDDINGS, RUNS], MONDAY), second.hold([USER_TIERS, TEXT_EMBEDDINGS, RUNS], TUESDAY):
        assert sorted(path.name for path in folder.glob("*.json")) == ["user_tiers@2017-10-09.json", "user_tiers@2017-10-10.json"]


@pytest.mark.parametrize(("one", "other"), [(MONDAY, None), (None, MONDAY), (None, None)])
def test_a_whole_table_excludes_its_days(folder: Path, one: date | None, other: date | None) -> None:
    first, second = Claims(LocalClaims(folder), "first"), Claims(LocalClaims(folder), "second")
    with first.hold([USER_TIERS], one), pytest.raises(WarehouseError, match="run first"), second.hold([USER_TIERS], other):
        pass


def test_a_table_without_days_conflicts_whatever_the_day(folder: Path) -> None:
    first, second = Claims(LocalClaims(folder), "first"), Claims(LocalClaims(folder), "second")
    with first.hold([INTERACTIONS], MONDAY), pytest.raises(WarehouseError, match=r"^interactions is"), second.hold([INTERACTIONS], TUESDAY):
        pass


def test_what_was_taken_before_a_refusal_is_released(folder: Path) -> None:
    first, second = Claims(LocalClaims(folder), "first"), Claims(LocalClaims(folder), "second")
    with first.hold([USER_VECTORS], MONDAY):
        with pytest.raises(WarehouseError), second.hold([USER_TIERS, USER_VECTORS], MONDAY):
            pass
        with first.hold([USER_TIERS], MONDAY):
            pass


def test_a_run_may_hold_a_claim_twice(folder: Path) -> None:
    own = Claims(LocalClaims(folder), "first")
    with own.hold([USER_TIERS], MONDAY):
        with own.hold([USER_TIERS], MONDAY):
            pass
        assert own.live_runs() == {"first"}
    assert own.live_runs() == set()


def test_a_run_that_waits_goes_on_when_the_other_ends(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Claims(LocalClaims(folder), "first"), Claims(LocalClaims(folder), "second")
    order: list[str] = []

    def wait() -> None:
        with second.hold([USER_TIERS], MONDAY, wait=True):
            order.append("second")

    with first.hold([USER_TIERS], MONDAY):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.2)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
    waits = [record.getMessage() for record in caplog.records if record.getMessage().startswith("waiting")]
    assert len(waits) == 1
    assert "waiting for the run first on " in waits[0]


def test_a_killed_writer_is_recognised_and_its_claim_taken_over_by_one(folder: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(WarehouseError, match="run first"), Claims(LocalClaims(folder), "early").hold([USER_TIERS], MONDAY):
        pass
    holder.kill()
    holder.wait()
    start, taken, refused = threading.Barrier(8), [], []

    def take(name: str) -> None:
        start.wait()
        try:
            with Claims(LocalClaims(folder), name).hold([USER_TIERS], MONDAY):
                taken.append(name)
                time.sleep(1)
        except WarehouseError:
            refused.append(name)

    threads = [threading.Thread(target=take, args=(f"run{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(taken), len(refused)) == (1, 7)


def test_who_is_dead() -> None:
    own = new_claim("user_tiers", "first")
    long_ago = datetime.now(UTC) - timedelta(minutes=11)
    assert not is_dead(own)
    assert not is_dead(replace(own, renewed_at=long_ago))  # its process is there
    assert is_dead(replace(own, process_started="1"))  # another process has its id
    elsewhere = replace(own, machine="elsewhere", process_started="1")
    assert not is_dead(elsewhere)
    assert is_dead(replace(elsewhere, renewed_at=long_ago))
    assert process_start(2**22 + 1) is None


def test_a_claim_is_renewed_while_it_is_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalClaims(folder)
    monkeypatch.setattr(store, "heartbeat_seconds", 0.05, raising=False)
    with Claims(store, "first").hold([USER_TIERS], MONDAY):
        path = folder / "user_tiers@2017-10-09.json"
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert time.time() - path.stat().st_mtime < 10


def test_a_claim_is_renewed_again_after_an_error_without_a_message(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, renewed = LocalClaims(folder), threading.Event()
    beats = iter([OSError(), None])

    def renew(claim: object) -> bool:
        fault = next(beats, None)
        if fault is not None:
            raise fault
        renewed.set()
        return True

    monkeypatch.setattr(store, "heartbeat_seconds", 0.05, raising=False)
    monkeypatch.setattr(store, "renew", renew)
    with Claims(store, "first").hold([USER_TIERS], MONDAY):
        assert renewed.wait(10)


def test_a_lost_claim_is_neither_renewed_nor_removed(folder: Path) -> None:
    assert_a_dead_claim_is_replaced_once(LocalClaims(folder))


def test_claims_of_another_file_system(spark: SparkSession, tmp_path: Path) -> None:
    files = Files(spark)
    store = RemoteClaims(files, files.qualified(str(tmp_path / "remote")))
    assert_a_dead_claim_is_replaced_once(store)
    first, second = Claims(store, "first"), Claims(store, "second")
    with first.hold([USER_TIERS], MONDAY):
        assert second.live_runs() == {"first"}
        with pytest.raises(WarehouseError, match="run first"), second.hold([USER_TIERS], MONDAY):
            pass
    assert store.list() == []


def assert_a_dead_claim_is_replaced_once(store: ClaimStore) -> None:
    dead, heir, late = (new_claim("items", name) for name in ("dead", "heir", "late"))
    assert store.take(dead, None)
    assert not store.take(heir, None)
    assert store.take(heir, dead)
    assert not store.take(late, dead)  # it too saw the dead one
    assert not store.renew(dead)
    store.release(dead)
    assert store.renew(heir)
    found = store.read("items")
    assert found is not None
    assert (found.run_id, found.nonce, found.started_at) == ("heir", heir.nonce, heir.started_at)
    store.release(heir)
    assert store.read("items") is None
