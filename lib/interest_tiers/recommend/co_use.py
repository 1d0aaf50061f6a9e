"""Relate items that the same users have had, and find for each user the items that go with theirs.

Nothing here pairs users with all items. Users, the items of each and the neighbours of an item are capped.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import exact_sum
from interest_tiers.recommend.candidates import select_had
from interest_tiers.spark.materialise import Materialise
from interest_tiers.spark.sampling import sample_by_hash

#: Users that are compared at most, drawn by hash: pairs of items grow with them, and similarities hardly change.
MAX_USERS = 500_000

#: Items of a user that are compared, those with the most evidence: their pairs grow with the square.
ITEMS_PER_USER = 100

#: Items of a user that candidates are found for, those with the most evidence.
OWN_ITEMS = 30

#: Users who had both items, at least. One may be chance.
SHARED_USERS = 2

#: Items related to an item, the most similar.
NEIGHBOURS = 50

#: Added to the denominator of the cosine, so that few users make no item similar.
SHRINKAGE = 5.0

#: Candidates of a user, those with the most co-use.
CANDIDATES = 80


def relate_items(own_items: DataFrame, materialise: Materialise) -> DataFrame:
    """Relate items by the cosine of their users, shrunk: n_both / (sqrt(n_one * n_other) + SHRINKAGE).

    own_items: (user_id, interest_id, item_id, evidence, ...), see candidates.sum_item_evidence
    Returns:   (item_id, other_id, other_interest_id, similarity double), at most NEIGHBOURS rows per item
    """
    had = select_had(own_items).select("user_id", "interest_id", "item_id", "evidence")
    n_users = had.agg(F.countDistinct("user_id")).first()
    assert n_users is not None  # an aggregate without keys has one row
    strongest = materialise("strongest", _strongest(sample_by_hash(had, "user_id", MAX_USERS, n_users[0]), ITEMS_PER_USER))
    sizes = strongest.groupBy("item_id").agg(F.count(F.lit(1)).alias("n_users"), F.min("interest_id").alias("interest_id"))
    one = strongest.select("user_id", F.col("item_id").alias("one"))
    other = strongest.select("user_id", F.col("item_id").alias("other"))
    # Each pair once; both directions come after the sum.
    together = (
        one.join(other, "user_id").where(F.col("one") < F.col("other")).groupBy("one", "other").agg(F.count(F.lit(1)).alias("n_both"))
    )
    enough = materialise("together", together.where(F.col("n_both") >= SHARED_USERS))
    directed = enough.select(F.col("one").alias("item_id"), F.col("other").alias("other_id"), "n_both").unionByName(
        enough.select(F.col("other").alias("item_id"), F.col("one").alias("other_id"), "n_both")
    )
    of_other = sizes.select(
        F.col("item_id").alias("other_id"), F.col("n_users").alias("n_other"), F.col("interest_id").alias("other_interest_id")
    )
    sized = directed.join(sizes.select("item_id", "n_users"), "item_id").join(of_other, "other_id")
    similarity = F.col("n_both") / (F.sqrt(F.col("n_users") * F.col("n_other")) + F.lit(SHRINKAGE))
    nearest = Window.partitionBy("item_id").orderBy(F.desc("similarity"), "other_id")
    placed = sized.withColumn("similarity", similarity).withColumn("place", F.row_number().over(nearest))
    return placed.where(F.col("place") <= NEIGHBOURS).select("item_id", "other_id", "other_interest_id", "similarity")


def find_co_used_items(own_items: DataFrame, related: DataFrame) -> DataFrame:
    """Find for each user the items that go with their own: co_use is the mean similarity to the strongest, weighted by evidence.

    own_items: (user_id, interest_id, item_id, evidence, ...) of the users to serve, see candidates.sum_item_evidence
    related:   see relate_items
    Returns:   (user_id, interest_id, item_id, co_use double, because_id), at most CANDIDATES rows per user, none of their own
               items; because_id is the own item that contributes most
    """
    of_user = Window.partitionBy("user_id")
    # Against the largest first: the evidence of a user who left years ago is too small a number to be summed in whole parts.
    against_largest = _strongest(select_had(own_items), OWN_ITEMS).withColumn("weight", F.col("evidence") / F.max("evidence").over(of_user))
    weighed = against_largest.select("user_id", "item_id", (F.col("weight") / exact_sum(F.col("weight"), over=of_user)).alias("share"))
    parts = weighed.join(related, "item_id").withColumn("part", F.col("share") * F.col("similarity"))
    summed = parts.groupBy("user_id", F.col("other_interest_id").alias("interest_id"), "other_id").agg(
        exact_sum(F.col("part")).alias("co_use"), F.max(F.struct("part", "item_id")).getField("item_id").alias("because_id")
    )
    own = own_items.select("user_id", F.col("item_id").alias("other_id"))
    best = Window.partitionBy("user_id").orderBy(F.desc("co_use"), "other_id")
    placed = summed.join(own, ["user_id", "other_id"], "left_anti").withColumn("place", F.row_number().over(best))
    kept = placed.where(F.col("place") <= CANDIDATES)
    return kept.select("user_id", "interest_id", F.col("other_id").alias("item_id"), "co_use", "because_id")


def _strongest(had: DataFrame, per_user: int) -> DataFrame:
    """Keep the items of each user with the most evidence, ties by item."""
    most = Window.partitionBy("user_id").orderBy(F.desc("evidence"), "item_id")
    return had.withColumn("place", F.row_number().over(most)).where(F.col("place") <= per_user).drop("place")
