"""The life cycle of a trained model: a working folder, one rename to its final folder, then a pointer.

    ROOT/DAY-FINGERPRINT/                 a trained model; never replaced, and never removed while it may serve
    ROOT/NAME.current.json                names the latest model of the data set NAME; written last, atomically
    ROOT.working/KIND-DAY-FINGERPRINT.RUN_ID/  rows, checkpoints and the unfinished model of a training under way

Several data sets and several commands can share a root: names of models differ by fingerprint, and each command works in a folder of
its own, see training.working_folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlparse

from interest_tiers.errors import ConfigError
from interest_tiers.training.working_folder import EXPIRY_SECONDS, WorkingFolder, claim_folder

#: Characters of a fingerprint that the name of a folder bears.
NAMED_CHARACTERS = 16

#: Ends the name of the file that names the latest model of a data set.
POINTER = ".current.json"

_EXPECTED = "Model files need a path that every machine shares (NFS, /Volumes, /dbfs)"


def model_root(given: str | None, warehouse_folder: str | None, key: str, name: str) -> Path:
    """Return the folder of trained models: the configured one, else models/NAME of a warehouse on a POSIX path.

    given: value of the config's key. warehouse_folder: location of the warehouse; None for a catalog.
    Raises ConfigError where neither is a path of the machines' file systems.
    """
    if given is not None:
        if not _is_posix(given):
            raise ConfigError(f"{key} is {given}. {_EXPECTED}, not an object store.")
        return Path(urlparse(given).path).resolve()
    if warehouse_folder is None:
        raise ConfigError(f"{key} is not set. {_EXPECTED}; a catalog holds no files.")
    if not _is_posix(warehouse_folder):
        raise ConfigError(f"{key} is not set. {_EXPECTED}; {warehouse_folder} is not one.")
    return (Path(urlparse(warehouse_folder).path) / "models" / name).resolve()


def _is_posix(location: str) -> bool:
    return urlparse(location).scheme in ("", "file")


@dataclass(frozen=True)
class Pointer:
    """The latest model of a data set."""

    name: str
    day: str
    fingerprint: str
    folder: str
    run_id: str


@dataclass(frozen=True)
class ModelStore:
    """The trained models of one root folder, as one command sees them.

    record: the file that a finished model has. run_id: of the command.
    """

    root: Path
    record: str
    run_id: str

    def folder(self, day: date, fingerprint: str) -> Path:
        """Return the folder of a model, whether or not it has been trained."""
        return self.root / f"{day}-{fingerprint[:NAMED_CHARACTERS]}"

    def is_trained(self, day: date, fingerprint: str) -> bool:
        """Say whether the model has been trained."""
        return (self.folder(day, fingerprint) / self.record).is_file()

    def sibling(self, suffix: str) -> Path:
        """Return the folder next to the root whose name has a suffix."""
        return self.root.with_name(f"{self.root.name}.{suffix}")

    @contextmanager
    def working_folder(self, day: date, fingerprint: str, kind: str = "training") -> Iterator[WorkingFolder]:
        """Claim a working folder, with the checkpoints of a dead run of the same fingerprint where there are some.

        It is removed when the work ends well, and kept for the next run where it fails. A live run of the same fingerprint keeps its
        own: two never share checkpoints, and both end with the same model. kind: training, or search.
        """
        with claim_folder(self.sibling("working"), f"{kind}-{day}-{fingerprint[:NAMED_CHARACTERS]}", self.run_id) as working:
            yield working

    def publish(self, finished: Path, day: date, fingerprint: str) -> Path:
        """Rename a finished folder to its final name; returns that. Where another run was faster, its equal model stays."""
        target = self.folder(day, fingerprint)
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            finished.rename(target)
        except OSError:
            if not self.is_trained(day, fingerprint):
                raise
        return target

    def keep_in_use(self, folder: Path) -> None:
        """Date a model of a back-test as used now, and remove those that no back-test has used for a week.

        Never call it on the store of the models that serve.
        """
        os.utime(folder)
        now = folder.stat().st_mtime
        for other in self.root.iterdir():
            if (other / self.record).is_file() and now - other.stat().st_mtime > EXPIRY_SECONDS:
                shutil.rmtree(other, ignore_errors=True)

    def point(self, name: str, day: date, fingerprint: str) -> None:
        """Let the pointer of a data set name a model, unless it names one of a later day."""
        current = self.read_pointer(name)
        if current is not None and (current.day > day.isoformat() or self._is_current(current, day, fingerprint)):
            return
        pointer = Pointer(name, day.isoformat(), fingerprint, self.folder(day, fingerprint).name, self.run_id)
        new = self.root / f"{name}{POINTER}.{self.run_id}"
        new.write_text(json.dumps(asdict(pointer), indent=2) + "\n", encoding="utf-8")
        new.replace(self.root / f"{name}{POINTER}")

    def read_pointer(self, name: str) -> Pointer | None:
        """Read which model of a data set is the latest; None where none was trained."""
        try:
            return Pointer(**json.loads((self.root / f"{name}{POINTER}").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    @staticmethod
    def _is_current(current: Pointer, day: date, fingerprint: str) -> bool:
        return (current.day, current.fingerprint) == (day.isoformat(), fingerprint)
