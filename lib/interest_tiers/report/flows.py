"""How tiers changed since the last as_of: from which tier to which."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import TIERS
from interest_tiers.interests.evidence import PAIR

#: A pair that has no tier on one of the two days.
ABSENT = "none"


@dataclass(frozen=True)
class Flow:
    """Pairs of one tier on the earlier day, and their tiers now. shares: in the order of TIERS, then ABSENT."""

    before: str
    pairs: int
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Flows:
    """What became of every tier since an earlier day, for users who have tiers on both days.

    kept: share of the pairs core on either day that are core on both. new_users: with tiers now only; gone_users: then only.
    """

    since: date
    flows: tuple[Flow, ...]
    kept: float | None
    users: int
    new_users: int
    gone_users: int


def count_flows(user_tiers: DataFrame, earlier: DataFrame, since: date) -> Flows:
    """Count pairs by their tier on the earlier day and now.

    user_tiers, earlier: (user_id, interest_id, tier), each pair once
    """
    now = user_tiers.select(*PAIR, F.col("tier").alias("after"))
    then = earlier.select(*PAIR, F.col("tier").alias("before"))
    pairs = now.join(then, PAIR, "full")
    per_user = pairs.groupBy("user_id").agg(
        F.max(F.col("before").isNotNull()).alias("was"),
        F.max(F.col("after").isNotNull()).alias("is"),
        *[
            F.count_if((F.coalesce("before", F.lit(ABSENT)) == before) & (F.coalesce("after", F.lit(ABSENT)) == after)).alias(
                f"{before}_{after}"
            )
            for before in (*TIERS, ABSENT)
            for after in (*TIERS, ABSENT)
        ],
    )
    both = F.col("was") & F.col("is")
    cells = [name for name in per_user.columns if name not in ("user_id", "was", "is")]
    totals = per_user.agg(
        F.count_if(both).alias("users"),
        F.count_if(~F.col("was")).alias("new_users"),
        F.count_if(~F.col("is")).alias("gone_users"),
        *[F.coalesce(F.sum(F.when(both, F.col(name))), F.lit(0)).alias(name) for name in cells],
    ).collect()[0]
    flows = []
    for before in (*TIERS, ABSENT):
        counts = [totals[f"{before}_{after}"] for after in (*TIERS, ABSENT)]
        if sum(counts):
            flows.append(Flow(before, sum(counts), tuple(count / sum(counts) for count in counts)))
    core = TIERS[0]
    ever = sum(totals[f"{core}_{tier}"] + totals[f"{tier}_{core}"] for tier in (*TIERS, ABSENT)) - totals[f"{core}_{core}"]
    kept = totals[f"{core}_{core}"] / ever if ever else None
    return Flows(since, tuple(flows), kept, totals["users"], totals["new_users"], totals["gone_users"])
