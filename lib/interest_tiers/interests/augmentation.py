"""Augmentation: users with too little history borrow evidence from the most similar users who have more.

Nobody meets everybody. Every interest is represented by a few users who are given to it most, and a user with little
history meets the representatives of the own strongest interests alone: work grows with the users who borrow.
Borrowed evidence shapes tiers, clusters and recommendations; it says nothing of what a user did, so no label, no
calibration and no truth of a back-test may rest on it.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import Augmentation
from interest_tiers.interests.evidence import EVIDENCE_PARTS, PAIR, exact_sum
from interest_tiers.interests.features import with_shares
from interest_tiers.interests.hierarchy import USER_LEVEL

#: Users who represent an interest.
REPRESENTATIVES = 20

#: Interests of a representative that count, the strongest first.
PROFILE_INTERESTS = 200


def profiles(pairs: DataFrame, days_of_items: DataFrame, config: Augmentation) -> DataFrame:
    """The strongest interests of everybody who represents an interest: neighbour, interest_id, share, represents (it or not).

    pairs: see features.user_interests. days_of_items: see evidence.item_days; the days that pairs sum up. An interest
    is represented by the REPRESENTATIVES users with the largest shares in it, of those with evidence on min_days days.
    """
    told = _with_days(pairs, days_of_items).where(F.col("days_of_user") >= config.min_days)
    # A hash, so that among users who are given to one interest alone no order of ids decides.
    most_given = Window.partitionBy("interest_id").orderBy(F.desc("share"), F.xxhash64("user_id"), "user_id")
    placed = told.withColumn("represents", F.row_number().over(most_given) <= REPRESENTATIVES)
    strongest = placed.where((F.col("rank") <= PROFILE_INTERESTS) | F.col("represents"))
    of_user = Window.partitionBy("user_id")
    lending = strongest.withColumn("lends", F.max("represents").over(of_user)).where("lends")
    return lending.select(F.col("user_id").alias("neighbour"), "interest_id", "level", "share", "represents")


def neighbours(pairs: DataFrame, days_of_items: DataFrame, profiles: DataFrame, config: Augmentation) -> DataFrame:
    """The closest representatives of every user who borrows: user_id, neighbour, n_neighbours (of the user).

    pairs and days_of_items as for profiles. profiles: see there. A user with evidence on fewer than min_days days is
    described by the max_interests strongest interests, meets the representatives of these, and keeps the config's number
    of neighbours with the largest cosine of the shares.
    """
    is_borrower = (F.col("days_of_user") < config.min_days) & (F.col("rank") <= config.max_interests)
    own = _with_days(pairs, days_of_items).where(is_borrower).select(*PAIR, F.col("share").alias("own_share"))
    met = own.join(profiles.where("represents"), "interest_id").select("user_id", "neighbour").distinct()
    common = met.join(own, "user_id").join(profiles.drop("represents"), ["neighbour", "interest_id"])
    products = common.groupBy("user_id", "neighbour").agg(exact_sum(F.col("own_share") * F.col("share")).alias("product"))
    lengths = profiles.groupBy("neighbour").agg(F.sqrt(exact_sum(F.col("share") * F.col("share"))).alias("length"))
    # Cosine but for the borrower's own length, which is the same whoever is met.
    close = products.join(lengths, "neighbour").withColumn("closeness", F.round(F.col("product") / F.col("length"), 9))
    closest = Window.partitionBy("user_id").orderBy(F.desc("closeness"), F.xxhash64("neighbour"), "neighbour")
    kept = close.withColumn("place", F.row_number().over(closest)).where(F.col("place") <= config.neighbours)
    return kept.select("user_id", "neighbour", F.count(F.lit(1)).over(Window.partitionBy("user_id")).alias("n_neighbours"))


def with_borrowed(pairs: DataFrame, profiles: DataFrame, neighbours: DataFrame, config: Augmentation) -> DataFrame:
    """The pairs after borrowing; the same columns.

    pairs: see features.user_interests. profiles and neighbours: see there. A user borrows
    weight * own evidence in total * mean share of the neighbours, in the max_interests interests where that mean is largest.
    The column borrowed says how much of evidence was borrowed; a row that the user never touched has no days, items and
    interactions, and null for what would be told from them.
    """
    of_interest = neighbours.join(profiles.drop("represents"), "neighbour").groupBy(*USER_LEVEL, "interest_id")
    shared = of_interest.agg((exact_sum(F.col("share")) / F.first("n_neighbours")).alias("mean_share"))
    largest = Window.partitionBy(*USER_LEVEL).orderBy(F.desc("mean_share"), "interest_id")
    kept = shared.withColumn("place", F.row_number().over(largest)).where(F.col("place") <= config.max_interests)
    total = pairs.groupBy(*USER_LEVEL).agg(exact_sum(F.col("evidence")).alias("total"))
    lent = F.round(F.lit(config.weight) * F.col("total") * F.col("mean_share") * EVIDENCE_PARTS) / EVIDENCE_PARTS
    return _together(pairs, kept.join(total, USER_LEVEL).select(*USER_LEVEL, "interest_id", lent.alias("lent")).where("lent > 0"))


def _with_days(pairs: DataFrame, days_of_items: DataFrame) -> DataFrame:
    """Pairs with evidence, and days_of_user: on how many days the user touched anything."""
    days = days_of_items.groupBy("user_id").agg(F.countDistinct("event_date").alias("days_of_user"))
    return pairs.where("evidence > 0").select(*PAIR, "level", "share", "rank").join(days, "user_id")


def _together(pairs: DataFrame, borrowed: DataFrame) -> DataFrame:
    counts = ["n_days", "n_items", "n_interactions", "n_days_recent", "n_days_previous"]
    amounts = ["evidence", "trend", "total_value"]
    both = pairs.drop("share", "rank", "borrowed").join(borrowed, [*USER_LEVEL, "interest_id"], "full")
    filled = both.fillna(0, counts).fillna(0.0, [*amounts, "lent"])
    added = filled.withColumn("evidence", F.col("evidence") + F.col("lent")).withColumnRenamed("lent", "borrowed")
    return with_shares(added).select(*pairs.columns)
