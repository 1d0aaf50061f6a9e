"""Names that shout are set in sentence case, and nothing else is touched."""

from __future__ import annotations

import pytest

from interest_tiers.report.naming import calm


@pytest.mark.parametrize(
    ("given", "calmed"),
    [
        ("FLUID MILK PRODUCTS", "Fluid milk products"),
        ("CIGARETTES · SOFT DRINKS · CANDY - PACKAGED", "Cigarettes · Soft drinks · Candy - packaged"),
        ("BREAD/BUNS/ROLLS MAIN MEAL BREAD Private", "Bread/buns/rolls main meal bread Private"),
        (
            "5 % of the cluster SOFT DRINKS had it; WATER - FLVRD, a core interest",
            "5 % of the cluster Soft drinks had it; Water - flvrd, a core interest",
        ),
        ("DVD", "DVD"),
        ("TEA", "TEA"),
        ("iPhone 4S", "iPhone 4S"),
        ("Garden tools", "Garden tools"),
        ("牛乳 MILK", "牛乳 Milk"),
        ("", ""),
    ],
)
def test_capitals_become_sentence_case(given: str, calmed: str) -> None:
    assert calm(given) == calmed
