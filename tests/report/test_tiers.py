"""Tiers, counted by hand from small tables."""

from __future__ import annotations

import pytest
from pyspark.sql import DataFrame

from interest_tiers.report import tiers
from interest_tiers.report.tiers import CoreInterest, TierShare


def test_tiers_are_shares_of_pairs_and_counts_per_user(user_tiers: DataFrame) -> None:
    summary = tiers.summarise_tiers(user_tiers)
    assert (summary.users, summary.pairs, summary.methods) == (3, 10, (("rule", "v1"),))
    core, secondary, marginal = summary.tiers
    assert core == TierShare("core", pairs=5, share=0.5, users=3, mean_per_user=5 / 3, low_per_user=1, median_per_user=1, high_per_user=3)
    assert (secondary.pairs, secondary.share, secondary.users, secondary.median_per_user) == (2, 0.2, 2, 1)
    assert (marginal.pairs, marginal.share, marginal.users, marginal.high_per_user) == (3, 0.3, 2, 2)


def test_core_interests_come_in_the_order_of_their_core_users(user_tiers: DataFrame, interests: DataFrame) -> None:
    assert tiers.find_core_interests(user_tiers, interests) == (
        CoreInterest("FLUID MILK", core_users=2, secondary_users=1),
        CoreInterest("BREAD", core_users=2, secondary_users=0),
        CoreInterest("TEA", core_users=1, secondary_users=0),
    )


def test_core_interests_are_limited(user_tiers: DataFrame, interests: DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "CORE_INTERESTS_LIMIT", 1)
    assert [i.name for i in tiers.find_core_interests(user_tiers, interests)] == ["FLUID MILK"]
