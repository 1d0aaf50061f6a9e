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
    values: dict[tuple[str, int], float] = {}
    for row in rows:
        where = Slice.parse(row["slice"])
        if where.bin is not None and where.level == level:
            values[row["metric"], where.bin] = row["value"]
    found = []
    for tier in TIERS:
        for number in sorted(number for metric, number in values if metric == f"n_pairs_{tier}"):
            predicted, observed = values[f"mean_probability_{tier}", number], values[f"observed_share_{tier}", number]
            found.append(ReliabilityBin(tier, predicted, observed, int(values[f"n_pairs_{tier}", number])))
    return tuple(found)
