"""What a worker keeps is loaded once, and costs nothing at the tasks that follow."""

from __future__ import annotations

import gc
import importlib
import sys
import weakref
import zipfile
import zipimport
from collections.abc import Iterator
from pathlib import Path

import pytest

from interest_tiers.spark.worker import once_per_worker


class Model:
    """With a cycle, which only the garbage collector can free."""

    def __init__(self, name: str) -> None:
        self.name, self.itself = name, self


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.collect()


def test_a_load_for_the_same_arguments_is_kept_and_no_longer_looked_through() -> None:
    loads: list[str] = []

    @once_per_worker
    def model(name: str) -> Model:
        loads.append(name)
        return Model(name)

    first = model("a")
    assert not any(found is first for found in gc.get_objects())
    assert gc.get_freeze_count() > 0
    assert (model("a"), model("b").name, loads) == (first, "b", ["a", "b"])


def test_what_was_kept_before_goes() -> None:
    @once_per_worker
    def model(name: str) -> Model:
        return Model(name)

    kept = [weakref.ref(model(name)) for name in ("a", "b", "c")]
    # Of the last two: one is kept, and the other was until the third was there.
    assert [reference() is None for reference in kept] == [True, False, False]


def test_archives_are_not_read_again_before_every_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "packages.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("archived/__init__.py", "archived/early.py", "archived/late.py"):
            file.writestr(name, f"NAME = {name!r}")
    monkeypatch.syspath_prepend(str(archive))
    importlib.import_module("archived.early")

    once_per_worker(lambda: Model("a"))()
    reads: list[str] = []
    read = zipimport._read_directory  # type: ignore[attr-defined]
    monkeypatch.setattr(zipimport, "_read_directory", lambda path: reads.append(path) or read(path))
    importlib.invalidate_caches()  # as PySpark does before a task
    assert reads == []

    assert importlib.import_module("archived.late").NAME == "archived/late.py"
    for name in [name for name in sys.modules if name.startswith("archived")]:
        monkeypatch.delitem(sys.modules, name)
