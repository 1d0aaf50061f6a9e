"""What a stage returns and what it measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StageResult:
    """Rows in and out, and further counts for the run record and for the person who watches."""

    rows_in: int
    rows_out: int
    message: str = ""


@dataclass(frozen=True)
class Measurement:
    """One row of the table metrics; lower and upper bound a 95 % interval."""

    metric: str
    slice: str
    value: float
    lower: float | None = None
    upper: float | None = None
