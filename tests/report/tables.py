"""What the tests of the report share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

TIER_COLUMNS = (
    "user_id string, interest_id string, tier string, p_core double, p_secondary double, p_marginal double, "
    "method string, model_version string, low_evidence boolean"
)
PROBABILITIES = {"core": (0.7, 0.2, 0.1), "secondary": (0.2, 0.5, 0.3), "marginal": (0.0, 0.1, 0.9)}


def tier_rows(user_id: str, **interests_by_tier: Sequence[str]) -> list[tuple[Any, ...]]:
    return [
        (user_id, interest_id, tier, *PROBABILITIES[tier], "rule", "v1", False)
        for tier, interest_ids in interests_by_tier.items()
        for interest_id in interest_ids
    ]


def in_order_of_hash(user_ids: Sequence[str]) -> list[str]:
    return sorted(user_ids, key=lambda user_id: hashlib.sha256(user_id.encode()).hexdigest())
