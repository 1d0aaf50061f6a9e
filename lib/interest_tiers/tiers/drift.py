"""Measures drift: how far the tiers of one day are from those of an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import TIERS, TierDrift
from interest_tiers.interests.evidence import PAIR
from interest_tiers.tiers.rule import place_of

#: Bins of equal width in which probabilities are compared.
BINS = 10


@dataclass(frozen=True)
class Drift:
    """How far the tiers of a day are from those of an earlier day.

    since:              the earlier day
    of_tiers:           population stability index of the shares of the tiers
    of_p_core:          population stability index of the tenths of p_core
    core_changed_share: share of users with other core interests, among the users of both days; None where there are none,
                        or where interest ids change from day to day
    is_same_model:      whether one model predicted both days
    """

    since: date
    of_tiers: float
    of_p_core: float
    core_changed_share: float | None
    is_same_model: bool

    def beyond(self, limits: TierDrift) -> list[str]:
        """Describe what is above its limit; nothing where the models differ, since the drift may then be theirs."""
        if not self.is_same_model:
            return []
        found = [
            ("the population stability index of the tiers", self.of_tiers, limits.max_population_stability_index),
            ("the population stability index of p_core", self.of_p_core, limits.max_population_stability_index),
            ("the share of users with other core interests", self.core_changed_share, limits.max_core_changed_share),
        ]
        return [f"{name} is {value:.3f} (at most {limit:g})" for name, value, limit in found if value is not None and value > limit]


def drift_between(before: DataFrame, after: DataFrame, since: date, have_identity: bool) -> Drift:
    """Measure the drift between two days.

    before, after: (user_id, interest_id, tier, p_core, method, model_version), rows of user_tiers of one day
    since:         the day of before
    have_identity: whether an interest_id means the same on both days
    """
    first, second = _counted(before), _counted(after)
    return Drift(
        since,
        stability_index(first.of_tiers, second.of_tiers),
        stability_index(first.of_tenths, second.of_tenths),
        _core_changed_share(before, after) if have_identity else None,
        first.models == second.models,
    )


def stability_index(before: np.ndarray, after: np.ndarray) -> float:
    """Compute the population stability index: the sum over bins of (b - a) ln(b / a), a and b the shares before and after.

    before, after: counts per bin; one is added to each, so that an empty bin has a share
    Source: Siddiqi, Credit Risk Scorecards, 2006.
    """
    first, second = ((counts + 1) / (counts + 1).sum() for counts in (before, after))
    return float(((second - first) * np.log(second / first)).sum())


@dataclass(frozen=True)
class _Counted:
    """Rows of a day by tier and by tenth of p_core, and the versions of its models.

    The rule's version is left out: it names the day, so it always differs.
    """

    of_tiers: np.ndarray
    of_tenths: np.ndarray
    models: set[str]


def _counted(rows: DataFrame) -> _Counted:
    tenth = F.least(F.floor(F.col("p_core") * BINS), F.lit(BINS - 1)).cast("int")
    # A day has a model and a rule, so these are few.
    groups = rows.groupBy(place_of(F.col("tier")).alias("tier"), tenth.alias("tenth"), "method", "model_version").count().collect()
    of_tiers, of_tenths = np.zeros(len(TIERS)), np.zeros(BINS)
    for group in groups:
        of_tiers[group["tier"]] += group["count"]
        of_tenths[group["tenth"]] += group["count"]
    return _Counted(of_tiers, of_tenths, {group["model_version"] for group in groups if group["method"] == "model"})


def _core_changed_share(before: DataFrame, after: DataFrame) -> float | None:
    is_core = F.col("tier") == "core"
    was = before.select("user_id", "interest_id", is_core.alias("was"))
    now = after.select("user_id", "interest_id", is_core.alias("now"))
    changed = F.coalesce("was", F.lit(False)) != F.coalesce("now", F.lit(False))
    users = was.join(now, PAIR, "full_outer").groupBy("user_id").agg(
        (F.count("was") > 0).alias("was_there"), (F.count("now") > 0).alias("is_there"), F.bool_or(changed).alias("changed")
    )  # fmt: skip
    found = users.where("was_there AND is_there").agg(F.avg(F.col("changed").cast("int")).alias("share")).first()
    assert found is not None  # an aggregate without keys has one row
    return None if found["share"] is None else float(found["share"])
