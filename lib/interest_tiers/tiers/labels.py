"""Labels: what the interests that a user had before a cut turned out to be after it."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Tiers
from interest_tiers.evidence import interest_days, summed_evidence
from interest_tiers.tiers.rule import with_tier


def labelled(pairs: DataFrame, future_days_of_items: DataFrame, config: Tiers) -> DataFrame:
    """The pairs of users with evidence in the horizon, with the column label (a tier).

    pairs: user_id, interest_id, … as of the cut. future_days_of_items: see evidence.item_days, all within
    [cut, cut + horizon). The label is the tier by mass of the undecayed evidence of the horizon, over the
    interests that the user had before the cut; users without any such evidence, or with all of it taken away
    again, carry no label and are left out.
    """
    pair = ["user_id", "interest_id"]
    future = interest_days(future_days_of_items).groupBy(*pair).agg(summed_evidence(F.col("weight")).alias("future_evidence"))
    # Semi-joined first: evidence of an interest that is new to the user makes nobody labelled.
    active = future.where("future_evidence > 0").join(pairs.select(*pair), pair, "left_semi").select("user_id").distinct()
    known = pairs.join(active, "user_id", "left_semi").join(future, pair, "left")
    known = known.withColumn("future_evidence", F.coalesce("future_evidence", F.lit(0.0)))
    return with_tier(known, config, "future_evidence", "label").drop("future_evidence")
