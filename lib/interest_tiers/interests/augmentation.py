"""Borrow evidence: users with little history take some from the most similar users who have more.

To avoid comparing all pairs, each interest keeps a few representative users. A sparse user is compared with the
representatives of their strongest interests only, so the cost is linear in sparse users. Borrowed evidence shapes
tiers, clusters and recommendations. Labels, calibration and the ground truth of a back-test never include it.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.config import Augmentation
from interest_tiers.interests.evidence import EVIDENCE_PARTS, PAIR, exact_sum
from interest_tiers.interests.features import add_shares
from interest_tiers.interests.hierarchy import USER_LEVEL

#: Users who represent an interest.
REPRESENTATIVES = 20

#: Interests of a representative that count, the strongest first.
PROFILE_INTERESTS = 200


def build_profiles(pairs: DataFrame, days_of_items: DataFrame, config: Augmentation) -> DataFrame:
    """Build the profile of every representative: their strongest interests.

    An interest is represented by the REPRESENTATIVES users with the largest shares in it, of those with evidence on
    min_days days.

    pairs:         (user_id, interest_id, level, evidence, share, rank, ...), see features.user_interests
    days_of_items: (user_id, event_date, ...), the days that pairs sum up
    Returns:       (neighbour, interest_id, level, share, represents boolean), one row per interest of a representative
    """
    known = _add_days(pairs, days_of_items).where(F.col("days_of_user") >= config.min_days)
    # Users with a single interest tie: a hash decides, since the order of ids may mean something.
    largest_share = Window.partitionBy("interest_id").orderBy(F.desc("share"), F.xxhash64("user_id"), "user_id")
    ranked = known.withColumn("represents", F.row_number().over(largest_share) <= REPRESENTATIVES)
    strongest = ranked.where((F.col("rank") <= PROFILE_INTERESTS) | F.col("represents"))
    of_user = Window.partitionBy("user_id")
    lending = strongest.withColumn("lends", F.max("represents").over(of_user)).where("lends")
    return lending.select(F.col("user_id").alias("neighbour"), "interest_id", "level", "share", "represents")


def find_neighbours(pairs: DataFrame, days_of_items: DataFrame, profiles: DataFrame, config: Augmentation) -> DataFrame:
    """Find the closest representatives of every user who borrows.

    A user with evidence on fewer than min_days days borrows. Their max_interests strongest interests decide which
    representatives are compared. The config's number of neighbours with the largest cosine of the shares is kept.

    pairs, days_of_items: as for build_profiles
    profiles:             (neighbour, interest_id, level, share, represents), see build_profiles
    Returns:              (user_id, neighbour, n_neighbours bigint), one row per neighbour of a user
    """
    is_borrower = (F.col("days_of_user") < config.min_days) & (F.col("rank") <= config.max_interests)
    own = _add_days(pairs, days_of_items).where(is_borrower).select(*PAIR, F.col("share").alias("own_share"))
    met = own.join(profiles.where("represents"), "interest_id").select("user_id", "neighbour").distinct()
    common = met.join(own, "user_id").join(profiles.drop("represents"), ["neighbour", "interest_id"])
    products = common.groupBy("user_id", "neighbour").agg(exact_sum(F.col("own_share") * F.col("share")).alias("product"))
    lengths = profiles.groupBy("neighbour").agg(F.sqrt(exact_sum(F.col("share") * F.col("share"))).alias("length"))
    # Cosine without the borrower's own length, which is the same for every representative.
    close = products.join(lengths, "neighbour").withColumn("closeness", F.round(F.col("product") / F.col("length"), 9))
    closest = Window.partitionBy("user_id").orderBy(F.desc("closeness"), F.xxhash64("neighbour"), "neighbour")
    kept = close.withColumn("place", F.row_number().over(closest)).where(F.col("place") <= config.neighbours)
    return kept.select("user_id", "neighbour", F.count(F.lit(1)).over(Window.partitionBy("user_id")).alias("n_neighbours"))


def borrow_evidence(pairs: DataFrame, profiles: DataFrame, neighbours: DataFrame, config: Augmentation) -> DataFrame:
    """Add borrowed evidence to the pairs.

    A user borrows weight * own total evidence * mean share of the neighbours, in the max_interests interests where
    that mean is largest. The column borrowed holds the borrowed part of evidence. A pair without a day of its own
    has no days, items and interactions, and null for what follows from them.

    pairs:      the columns of user_interests but as_of
    profiles:   (neighbour, interest_id, level, share, represents), see build_profiles
    neighbours: (user_id, neighbour, n_neighbours), see find_neighbours
    Returns:    the columns of pairs
    """
    of_interest = neighbours.join(profiles.drop("represents"), "neighbour").groupBy(*USER_LEVEL, "interest_id")
    shared = of_interest.agg((exact_sum(F.col("share")) / F.first("n_neighbours")).alias("mean_share"))
    largest = Window.partitionBy(*USER_LEVEL).orderBy(F.desc("mean_share"), "interest_id")
    kept = shared.withColumn("place", F.row_number().over(largest)).where(F.col("place") <= config.max_interests)
    total = pairs.groupBy(*USER_LEVEL).agg(exact_sum(F.col("evidence")).alias("total"))
    lent = F.round(F.lit(config.weight) * F.col("total") * F.col("mean_share") * EVIDENCE_PARTS) / EVIDENCE_PARTS
    return _merge(pairs, kept.join(total, USER_LEVEL).select(*USER_LEVEL, "interest_id", lent.alias("lent")).where("lent > 0"))


def _add_days(pairs: DataFrame, days_of_items: DataFrame) -> DataFrame:
    """Keep the pairs with evidence; add days_of_user, the number of days on which the user did anything."""
    days = days_of_items.groupBy("user_id").agg(F.countDistinct("event_date").alias("days_of_user"))
    return pairs.where("evidence > 0").select(*PAIR, "level", "share", "rank").join(days, "user_id")


def _merge(pairs: DataFrame, borrowed: DataFrame) -> DataFrame:
    counts = ["n_days", "n_items", "n_interactions", "n_days_recent", "n_days_previous"]
    amounts = ["evidence", "trend", "total_value"]
    both = pairs.drop("share", "rank", "borrowed").join(borrowed, [*USER_LEVEL, "interest_id"], "full")
    filled = both.fillna(0, counts).fillna(0.0, [*amounts, "lent"])
    added = filled.withColumn("evidence", F.col("evidence") + F.col("lent")).withColumnRenamed("lent", "borrowed")
    return add_shares(added).select(*pairs.columns)
