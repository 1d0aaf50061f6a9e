"""Calibrated lists (Steck, Calibrated Recommendations, 2018): the tiers in a list follow those of what its user does.

A user's target is how their evidence spreads over core, secondary and marginal interests, by the probabilities of tiers. The tiers of
a list are the mean probabilities of its items' interests. An interest that is new to the user is marginal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.interests.evidence import PAIR
from interest_tiers.recommend.pair_keys import make_keys

PROBABILITIES = tuple(f"p_{tier}" for tier in TIERS)

#: The tiers of an interest that is new to a user.
NEW_INTEREST = np.array([0.0, 0.0, 1.0])

#: The share of the target in the tiers of a list that it is compared with, so that a tier without items is not infinitely far.
SMOOTHING = 0.01


def gather_tiers(pairs: DataFrame, tiers: DataFrame, interests: DataFrame) -> DataFrame:
    """Gather one row per user: the probabilities of the tiers of their interests, and their target.

    pairs:     (user_id, interest_id, share, ...), of the finest level
    tiers:     (user_id, interest_id, p_core, p_secondary, p_marginal, ...)
    interests: (interest_id, interest int), the interests of ItemTable
    Returns:   (user_id, tiers array<struct<interest, p_core, p_secondary, p_marginal>>, target array<double>); read by read_tiers
    """
    known = pairs.select(*PAIR, "share").join(tiers.select(*PAIR, *PROBABILITIES), PAIR).join(F.broadcast(interests), "interest_id", "left")
    target = F.array(*[F.sum(F.col("share") * F.col(name)) for name in PROBABILITIES])
    of_table = F.collect_list(F.when(F.col("interest").isNotNull(), F.struct("interest", *PROBABILITIES)))
    return known.groupBy("user_id").agg(F.array_sort(of_table).alias("tiers"), target.alias("target"))


@dataclass(frozen=True)
class UserTiers:
    """The tiers of a batch of users.

    key:           (pairs,), of users and their interests in ItemTable, see pair_keys; ascending
    probabilities: (pairs, 3), of core, secondary and marginal
    target:        (users, 3)
    """

    key: np.ndarray
    probabilities: np.ndarray
    target: np.ndarray

    def of(self, user: np.ndarray, interest: np.ndarray) -> np.ndarray:
        """Find the probabilities of users' interests, (n, 3). interest: -1 for one that the table does not have."""
        if not len(self.key):
            return np.tile(NEW_INTEREST, (len(user), 1))
        wanted = make_keys(user, interest)
        position = np.minimum(np.searchsorted(self.key, wanted), len(self.key) - 1)
        return np.where((self.key[position] == wanted)[:, None], self.probabilities[position], NEW_INTEREST)


def read_tiers(tiers: pa.ListArray, target: pa.ListArray) -> UserTiers:
    """Read the columns of gather_tiers. A user without tiers has a target that is all marginal."""
    lengths = np.nan_to_num(tiers.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    flat = tiers.flatten()
    user = np.repeat(np.arange(len(lengths)), lengths)
    targets = np.array([NEW_INTEREST if of_user is None else of_user for of_user in target.to_pylist()]).reshape(-1, len(NEW_INTEREST))
    return UserTiers(
        make_keys(user, flat.field("interest").to_numpy()),
        np.stack([flat.field(name).to_numpy() for name in PROBABILITIES], axis=1),
        targets,
    )


def diverge(target: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """Compute the Kullback-Leibler divergence of the tiers of lists from users' targets, in nats. Both: (..., 3), broadcast."""
    smoothed = (1 - SMOOTHING) * listed + SMOOTHING * target
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(target > 0, target * np.log(target / smoothed), 0.0)
    return parts.sum(axis=-1)
