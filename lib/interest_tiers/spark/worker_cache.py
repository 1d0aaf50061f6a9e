"""What a Python worker loads at its first batch and keeps: models, tokenizers."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, TypeVar
from zipimport import zipimporter

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

Loaded = TypeVar("Loaded")


def once_per_worker(load: Callable[..., Loaded]) -> _lru_cache_wrapper[Loaded]:
    """Decorates a function that loads: it is called once for the same arguments, and what it gave last is kept.

    What is there then, a few hundred thousand objects of torch and transformers, stays as long as the worker. Python's garbage collector
    no longer looks through it: PySpark calls it after every task, and it took 0.3 s each time. Nor are archives read
    again before every task.
    """

    @lru_cache(maxsize=1)
    @wraps(load)
    def loaded(*arguments: Any) -> Loaded:
        found = load(*arguments)
        # What was kept before may go now.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        _leave_archives_alone()
        return found

    return loaded


def _leave_archives_alone() -> None:
    """Have Python forget its readers of archives; a later import makes one anew, from what zipimport knows of the archive.

    PySpark calls importlib.invalidate_caches before every task, and each reader then reads the whole list of its archive: for pyspark.zip
    there are 16, one per package, which took 0.15 s each time.
    """
    for path, reader in list(sys.path_importer_cache.items()):
        if isinstance(reader, zipimporter):
            del sys.path_importer_cache[path]
