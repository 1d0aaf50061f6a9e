"""Working folders of trainings: each has one owner, and what a dead owner left can be taken over.

    FOLDER/NAME.RUN_ID/            what the training writes
    FOLDER/NAME.RUN_ID.owner.json  the command that owns it; its time of change is the owner's last heartbeat

A command removes its own folder. Of others it removes only what a dead owner left: rows at once, checkpoints after a week.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from interest_tiers.processes import machine, process_start

OWNER = ".owner.json"

#: Seconds between heartbeats, and without one after which an owner on another machine counts as dead.
HEARTBEAT_SECONDS, DEAD_SECONDS = 30.0, 600.0

#: Seconds after which the checkpoints of a dead owner are removed.
EXPIRY_SECONDS = 7 * 24 * 3600.0

#: Bytes of a row group: a reader holds one in memory.
ROW_GROUP_BYTES = 16 * 1024**2


@dataclass(frozen=True)
class Owner:
    """The command that owns a working folder.

    machine: host, boot and process namespace. started: start time of the process in clock ticks, which tells it from a later one
    with the same pid. is_released: the command has stopped its work and keeps the folder for the next one.
    """

    run_id: str
    machine: str
    pid: int
    started: str | None
    is_released: bool = False


@dataclass(frozen=True)
class WorkingFolder:
    """The folder of one training under way."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def rows(self, name: str) -> Path:
        """Return the folder of the rows of that name: training, tuning, ...; they never outlive the command."""
        return self.path / "rows" / name

    def write_rows(self, name: str, rows: DataFrame, partition_by: str | None = None) -> Path:
        """Write rows to Parquet for the processes of the training; returns their folder."""
        writer = rows.write.mode("overwrite").option("parquet.block.size", ROW_GROUP_BYTES)
        (writer if partition_by is None else writer.partitionBy(partition_by)).parquet(self.rows(name).as_uri())
        return self.rows(name)

    def remove_rows(self) -> None:
        """Remove all rows; they may hold what users wrote."""
        shutil.rmtree(self.path / "rows", ignore_errors=True)


@contextmanager
def claim_folder(parent: Path, name: str, run_id: str) -> Iterator[WorkingFolder]:
    """Own a working folder while the block runs, and tell others so by heartbeats.

    The folder of a dead owner of the same name is taken over, with its checkpoints and without its rows. The folder is removed when the
    block ends well. Otherwise its checkpoints stay for the next command.
    """
    own = parent / f"{name}.{run_id}"
    owner = Owner(run_id, machine(), os.getpid(), process_start(os.getpid()))
    _write_owner(own, owner)
    _clean_up(parent)
    if not _take_over(parent, name, own):
        own.mkdir(parents=True, exist_ok=True)
    working, stop = WorkingFolder(own), threading.Event()
    working.remove_rows()
    beats = threading.Thread(target=_beat, args=(own, stop), name="heartbeat", daemon=True)
    beats.start()
    try:
        yield working
    except BaseException:
        working.remove_rows()
        _stop(beats, stop)
        _write_owner(own, Owner(**{**asdict(owner), "is_released": True}))
        raise
    _stop(beats, stop)
    shutil.rmtree(own, ignore_errors=True)
    _owner_file(own).unlink(missing_ok=True)
    with suppress(OSError):  # others work in it
        parent.rmdir()


def _take_over(parent: Path, name: str, own: Path) -> bool:
    """Rename the folder of a dead owner to the own name; of several commands that try, one succeeds."""
    for folder in sorted(parent.glob(f"{name}.*")):
        if folder == own and folder.is_dir():
            return True
        if not folder.is_dir() or not _owner_file(folder).is_file() or _is_alive(folder):
            continue
        with suppress(OSError):  # another command was faster
            folder.rename(own)
            _owner_file(folder).unlink(missing_ok=True)
            return True
    return False


def _clean_up(parent: Path) -> None:
    """Remove the rows that dead owners left, and everything of those that died more than a week ago."""
    now = _now_in(parent)
    for folder in sorted(parent.iterdir()):
        if not folder.is_dir():
            continue
        beat = _last_beat(folder)
        if beat is None:  # a process that was ended late may write to a folder that was taken over
            if now - folder.stat().st_mtime > EXPIRY_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        elif not _is_alive(folder):
            WorkingFolder(folder).remove_rows()
            if now - beat > EXPIRY_SECONDS:
                # First renamed, so that nobody takes over half of it.
                expired = folder.with_name(f"{folder.name}.expired")
                with suppress(OSError):
                    folder.rename(expired)
                    _owner_file(folder).unlink(missing_ok=True)
                    shutil.rmtree(expired, ignore_errors=True)


def _is_alive(folder: Path) -> bool:
    """Say whether the owner of a folder still works in it: by its process on this machine, by its heartbeat on others."""
    try:
        owner = Owner(**json.loads(_owner_file(folder).read_text(encoding="utf-8")))
    except FileNotFoundError:  # removed by its owner, or taken over
        return True
    if owner.is_released:
        return False
    if owner.machine == machine() and owner.started is not None:
        return process_start(owner.pid) == owner.started
    beat = _last_beat(folder)
    return beat is None or _now_in(folder.parent) - beat < DEAD_SECONDS


def _beat(folder: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with suppress(OSError):  # a file system that is away for a moment
            os.utime(_owner_file(folder))


def _stop(beats: threading.Thread, stop: threading.Event) -> None:
    stop.set()
    beats.join()


def _owner_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{OWNER}")


def _write_owner(folder: Path, owner: Owner) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f"{folder.name}.owner.new")
    new.write_text(json.dumps(asdict(owner)) + "\n", encoding="utf-8")
    new.replace(_owner_file(folder))


def _last_beat(folder: Path) -> float | None:
    try:
        return _owner_file(folder).stat().st_mtime
    except FileNotFoundError:
        return None


def _now_in(folder: Path) -> float:
    """Read the clock of the file system, by which heartbeats are dated; machines may disagree about the time."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".now-") as probe:
        return Path(probe.name).stat().st_mtime


def count_readable(folder: Path) -> tuple[int, int]:
    """Count rows and row groups of a folder. Files without rows are removed: a reader takes one for the end."""
    n_rows = n_groups = 0
    for file in sorted(folder.glob("*.parquet")):
        metadata = pq.read_metadata(file)
        if metadata.num_rows == 0:
            file.unlink()
        n_rows, n_groups = n_rows + metadata.num_rows, n_groups + (metadata.num_row_groups if metadata.num_rows else 0)
    return n_rows, n_groups
