"""Identity over refits: which clusters keep their ids, and what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest

from interest_tiers.clustering.identity import Change, last_number, match_clusters, measure_stability, name_clusters


def test_names_go_on_from_the_last_number() -> None:
    assert name_clusters(3) == ("c01", "c02", "c03")
    assert name_clusters(2, after=98) == ("c99", "c100")
    assert last_number(["c03", "c100", "c20"]) == 100
    assert last_number([]) == 0


def test_ids_follow_the_users_whatever_the_order() -> None:
    shared = np.array([[0, 90, 10], [80, 0, 5], [3, 7, 60]])
    ids, changes = match_clusters(shared, ("c01", "c02", "c07"), 7)
    assert ids == ("c02", "c01", "c07")
    assert changes == (Change("c02", "kept", None, 80), Change("c01", "kept", None, 90), Change("c07", "kept", None, 60))


def test_the_assignment_keeps_as_many_users_as_possible() -> None:
    """Taking the largest number first would keep 50 + 1 users; crosswise, 45 + 40 keep their id."""
    ids, _ = match_clusters(np.array([[50, 45], [40, 1]]), ("c01", "c02"), 2)
    assert ids == ("c02", "c01")


def test_a_split_keeps_the_id_of_its_larger_part() -> None:
    ids, changes = match_clusters(np.array([[60, 40, 0], [0, 0, 50]]), ("c01", "c02"), 2)
    assert ids == ("c01", "c03", "c02")
    assert Change("c03", "split", "c01", 40) in changes


def test_a_merger_keeps_the_id_of_its_larger_part() -> None:
    ids, changes = match_clusters(np.array([[60, 0], [40, 0], [0, 50]]), ("c01", "c02", "c03"), 3)
    assert ids == ("c01", "c03")
    assert Change("c02", "merged", "c01", 40) in changes


def test_a_birth_gets_a_number_that_no_cluster_ever_had() -> None:
    """New users only: nobody in it was in a cluster before. A gone cluster's number c09 is not used again."""
    ids, changes = match_clusters(np.array([[80, 0], [0, 0]])[:1], ("c01",), 9)
    assert ids == ("c01", "c10")
    assert Change("c10", "born", None, 0) in changes


def test_a_cluster_of_people_from_everywhere_is_born() -> None:
    shared = np.array([[70, 0, 0, 20], [0, 70, 0, 20], [0, 0, 70, 20]])
    ids, changes = match_clusters(shared, ("c01", "c02", "c03"), 3)
    assert ids == ("c01", "c02", "c03", "c04")
    assert changes[3] == Change("c04", "born", None, 0)


def test_a_cluster_whose_users_scatter_died() -> None:
    shared = np.array([[90, 0, 0], [0, 90, 0], [0, 0, 90], [10, 10, 10]])
    ids, changes = match_clusters(shared, ("c01", "c02", "c03", "c04"), 4)
    assert ids == ("c01", "c02", "c03")
    assert changes[3] == Change("c04", "died", None, 0)


def test_a_match_of_few_users_is_no_match() -> None:
    """The solver pairs every cluster it can; 5 shared of 195 are another cluster."""
    ids, changes = match_clusters(np.array([[95, 5], [95, 5]]), ("c01", "c02"), 2)
    assert ids[1] == "c03"
    assert {change.change for change in changes} >= {"kept", "merged"}


def test_the_stability_index_by_hand() -> None:
    assert measure_stability(np.array([10, 20]), np.array([10, 20])) == 0.0
    first, second = np.array([10, 30]) / 40, np.array([30, 10]) / 40
    expected = ((second - first) * np.log(second / first)).sum()
    assert measure_stability(np.array([9, 29]), np.array([29, 9])) == pytest.approx(expected)
