"""Means over users, and differences of such means, with bootstrap intervals at a cost that does not grow with the users.

Users fall into BUCKETS groups by a hash of their id. Sums per group come to the driver, and whole groups are resampled with
replacement (the cluster bootstrap, Davison and Hinkley 1997, section 3.8). Groups made by a hash are exchangeable. With fewer users
than groups this is the ordinary bootstrap. The difference of two models is paired: every resample holds the same users for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from packaging.version import Version
from pyspark.sql import Column
from pyspark.sql import functions as F
from scipy.stats import bootstrap

BUCKETS = 500
SEED = 17

#: Argument of SciPy's bootstrap for the random numbers; renamed in 1.15.
RANDOM = "rng" if Version(scipy.__version__) >= Version("1.15") else "random_state"


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; no interval where there is a single group."""

    value: float
    lower: float | None = None
    upper: float | None = None


def assign_bucket() -> Column:
    """Compute the group of the column user_id."""
    return F.pmod(F.xxhash64("user_id"), F.lit(BUCKETS))


def estimate(groups: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], samples: int) -> Estimate:
    """Estimate a statistic of sums per group.

    groups: arrays of equal length, one number per group. statistic: takes them and axis, and first sums over that axis.
    samples: resamples of the bootstrap.
    """
    value = float(statistic(*groups, axis=-1))
    if len(groups[0]) < 2:
        return Estimate(value)
    resampled = bootstrap(
        tuple(groups),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=samples,
        batch=200,
        method="percentile",
        **{RANDOM: np.random.default_rng(SEED)},
    )
    return Estimate(value, float(resampled.confidence_interval.low), float(resampled.confidence_interval.high))


def estimate_difference(
    groups: Sequence[np.ndarray], reference: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], samples: int
) -> Estimate:
    """Estimate the statistic of a model minus that of a reference, on the same resampled groups.

    groups, reference: as in estimate; position i of each array is the same group of users.
    """

    def subtract(*both: np.ndarray, axis: int = -1) -> np.ndarray:
        return statistic(*both[: len(groups)], axis=axis) - statistic(*both[len(groups) :], axis=axis)

    return estimate([*groups, *reference], subtract, samples)


def divide_sums(total: np.ndarray, count: np.ndarray, axis: int = -1) -> np.ndarray:
    """Divide sum by sum: the mean over users of sums per group."""
    return total.sum(axis=axis) / count.sum(axis=axis)
