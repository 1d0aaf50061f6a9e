"""How the library asks for a frame to be computed once: it names the frame, the caller decides where it is kept."""

from __future__ import annotations

from typing import Protocol

from pyspark.sql import DataFrame


class Materialise(Protocol):
    """Computes a frame once and returns it as a frame that can be read many times.

    A stage passes Warehouse.stage, a test may pass one that caches. Names are unique within one composition.
    """

    def __call__(self, name: str, rows: DataFrame) -> DataFrame: ...


def prefixed(materialise: Materialise, prefix: str) -> Materialise:
    """Put a prefix before every name, so that one composition can run twice in a command."""
    return lambda name, rows: materialise(f"{prefix}/{name}", rows)
