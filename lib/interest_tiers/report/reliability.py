"""The reliability of tier probabilities: in every bin of predictions, the mean prediction and how often the tier came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interest_tiers.config import TIERS
from interest_tiers.slices import Slice


@dataclass(frozen=True)
class ReliabilityBin:
    """Pairs whose probability of a tier is in one bin."""

    tier: str
    predicted: float  # mean probability
    observed: float  # share of the pairs that had the tier in the horizon
    pairs: int


def read_reliability(rows: Sequence[Mapping[str, Any]], level: str | None = None) -> tuple[ReliabilityBin, ...]:
    """Read the bins of the computed tiers, by tier and probability.

    rows:  (metric, slice, value); those with a bin in the slice are read
    level: of a hierarchy
    """
    values: dict[tuple[int, str], float] = {}
    for row in rows:
        where = Slice.parse(row["slice"])
        if where.bin is not None and where.level == level:
            values[where.bin, row["metric"]] = row["value"]
    bins = sorted({number for number, _ in values})
    return tuple(
        ReliabilityBin(tier, *(values[number, f"{name}_{tier}"] for name in ("mean_probability", "observed_share")), int(values[counted]))
        for tier in TIERS
        for number in bins
        if (counted := (number, f"n_pairs_{tier}")) in values
    )
