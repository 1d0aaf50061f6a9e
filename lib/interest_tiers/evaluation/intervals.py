"""Means over users with bootstrap intervals, at a cost that does not grow with the users.

Users fall into BUCKETS groups by a hash of their id; sums per group come to the driver, and whole groups are
drawn with replacement (the cluster bootstrap, Davison and Hinkley 1997, section 3.8; groups made by a hash are
exchangeable). With fewer users than groups this is the ordinary bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import Column
from pyspark.sql import functions as F
from scipy.stats import bootstrap

BUCKETS = 500
SEED = 17


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; no interval where a single group cannot give one."""

    value: float
    lower: float | None
    upper: float | None


def bucket() -> Column:
    """The group of the column user_id."""
    return F.pmod(F.xxhash64("user_id"), F.lit(BUCKETS))


def estimate(groups: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], samples: int) -> Estimate:
    """A statistic of per-group sums.

    groups: arrays of equal length, one number per group. statistic: takes them and axis, sums over that axis first.
    """
    value = float(statistic(*groups, axis=-1))
    if len(groups[0]) < 2:
        return Estimate(value, None, None)
    drawn = bootstrap(
        tuple(groups),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=samples,
        batch=200,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return Estimate(value, float(drawn.confidence_interval.low), float(drawn.confidence_interval.high))


def ratio(total: np.ndarray, count: np.ndarray, axis: int = -1) -> np.ndarray:
    """Sum over sum: the mean over users of per-group sums."""
    return total.sum(axis=axis) / count.sum(axis=axis)
