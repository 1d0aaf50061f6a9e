"""Drift: how far the tiers of one day are from those of an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import TIERS, TierDrift

#: Probabilities are compared by so many parts of equal length.
BINS = 10


@dataclass(frozen=True)
class Drift:
    """since: the earlier day. of_tiers, of_p_core: population stability indices of the shares of the tiers, and of the tenths of p_core.

    core_changed_share: of the users of both days, those whose core interests are others; None where there are none, or where
    interests have no identity from day to day. is_same_model: whether both days are of one model.
    """

    since: date
    of_tiers: float
    of_p_core: float
    core_changed_share: float | None
    is_same_model: bool

    def beyond(self, limits: TierDrift) -> list[str]:
        """What is above its limit, in words; nothing where the days are of different models, which says nothing of the users."""
        if not self.is_same_model:
            return []
        found = [
            ("the population stability index of the tiers", self.of_tiers, limits.max_population_stability_index),
            ("the population stability index of p_core", self.of_p_core, limits.max_population_stability_index),
            ("the share of users with other core interests", self.core_changed_share, limits.max_core_changed_share),
        ]
        return [f"{name} is {value:.3f} (at most {limit:g})" for name, value, limit in found if value is not None and value > limit]


def drift_between(before: DataFrame, after: DataFrame, since: date, have_identity: bool) -> Drift:
    """Compare the rows of user_tiers of two days. have_identity: whether an interest_id means the same on both."""
    tenth = F.least(F.floor(F.col("p_core") * BINS), F.lit(BINS - 1)).cast("int")
    tier = F.coalesce(*[F.when(F.col("tier") == name, F.lit(place)) for place, name in enumerate(TIERS)])
    return Drift(
        since,
        stability_index(*(_counts(rows, tier, len(TIERS)) for rows in (before, after))),
        stability_index(*(_counts(rows, tenth, BINS) for rows in (before, after))),
        _core_changed_share(before, after) if have_identity else None,
        _versions(before) == _versions(after),
    )


def stability_index(before: np.ndarray, after: np.ndarray) -> float:
    """Sum over parts of (b - a) ln(b / a), a and b their shares before and after (Siddiqi, Credit Risk Scorecards, 2006).

    before, after: counts; one is added to each, so that an empty part has a share.
    """
    first, second = ((counts + 1) / (counts + 1).sum() for counts in (before, after))
    return float(((second - first) * np.log(second / first)).sum())


def _counts(rows: DataFrame, part: Column, n_parts: int) -> np.ndarray:
    counts = np.zeros(n_parts)
    for row in rows.groupBy(part.alias("part")).count().collect():
        counts[row["part"]] = row["count"]
    return counts


def _core_changed_share(before: DataFrame, after: DataFrame) -> float | None:
    is_core = F.col("tier") == "core"
    was = before.select("user_id", "interest_id", is_core.alias("was"))
    now = after.select("user_id", "interest_id", is_core.alias("now"))
    changed = F.coalesce("was", F.lit(False)) != F.coalesce("now", F.lit(False))
    users = was.join(now, ["user_id", "interest_id"], "full_outer").groupBy("user_id").agg(
        (F.count("was") > 0).alias("was_there"), (F.count("now") > 0).alias("is_there"), F.bool_or(changed).alias("changed")
    )  # fmt: skip
    found = users.where("was_there AND is_there").agg(F.avg(F.col("changed").cast("int")).alias("share")).first()
    assert found is not None  # an aggregate without keys has one row
    return None if found["share"] is None else float(found["share"])


def _versions(rows: DataFrame) -> set[str]:
    """The models of a day; the rule's version names its day, which says nothing of a model."""
    models = rows.where("method = 'model'").select("model_version").distinct().limit(10)
    return {row["model_version"] for row in models.collect()}
