"""Try numbers of clusters on a bounded sample, in the driver's memory: starts, silhouettes, agreement of halves, the choice.

Clusters are those of spherical k-means (Dhillon and Modha 2001), as MLlib's KMeans by cosine finds them: points and
centroids have length 1. Nothing here starts a Spark job.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics import adjusted_rand_score

from interest_tiers.clustering.kmeans import scale_to_unit_length

#: Lloyd iterations of one start.
ITERATIONS = 50

#: Times that the sample is split in two halves, which are clustered apart.
SPLITS = 5

#: Draws of the Gaussian without clusters.
NULL_DRAWS = 3

#: Scores within this of the best count as equal, and the larger k wins: about twice the standard error of the agreement.
TIE = 0.05


@dataclass(frozen=True)
class Clustered:
    """Hold a clustering of points: centroids of length 1, one label per point, and the sum of cosine distances."""

    centroids: np.ndarray
    labels: np.ndarray
    cost: float


@dataclass(frozen=True)
class Trial:
    """What a number of clusters gave on the sample.

    silhouette:      mean over users, cosine
    null_silhouette: of a Gaussian of the same covariance, scaled and clustered alike
    agreement:       adjusted Rand index of the labels from two halves of the users, the mean over SPLITS
    smallest:        share of users in the smallest cluster
    """

    k: int
    silhouette: float
    null_silhouette: float
    agreement: float
    smallest: float

    @property
    def excess(self) -> float:
        """The part of the silhouette that points without clusters do not have."""
        return self.silhouette - self.null_silhouette

    @property
    def score(self) -> float:
        """What the choice of k maximises."""
        return self.agreement + self.excess


def fit_spherical(points: np.ndarray, centroids: np.ndarray, iterations: int = ITERATIONS) -> Clustered:
    """Improve centroids until no point changes its cluster; an empty cluster keeps its centroid.

    points: (points, width), of length 1. centroids: (k, width), of length 1.
    """
    labels = label_points(points, centroids).labels
    for _ in range(iterations):
        sums = _mark(labels, len(centroids)).T @ points
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centroids = np.where(norms > 0, sums / np.maximum(norms, 1e-12), centroids).astype(points.dtype)
        before, labels = labels, (points @ centroids.T).argmax(axis=1)
        if (before == labels).all():
            break
    return label_points(points, centroids)


def label_points(points: np.ndarray, centroids: np.ndarray) -> Clustered:
    """Give every point its nearest centroid."""
    labels = (points @ centroids.T).argmax(axis=1)
    return Clustered(centroids, labels, float(len(points) - (points * centroids[labels]).sum()))


def split_by_components(points: np.ndarray, k: int) -> np.ndarray:
    """Find k first centroids without chance: split the cluster with the largest variance at its first component (Su and Dy 2007).

    Fewer come out where fewer points differ.
    """
    labels, spread = np.zeros(len(points), dtype=int), {0: _sum_squares(points)}
    for new in range(1, k):
        widest = max(spread, key=lambda cluster: (spread[cluster], -cluster))
        members = np.flatnonzero(labels == widest)
        centred = points[members] - points[members].mean(axis=0)
        direction = np.linalg.eigh((centred.T @ centred).astype(np.float64))[1][:, -1]
        moved = members[centred @ direction * np.sign(direction[np.abs(direction).argmax()]) > 1e-9]
        if not len(moved) or len(moved) == len(members):
            break
        labels[moved] = new
        spread |= {cluster: _sum_squares(points[labels == cluster]) for cluster in (widest, new)}
    sums = _mark(labels, labels.max() + 1).T @ points
    return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).astype(points.dtype)


def cluster_points(points: np.ndarray, k: int, starts: int, seed: int) -> Clustered:
    """Cluster points from several starts and keep the smallest sum of distances: one start by components, the others k-means++."""
    best = fit_spherical(points, split_by_components(points, k))
    for start in range(1, starts):
        first, _ = kmeans_plusplus(points, min(k, len(points)), random_state=1000 * seed + start)
        found = fit_spherical(points, first)
        # Rounded, since the sum of distances of the same clusters differs in its last digits.
        best = found if round(found.cost, 3) < round(best.cost, 3) else best
    return best


def measure_silhouette(points: np.ndarray, labels: np.ndarray) -> float | None:
    """Compute the mean silhouette by cosine distance, exactly and in time linear in points; None with one cluster.

    The mean distance to the points of a cluster is 1 minus the cosine to their mean, since points have length 1.
    A point alone in its cluster has 0 (Rousseeuw 1987).
    """
    known, places = np.unique(labels, return_inverse=True)
    if len(known) < 2:
        return None
    points = points.astype(np.float64)
    marks = _mark(places, len(known))
    sizes = np.asarray(marks.sum(axis=0)).ravel()
    distances = 1 - points @ ((marks.T @ points) / sizes[:, None]).T
    rows, own_size = np.arange(len(points)), sizes[places]
    own = distances[rows, places] * own_size / np.maximum(own_size - 1, 1)
    distances[rows, places] = np.inf
    other = distances.min(axis=1)
    silhouettes = np.where(own_size > 1, (other - own) / np.maximum(np.maximum(own, other), 1e-12), 0.0)
    return float(silhouettes.mean())


def draw_null(variances: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw points of a Gaussian with these variances along its components, scaled to length 1."""
    drawn = np.random.default_rng(seed).normal(size=(n, len(variances))) * np.sqrt(variances)
    return scale_to_unit_length(drawn)


def measure_agreement(points: np.ndarray, k: int, starts: int, seed: int) -> float:
    """Cluster two halves of the points apart, label all points by each, and compare: the mean adjusted Rand index over SPLITS."""
    found = []
    for split in range(SPLITS):
        order = np.random.default_rng(seed + split).permutation(len(points))
        halves = np.array_split(order, 2)
        fitted = [cluster_points(points[half], k, starts, seed + split) for half in halves]
        labels = [label_points(points, each.centroids).labels for each in fitted]
        found.append(adjusted_rand_score(*labels))
    return float(np.mean(found))


def try_k(points: np.ndarray, variances: np.ndarray, k: int, starts: int, seed: int) -> tuple[Trial, Clustered]:
    """Cluster the sample into k and measure what came out. points: more than k of them differ."""
    found = cluster_points(points, k, starts, seed)
    nulls = []
    for draw in range(NULL_DRAWS):
        null = draw_null(variances, len(points), seed + draw)
        nulls.append(measure_silhouette(null, cluster_points(null, k, 3, seed).labels) or 0.0)
    sizes = np.bincount(found.labels, minlength=k)
    agreement = measure_agreement(points, k, math.ceil(starts / 2), seed)
    silhouette = measure_silhouette(points, found.labels) or 0.0
    return Trial(k, silhouette, float(np.mean(nulls)), agreement, float(sizes.min() / len(points))), found


def choose_k(trials: Sequence[Trial], min_share: float) -> Trial:
    """Choose the k with the largest score; within TIE of it the largest k.

    Clusterings whose smallest cluster holds less than min_share of the users are passed over, unless all are.
    """
    allowed = [trial for trial in trials if trial.smallest >= min_share] or list(trials)
    best = max(trial.score for trial in allowed)
    return max((trial for trial in allowed if trial.score >= best - TIE), key=lambda trial: trial.k)


def _mark(labels: np.ndarray, k: int) -> sparse.csr_matrix:
    """Build a matrix of points x clusters with 1 where a point is in a cluster."""
    return sparse.csr_matrix((np.ones(len(labels), np.float32), (np.arange(len(labels)), labels)), (len(labels), k))


def _sum_squares(points: np.ndarray) -> float:
    return float(((points - points.mean(axis=0)) ** 2).sum())
