"""Keep the identity of clusters over refits: match new clusters to old ones by the users they share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

#: A new cluster keeps the id of its match if they share so much: users in both, over users in either.
LEAST_OVERLAP = 0.2

#: A cluster comes from another, or goes into it, if so much of its users do.
LEAST_ORIGIN = 0.5

_NUMBER = re.compile(r"c(\d+)")


@dataclass(frozen=True)
class Change:
    """What a refit did to one cluster.

    cluster_id: the old id where the cluster ended, else the new one
    change:     kept, born, split (from other_id), died or merged (into other_id)
    shared:     users that the cluster has in common with its match, or with other_id; 0 for born and died
    """

    cluster_id: str
    change: str
    other_id: str | None
    shared: int


def name_clusters(n_clusters: int, after: int = 0) -> tuple[str, ...]:
    """Name clusters that have no past, by numbers after one."""
    return tuple(f"c{number:02d}" for number in range(after + 1, after + n_clusters + 1))


def last_number(ids: Sequence[str]) -> int:
    """Find the largest number among ids; 0 without any."""
    return max((int(found[1]) for each in ids if (found := _NUMBER.fullmatch(each))), default=0)


def match_clusters(shared: np.ndarray, old_ids: Sequence[str], last_used: int) -> tuple[tuple[str, ...], tuple[Change, ...]]:
    """Give new clusters the ids of old ones, such that as many users as possible keep theirs (Kuhn 1955).

    A new cluster without a match has split from an old one, or was born. An old one without a match has merged into a new one, or died.

    shared:    (old, new), users of an old and a new cluster
    last_used: the largest number that any cluster ever had
    Returns:   the ids of the new clusters, and what happened to each cluster
    """
    old_sizes, new_sizes = shared.sum(axis=1), shared.sum(axis=0)
    matches = {}
    for old, new in zip(*linear_sum_assignment(-shared), strict=True):
        either = old_sizes[old] + new_sizes[new] - shared[old, new]
        if shared[old, new] > 0 and shared[old, new] >= LEAST_OVERLAP * either:
            matches[new] = old
    ids: list[str] = []
    for new in range(shared.shape[1]):
        if new in matches:
            ids.append(old_ids[matches[new]])
        else:
            last_used += 1
            ids += name_clusters(1, last_used - 1)
    changes = []
    for new, cluster_id in enumerate(ids):
        if new in matches:
            changes.append(Change(cluster_id, "kept", None, int(shared[matches[new], new])))
            continue
        origin = int(shared[:, new].argmax()) if len(old_ids) else 0
        is_split = len(old_ids) > 0 and shared[origin, new] > LEAST_ORIGIN * new_sizes[new]
        changes.append(
            Change(cluster_id, "split", old_ids[origin], int(shared[origin, new])) if is_split else Change(cluster_id, "born", None, 0)
        )
    for old, cluster_id in enumerate(old_ids):
        if old in matches.values():
            continue
        heir = int(shared[old].argmax())
        is_merged = shared[old, heir] > LEAST_ORIGIN * old_sizes[old]
        changes.append(
            Change(cluster_id, "merged", ids[heir], int(shared[old, heir])) if is_merged else Change(cluster_id, "died", None, 0)
        )
    return tuple(ids), tuple(changes)


def measure_stability(before: np.ndarray, after: np.ndarray) -> float:
    """Compute the population stability index of the sizes of clusters: the sum of (b - a) ln(b / a) over shares (Siddiqi 2006).

    before, after: users of every cluster; one is added to each, so that an empty cluster has a share
    """
    first, second = ((sizes + 1) / (sizes + 1).sum() for sizes in (before, after))
    return float(((second - first) * np.log(second / first)).sum())
