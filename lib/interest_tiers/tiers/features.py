"""Computes the features of a user and an interest as of cutoffs.

Every feature is a function of the days before the cutoff. Windows and half-lives are fractions of the horizon, the time
scale of a label. The rows of several cutoffs are computed together, and never meet: the column cutoff is part of every key.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from interest_tiers.config import TIERS, Tiers
from interest_tiers.interests.evidence import EVIDENCE_PARTS, exact_sum, exact_sum_of_values, summed_evidence
from interest_tiers.tiers.cutoffs import PAIR_AT, USER_AT, sample_at
from interest_tiers.tiers.rule import with_tier
from interest_tiers.tiers.texts import TEXT_FEATURES, text_similarities

#: Half-lives and windows, in horizons. With a horizon of 91 days: 7, 14, 30, 61, 91, 182 days; 14, 28, 56, 91, 182 days.
HALF_LIVES = {"13th": 1 / 13, "7th": 2 / 13, "third": 1 / 3, "two_thirds": 2 / 3, "one": 1.0, "two": 2.0}
WINDOWS = {"7th": 2 / 13, "third": 4 / 13, "two_thirds": 8 / 13, "one": 1.0, "two": 2.0}

#: Half-lives of the evidence by which a user's interests are ranked and their cumulative mass is computed.
ORDERED_BY = ("third", "one")

#: Pseudo-count that smooths an interest's outcomes towards the average interest, so that a rare one gets about the average.
PRIOR_PAIRS = 20

#: Similar interests are computed from this many users, sampled by hash, and this many of each user's strongest interests.
SIMILARITY_USERS, SIMILARITY_INTERESTS = 100_000, 50

#: Nearest interests that count for the similarity feature of an interest.
SIMILAR_INTERESTS = 10

SIMILAR = "similar_interests"

#: Key of what all users of a cutoff tell of an interest.
INTEREST_AT = ["interest_id", "cutoff"]

#: Prefix of the features that are attributes of users; see attributes.attribute_names.
ATTRIBUTE = "attribute_"

#: Sums over all users count in millionths: billionths of a billion users would overflow a bigint.
PARTS_OF_ALL_USERS = 10**6


def own_features(days: DataFrame, config: Tiers, half_life_days: float, attributes: DataFrame | None = None) -> DataFrame:
    """Compute the features of a pair that depend on its user's own days before the cutoff.

    days:           (cutoff, user_id, level, interest_id, event_date, weight double, n_interactions bigint, value double), from
                    cutoffs.days_before_cutoffs, one row per cutoff, user, interest and day
    half_life_days: of the rule's evidence
    attributes:     (user_id, one double per attribute), from attributes.attributes_of; they become features unchanged
    Returns:        (cutoff, user_id, interest_id, level, rule_tier, rule_recent_tier, one double for each of READ_AGAIN,
                    own array<float>: OWN_FEATURES, attributes array<float>), one row per cutoff and pair

    A feature is null, and NaN in an array, where it is undefined. Shares and ranks are within the user and level.
    rule_tier is by mass of the rule's evidence, rule_recent_tier by mass of the last horizon's days.
    """
    aged = days.withColumn("age", F.datediff("cutoff", "event_date"))
    ranked = _within_users(_of_pairs(aged, config.horizon_days, half_life_days))
    # Here, because the rows of a user are together already: the tiers of the rules need no other shuffle.
    by_rule = with_tier(ranked, config, "evidence", "rule_tier", USER_AT)
    by_rules = with_tier(by_rule, config, "recent_one", "rule_recent_tier", USER_AT)
    users = _of_users(aged, config.horizon_days)
    if attributes is not None:
        users = users.join(attributes, "user_id", "left")
    # Last, so that the windows sort narrow rows.
    known = by_rules.join(users, ["user_id", "cutoff"]).withColumns(_rates())
    of_users = [name for name in known.columns if name.startswith(ATTRIBUTE)]
    packed = {"own": pack(OWN_FEATURES), "attributes": pack(of_users)}
    return known.withColumns(packed).select(*PAIR_AT, "level", *RULES, *READ_AGAIN, *packed)


def pair_features(own: DataFrame, alike: DataFrame, points: DataFrame, config: Tiers, has_levels: bool) -> DataFrame:
    """Put all features of every pair into one column, as a network reads them.

    own:        from own_features
    alike:      (cutoff, interest_id, other_id, similarity double, place int), from similar_interests
    points:     from texts.interest_points
    has_levels: whether the level is a feature
    Returns:    (cutoff, user_id, interest_id, level, rule_tier, rule_recent_tier, user_visits,
                features array<float>: FEATURES, attributes, level), one row per cutoff and pair; NaN where undefined

    own, alike and points are read several times, so they must be stored already.
    """
    of_interests = _of_interests(own).join(_outcomes(own, config), INTEREST_AT, "left")
    of_interests = of_interests.select(*INTEREST_AT, pack(INTEREST_FEATURES).alias("of_interest"))
    # The two are narrow: the wide rows of own meet them in one join.
    of_others = text_similarities(own, points).join(_similar_evidence(own, alike), PAIR_AT, "full")
    every = own.join(of_interests, INTEREST_AT).join(of_others, PAIR_AT, "left").withColumn(SIMILAR, F.coalesce(SIMILAR, F.lit(0.0)))
    parts = [F.col("own"), F.col("of_interest"), pack([SIMILAR, *TEXT_FEATURES]), F.col("attributes"), *([pack(["level"])] * has_levels)]
    return every.select(*PAIR_AT, "level", *RULES, "user_visits", F.concat(*parts).alias("features"))


def pack(names: Sequence[str]) -> Column:
    """Put columns into one array<float>, NaN where null: plans, shuffles and rows sent to Python get smaller."""
    undefined = F.lit(float("nan")).cast("float")
    return F.array(*[F.coalesce(F.col(name).cast("float"), undefined) for name in names]).cast("array<float>")


def window_days(part: float, horizon_days: int) -> int:
    """Convert a fraction of the horizon to whole days, at least one."""
    return max(1, round(part * horizon_days))


def _of_pairs(days: DataFrame, horizon_days: int, half_life_days: float) -> DataFrame:
    """Compute the features of a pair from its own days.

    days: from cutoffs.days_before_cutoffs, and age int, in days before the cutoff
    """
    in_order = Window.partitionBy(*PAIR_AT).orderBy("event_date")
    gap = F.datediff(F.col("event_date"), F.lag("event_date").over(in_order))
    age, weight, last = F.col("age"), F.col("weight"), window_days(1.0, horizon_days)
    evidence = [summed_evidence(weight * _decay(part * horizon_days)).alias(f"evidence_{name}") for name, part in HALF_LIVES.items()]
    windows = [_in_window(weight, 0, window_days(part, horizon_days)).alias(f"recent_{name}") for name, part in WINDOWS.items()]
    short = window_days(WINDOWS["third"], horizon_days)
    summed = (
        days.withColumn("gap", gap)
        .groupBy(*PAIR_AT, "level")
        .agg(
            summed_evidence(weight * _decay(half_life_days)).alias("evidence"),
            *evidence,
            *windows,
            _in_window(weight, last, 2 * last).alias("previous_one"),
            _in_window(weight, short, 2 * short).alias("previous_third"),
            F.count(F.lit(1)).cast("double").alias("n_days"),
            F.sum("n_interactions").cast("double").alias("n_interactions"),
            F.sum(F.when(age <= last, F.col("n_interactions")).otherwise(0)).cast("double").alias("n_interactions_one"),
            exact_sum_of_values(F.when(age <= last, F.col("value")).otherwise(0.0), parts=EVIDENCE_PARTS).alias("value_one"),
            F.min("age").cast("double").alias("recency"),
            F.max("age").cast("double").alias("tenure"),
            F.avg("gap").alias("gap_mean"),
            F.max("gap").cast("double").alias("gap_longest"),
            F.sum(F.col("gap") * F.col("gap")).alias("squared_gaps"),
        )
    )
    # Sums of whole days are exact, so the deviation does not depend on how rows are partitioned.
    variance = F.col("squared_gaps") / (F.col("n_days") - 1) - F.col("gap_mean") * F.col("gap_mean")
    deviation = F.when(F.col("n_days") > 2, F.sqrt(F.greatest(F.lit(0.0), variance)))
    return summed.select(
        "*",
        deviation.alias("gap_deviation"),
        (F.col("recency") / F.col("gap_mean")).alias("overdue"),
        ((F.col("recency") - F.col("gap_mean")) / (deviation + 1)).alias("overdue_deviations"),
    ).drop("squared_gaps")


def _decay(half_life_days: float) -> Column:
    """Compute 2^(-age / half_life) from the column age (see evidence.decay)."""
    return F.pow(F.lit(2.0), -F.col("age") / F.lit(float(half_life_days)))


def _in_window(weight: Column, younger: int, older: int) -> Column:
    """Sum the weight of days with younger < age <= older; 0 where the sum is negative."""
    return summed_evidence(F.when((F.col("age") > younger) & (F.col("age") <= older), weight).otherwise(0.0))


def _of_users(days: DataFrame, horizon_days: int) -> DataFrame:
    """Compute features of a user from the days with any activity (visits).

    days:    (cutoff, user_id, age int, ...)
    Returns: (cutoff, user_id, one double per feature), one row per cutoff and user
    """
    visits = days.select("user_id", "cutoff", "age").distinct()
    age = F.col("age")
    return visits.groupBy("user_id", "cutoff").agg(
        F.count(F.lit(1)).cast("double").alias("user_visits"),
        F.min("age").cast("double").alias("user_recency"),
        F.max("age").cast("double").alias("user_tenure"),
        *[F.count_if(age <= window_days(part, horizon_days)).cast("double").alias(f"user_visits_{name}") for name, part in WINDOWS.items()],
        *[exact_sum(_decay(part * horizon_days)).alias(f"user_visit_evidence_{name}") for name, part in HALF_LIVES.items()],
    )


def _within_users(pairs: DataFrame) -> DataFrame:
    """Add how an interest compares with the others of its user: shares, ranks, and the mass ranked above it."""
    # Both sides of the join read one shuffle. A window for the totals takes three times as long.
    pairs = pairs.repartition(*USER_AT)
    totals = pairs.groupBy(*USER_AT).agg(
        F.count(F.lit(1)).cast("double").alias("user_interests"),
        F.sum((F.col("recent_one") > 0).cast("double")).alias("user_interests_one"),
        F.sum("n_interactions_one").alias("user_interactions_one"),
        exact_sum_of_values(F.col("value_one"), parts=EVIDENCE_PARTS).alias("user_value_one"),
        exact_sum(F.col("recent_one")).alias("user_recent_one"),
        *[exact_sum(F.col(f"evidence_{name}")).alias(f"user_evidence_{name}") for name in HALF_LIVES],
    )
    pairs, user = pairs.join(totals, USER_AT), Window.partitionBy(*USER_AT)
    shares = {f"share_{name}": _share(F.col(f"evidence_{name}"), F.col(f"user_evidence_{name}")) for name in HALF_LIVES}
    pairs = pairs.withColumns(shares)
    for name in ORDERED_BY:
        pairs = pairs.withColumns(_order(name, user, [F.desc(f"evidence_{name}"), F.asc("interest_id")], f"share_{name}"))
    recent_first = [F.desc("recent_one"), F.desc("evidence_one"), F.asc("interest_id")]
    pairs = pairs.withColumn("recent_share", F.col("recent_one") / F.greatest("user_recent_one", F.lit(1.0)))
    return pairs.withColumn("mass_recent", _mass_above("recent_share", user.orderBy(*recent_first)))


def _rates() -> dict[str, Column]:
    """Compute evidence and days of an interest per visit of its user."""
    rates = {f"rate_{name}": _share(F.col(f"evidence_{name}"), F.col(f"user_visit_evidence_{name}")) for name in HALF_LIVES}
    visit_rates = {f"visit_rate_{name}": _share(F.col(f"recent_{name}"), F.col(f"user_visits_{name}")) for name in ("third", "one", "two")}
    return rates | visit_rates


def _share(part: Column, whole: Column) -> Column:
    return F.when(whole > 0, part / whole).otherwise(F.lit(0.0))


def _order(name: str, user: WindowSpec, order: list[Column], share: str) -> dict[str, Column]:
    in_order = user.orderBy(*order)
    rank = F.row_number().over(in_order).cast("double")
    return {f"rank_{name}": rank, f"relative_rank_{name}": rank / F.col("user_interests"), f"mass_{name}": _mass_above(share, in_order)}


def _mass_above(share: str, in_order: WindowSpec) -> Column:
    before = in_order.rowsBetween(Window.unboundedPreceding, -1)
    return F.coalesce(exact_sum(F.col(share), over=before), F.lit(0.0))


def _of_interests(pairs: DataFrame) -> DataFrame:
    """Compute the popularity of every interest over all users, per user of the data.

    pairs:   from own_features
    Returns: (cutoff, interest_id, one double per feature), one row per cutoff and interest
    """
    users = pairs.select("cutoff", "user_id", "user_visits_one").distinct().groupBy("cutoff").agg(
        F.count(F.lit(1)).alias("n_users"), F.count_if(F.col("user_visits_one") > 0).alias("n_users_one")
    )  # fmt: skip
    summed = pairs.groupBy(*INTEREST_AT).agg(
        F.count(F.lit(1)).alias("n"),
        F.count_if(F.col("recent_one") > 0).alias("n_one"),
        *[exact_sum(F.col(name), parts=PARTS_OF_ALL_USERS).alias(name) for name in ("recent_third", "previous_third", "recent_one")],
        *[exact_sum(F.col(f"evidence_{name}"), parts=PARTS_OF_ALL_USERS).alias(f"evidence_{name}") for name in ("third", "one", "two")],
        exact_sum(F.col("share_one"), parts=PARTS_OF_ALL_USERS).alias("shares"),
        exact_sum(F.coalesce("gap_mean", F.lit(0.0)), parts=PARTS_OF_ALL_USERS).alias("gaps"),
        F.count("gap_mean").alias("n_gaps"),
    )
    of = F.col("n_users")
    decline = F.lit(HALF_LIVES["two"] / HALF_LIVES["third"])
    return summed.join(F.broadcast(users), "cutoff").select(  # a row per cutoff
        *INTEREST_AT,
        (F.col("n") / of).alias("interest_users"),
        _share(F.col("n_one"), F.col("n_users_one")).alias("interest_users_one"),
        (F.col("recent_one") / F.greatest("n_one", F.lit(1))).alias("interest_recent_per_user"),
        (F.col("recent_one") / of).alias("interest_recent_one"),
        *[(F.col(f"evidence_{name}") / of).alias(f"interest_evidence_{name}") for name in ("third", "one", "two")],
        F.log((F.col("recent_third") + 1) / (F.col("previous_third") + 1)).alias("interest_trend"),
        F.log((F.col("evidence_third") * decline + 1) / (F.col("evidence_two") + 1)).alias("interest_long_trend"),
        (F.col("shares") / F.col("n")).alias("interest_share"),
        (F.col("gaps") / F.nullif(F.col("n_gaps"), F.lit(0))).alias("interest_gap"),
    )


def _outcomes(own: DataFrame, config: Tiers) -> DataFrame:
    """Compute how often an interest was core or secondary in the horizon that ends at the cutoff.

    own:     from own_features
    Returns: (cutoff, interest_id, interest_core double, interest_secondary double), smoothed shares of its pairs
    """
    # A pair with a day before the horizon was known when it began, and recent_one is its evidence in the horizon: see labels.
    earlier = own.where(F.col("tenure") > config.horizon_days).select(*PAIR_AT, "level", "recent_one")
    active = F.sum("recent_one").over(Window.partitionBy(*USER_AT)) > 0
    known = with_tier(earlier.withColumn("is_active", active).where("is_active"), config, "recent_one", "label", USER_AT)
    level = ["cutoff", "level"]
    counts = known.groupBy(*INTEREST_AT, "level").agg(
        F.count(F.lit(1)).alias("n"), *[F.count_if(F.col("label") == tier).alias(tier) for tier in TIERS[:2]]
    )
    total = counts.groupBy(*level).agg(*[F.sum(name).alias(f"all_{name}") for name in ("n", *TIERS[:2])])
    with_total = counts.join(F.broadcast(total), level)  # a row per cutoff and level
    return with_total.select(
        *INTEREST_AT,
        *[
            ((F.col(tier) + PRIOR_PAIRS * F.col(f"all_{tier}") / F.col("all_n")) / (F.col("n") + PRIOR_PAIRS)).alias(f"interest_{tier}")
            for tier in TIERS[:2]
        ],
    )


def similar_interests(own: DataFrame) -> DataFrame:
    """Find the most similar interests of each interest on its level, by the cosine of the square roots of users' shares.

    own:     from own_features
    Returns: (cutoff, interest_id, other_id, similarity double, place int), at most SIMILAR_INTERESTS rows per cutoff and interest;
             place is 1 for the most similar
    """
    sampled = sample_at(_strongest(own), "user_id", SIMILARITY_USERS, own)
    others = sampled.select(*USER_AT, F.col("interest_id").alias("other_id"), F.col("root").alias("other_root"))
    # Each pair of interests once: the cosine is symmetric.
    dots = (
        sampled.join(others, USER_AT)
        .where("interest_id <= other_id")
        .groupBy(*INTEREST_AT, "other_id")
        .agg(exact_sum(F.col("root") * F.col("other_root")).alias("dot"))
    )
    norms = dots.where("interest_id = other_id").select(*INTEREST_AT, F.sqrt("dot").alias("norm"))
    other_norms = norms.select("cutoff", F.col("interest_id").alias("other_id"), F.col("norm").alias("other_norm"))
    different = dots.where("interest_id != other_id AND dot > 0").join(norms, INTEREST_AT).join(other_norms, ["other_id", "cutoff"])
    both = F.explode(
        F.array(
            F.struct("interest_id", "other_id", (F.col("dot") / F.col("norm") / F.col("other_norm")).alias("similarity")),
            F.struct(
                F.col("other_id").alias("interest_id"),
                F.col("interest_id").alias("other_id"),
                (F.col("dot") / F.col("other_norm") / F.col("norm")).alias("similarity"),
            ),
        )
    )
    alike = different.select("cutoff", both.alias("pair")).select("cutoff", "pair.*")
    nearest = F.row_number().over(Window.partitionBy(*INTEREST_AT).orderBy(F.desc("similarity"), "other_id"))
    return alike.withColumn("place", nearest).where(F.col("place") <= SIMILAR_INTERESTS)


def _similar_evidence(own: DataFrame, alike: DataFrame) -> DataFrame:
    """Compute how strong a user is in the interests similar to an interest.

    own:     from own_features
    alike:   from similar_interests
    Returns: (cutoff, user_id, interest_id, similar_interests double), one row per cutoff and pair with a similar interest
    """
    whole = exact_sum(F.col("similarity"), over=Window.partitionBy(*INTEREST_AT))
    shares = alike.select(*INTEREST_AT, "other_id", (F.col("similarity") / whole).alias("part"))
    theirs = _strongest(own).withColumnRenamed("interest_id", "other_id").join(shares, ["other_id", "cutoff"])
    return theirs.groupBy(*PAIR_AT).agg(exact_sum(F.col("part") * F.col("root")).alias(SIMILAR))


def _strongest(own: DataFrame) -> DataFrame:
    """Select the SIMILARITY_INTERESTS strongest interests of every user.

    own:     from own_features
    Returns: (cutoff, user_id, interest_id, level, root double), root is the square root of the share
    """
    return own.where(F.col("rank_one") <= SIMILARITY_INTERESTS).select(*PAIR_AT, "level", F.sqrt("share_one").alias("root"))


#: Columns with the tiers of the rules; they are no features.
RULES = ("rule_tier", "rule_recent_tier")

#: Features from a user's own days, those of an interest, and all of them in the order of a network's input; attributes of users and
#: the level follow.
OWN_FEATURES = (
    *(f"evidence_{name}" for name in HALF_LIVES),
    *(f"recent_{name}" for name in WINDOWS),
    "previous_one", "previous_third", "n_days", "n_interactions", "n_interactions_one", "value_one", "recency", "tenure",
    "gap_mean", "gap_longest", "gap_deviation", "overdue", "overdue_deviations",
    "user_visits", "user_recency", "user_tenure",
    *(f"user_visits_{name}" for name in WINDOWS),
    *(f"user_visit_evidence_{name}" for name in HALF_LIVES),
    "user_interests", "user_interests_one", "user_interactions_one", "user_value_one",
    *(f"user_evidence_{name}" for name in HALF_LIVES),
    *(f"share_{name}" for name in HALF_LIVES),
    *(f"rate_{name}" for name in HALF_LIVES),
    *(f"visit_rate_{name}" for name in ("third", "one", "two")),
    *(f"{kind}_{name}" for name in ORDERED_BY for kind in ("rank", "relative_rank", "mass")),
    "recent_share", "mass_recent",
)  # fmt: skip
INTEREST_FEATURES = (
    "interest_users", "interest_users_one", "interest_recent_per_user", "interest_recent_one",
    *(f"interest_evidence_{name}" for name in ("third", "one", "two")),
    "interest_trend", "interest_long_trend", "interest_share", "interest_gap", "interest_core", "interest_secondary",
)  # fmt: skip
FEATURES = (*OWN_FEATURES, *INTEREST_FEATURES, SIMILAR, *TEXT_FEATURES)

#: Features of own_features that other features are computed from, in full precision.
READ_AGAIN = (
    "user_visits", "user_visits_one", "recent_third", "previous_third", "recent_one", "evidence_third", "evidence_one", "evidence_two",
    "share_one", "rank_one", "gap_mean", "tenure",
)  # fmt: skip
