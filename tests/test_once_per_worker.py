"""What a worker keeps is loaded once, and is nothing that the garbage collector looks through."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from interest_tiers.once_per_worker import once_per_worker


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
