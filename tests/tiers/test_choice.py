"""Network or rule: by the paired difference on users that chose nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from interest_tiers.tiers.choice import compare_errors


def errors(better: float, n_users: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Three rows a user. Users differ much from each other; the network is better by a little on each, give or take."""
    random = np.random.default_rng(3)
    user = np.repeat(np.arange(n_users), 3)
    of_rule = np.repeat(random.uniform(0.1, 1.5, n_users), 3)
    network = of_rule - better + np.repeat(random.normal(0, 0.05, n_users), 3)
    return network, of_rule, np.full(len(user), 1 / 3), user


def test_a_small_difference_on_the_same_users_is_found() -> None:
    network, of_rule, weights, user = errors(0.02)
    found = compare_errors(network, of_rule, weights, user)
    assert found.is_network_better
    assert (found.network_j, found.rule_j) == (pytest.approx(network.mean()), pytest.approx(of_rule.mean()))
    difference = (network - of_rule)[::3]
    assert found.difference == pytest.approx(difference.mean())
    half = 1.96 * stats.sem(difference)
    assert found.lower == pytest.approx(difference.mean() - half, abs=0.1 * half)
    assert found.upper == pytest.approx(difference.mean() + half, abs=0.1 * half)
    # Intervals of each alone overlap widely: they would not tell.
    assert 1.96 * stats.sem(of_rule[::3]) > 5 * abs(found.difference) / 2


def test_a_network_that_is_as_good_by_chance_has_an_interval_around_0_and_is_chosen_by_its_mean() -> None:
    network, of_rule, weights, user = errors(0.0)
    found = compare_errors(network, of_rule, weights, user)
    assert found.lower is not None and found.upper is not None
    assert found.lower < 0 < found.upper
    assert found.is_network_better == (found.difference < 0)
    # A single user gives no interval.
    alone = compare_errors(network[:3], of_rule[:3] + 1, weights[:3], user[:3])
    assert (alone.lower, alone.upper, alone.is_network_better) == (None, None, True)
    assert not compare_errors(of_rule[:3] + 1, of_rule[:3], weights[:3], user[:3]).is_network_better
