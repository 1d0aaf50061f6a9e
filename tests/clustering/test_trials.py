"""Trials of k: the silhouette, users without clusters, agreement of halves, starts and the choice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, silhouette_score

from interest_tiers.clustering.trials import (
    Trial,
    choose_k,
    cluster_points,
    draw_null,
    fit_spherical,
    measure_agreement,
    measure_silhouette,
    split_by_components,
    try_k,
)


def around_axes(sizes: tuple[int, ...], spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of length 1 around the first axes of a space of 6 dimensions, and the group of each."""
    labels = np.repeat(range(len(sizes)), sizes)
    points = np.eye(6)[labels] + np.random.default_rng(seed).normal(scale=spread, size=(sum(sizes), 6))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), labels


@given(st.integers(2, 7), st.integers(12, 60), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_silhouette_is_that_of_scikit_learn(k: int, n: int, seed: int) -> None:
    """Also where clusters run into each other, and where a point is alone in its cluster."""
    random = np.random.default_rng(seed)
    points = random.normal(size=(n, 5))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    labels = np.concatenate([np.arange(k), random.integers(0, k - 1, n - k)])  # the last label has one point
    assert measure_silhouette(points, labels) == pytest.approx(silhouette_score(points, labels, metric="cosine"), abs=1e-9)


def test_one_cluster_has_no_silhouette() -> None:
    assert measure_silhouette(np.eye(3), np.zeros(3, dtype=int)) is None


def test_planted_groups_are_found_by_components_alone_and_by_many_starts() -> None:
    points, labels = around_axes((40, 70, 25, 55), 0.15, seed=1)
    by_components = fit_spherical(points, split_by_components(points, 4))
    assert adjusted_rand_score(labels, by_components.labels) == 1.0
    assert adjusted_rand_score(labels, cluster_points(points, 4, 20, 3).labels) == 1.0


def test_more_starts_never_have_larger_distances() -> None:
    points, _ = around_axes((50, 50, 50, 50, 50), 0.6, seed=2)
    costs = [cluster_points(points, 7, starts, 5).cost for starts in (1, 5, 20)]
    assert costs == sorted(costs, reverse=True)


def test_centroids_are_means_of_length_one_and_cost_is_the_sum_of_distances() -> None:
    points, _ = around_axes((30, 30), 0.3, seed=4)
    found = cluster_points(points, 2, 5, 1)
    for cluster in (0, 1):
        mean = points[found.labels == cluster].mean(axis=0)
        np.testing.assert_allclose(found.centroids[cluster], mean / np.linalg.norm(mean), atol=1e-5)
    cosines = np.einsum("ij,ij->i", points, found.centroids[found.labels])
    assert found.cost == pytest.approx((1 - cosines).sum(), abs=1e-3)


def test_an_empty_cluster_keeps_its_centroid() -> None:
    points = np.array([[1.0, 0.0], [0.8, 0.6]], dtype=np.float32)
    found = fit_spherical(points, np.array([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32))
    assert found.labels.tolist() == [0, 0]
    np.testing.assert_allclose(found.centroids[1], [-1.0, 0.0])


def test_splitting_stops_where_no_points_differ() -> None:
    points = np.repeat(np.eye(2, dtype=np.float32), (3, 2), axis=0)
    assert len(split_by_components(points, 5)) == 2


def test_a_gaussian_without_clusters_has_no_excess_and_planted_groups_have() -> None:
    variances = np.array([1.0, 0.8, 0.6, 0.5, 0.5, 0.4])
    null, _ = try_k(draw_null(variances, 600, 9), variances, 4, 5, 1)
    assert abs(null.excess) < 0.03
    planted, _ = around_axes((150, 150, 150, 150), 0.25, seed=3)
    trial, _ = try_k(planted, planted.var(axis=0), 4, 5, 1)
    assert trial.excess > 0.3
    assert trial.agreement > 0.98
    assert trial.smallest == pytest.approx(0.25, abs=0.01)


def test_halves_of_planted_groups_agree_and_those_of_noise_do_not() -> None:
    points, _ = around_axes((80, 80, 80), 0.15, seed=6)
    assert measure_agreement(points, 3, 3, 1) == pytest.approx(1.0)
    assert measure_agreement(draw_null(np.ones(6), 240, 2), 6, 3, 1) < 0.5


def trial(k: int, agreement: float, excess: float = 0.1, smallest: float = 0.05) -> Trial:
    return Trial(k, 0.2 + excess, 0.2, agreement, smallest)


def test_the_choice_is_agreement_and_excess_and_ties_go_to_the_larger_k() -> None:
    assert choose_k([trial(6, 0.8), trial(8, 0.7), trial(10, 0.5)], 0.02).k == 6
    assert choose_k([trial(6, 0.7, 0.05), trial(8, 0.7, 0.15)], 0.02).k == 8
    assert choose_k([trial(6, 0.72), trial(8, 0.68), trial(10, 0.66)], 0.02).k == 8
    assert choose_k([trial(6, 0.6), trial(8, 0.9, smallest=0.01)], 0.02).k == 6
    assert choose_k([trial(6, 0.6, smallest=0.01), trial(8, 0.9, smallest=0.01)], 0.02).k == 8


@pytest.mark.parametrize("kind", ["duplicates", "outliers", "random users"])
def test_what_five_percent_of_odd_users_change(kind: str) -> None:
    """Duplicates, outliers and random users leave the clusters of the others as they were."""
    points, labels = around_axes((100, 140, 80), 0.25, seed=8)
    random = np.random.default_rng(1)
    odd = {
        "duplicates": np.repeat(points[:1], 16, axis=0),
        "outliers": np.repeat(-np.eye(6, dtype=np.float32)[5:], 16, axis=0),
        "random users": draw_null(np.ones(6), 16, 4),
    }[kind]
    mixed = random.permutation(np.vstack([points, odd]))
    centroids = cluster_points(mixed, 3, 20, 1).centroids
    assert adjusted_rand_score(labels, (points @ centroids.T).argmax(axis=1)) > 0.97
