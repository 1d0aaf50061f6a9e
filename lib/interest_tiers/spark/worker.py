"""What a Python worker has: the resources of its task, and what it loads once and keeps (models, tokenizers)."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, TypeVar
from zipimport import zipimporter

from pyspark import TaskContext

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

Loaded = TypeVar("Loaded")


def task_resources() -> tuple[str, int]:
    """Return the device and the number of threads that Spark assigned to this task."""
    task = TaskContext.get()
    assert task is not None  # only called on a worker
    gpu = task.resources().get("gpu")
    threads = max(1, int(task.cpus()))
    return (f"cuda:{gpu.addresses[0]}", threads) if gpu is not None else ("cpu", threads)


def once_per_worker(load: Callable[..., Loaded]) -> _lru_cache_wrapper[Loaded]:
    """Decorate a loader so that a worker keeps its last result, and loads again only for other arguments.

    The garbage collector no longer scans what was loaded: a few hundred thousand objects of torch and transformers. PySpark runs a
    collection after every task, which took 0.3 s each time. Zip archives are no longer read again before every task either.
    """

    @lru_cache(maxsize=1)
    @wraps(load)
    def loaded(*arguments: Any) -> Loaded:
        found = load(*arguments)
        # The result that this one replaces may be collected now.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        _forget_zip_readers()
        return found

    return loaded


def _forget_zip_readers() -> None:
    """Have Python forget its readers of zip archives; a later import creates one from the index that zipimport keeps.

    PySpark calls importlib.invalidate_caches before every task, and each reader then reads the whole index of its archive. For
    pyspark.zip there are 16 readers, one per package, which took 0.15 s each time.
    """
    for path, reader in list(sys.path_importer_cache.items()):
        if isinstance(reader, zipimporter):
            del sys.path_importer_cache[path]
