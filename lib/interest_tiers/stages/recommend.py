"""recommend: the items to show each user next, and why."""

from datetime import date

from pyspark.sql import DataFrame

from interest_tiers.recommend.candidates import list_interests, offer_popular_items, rank_popular_items, score_candidates, sum_item_evidence
from interest_tiers.recommend.ranking import explain, rank_items
from interest_tiers.stages.build_interests import finest, stored_pairs
from interest_tiers.stages.context import StageContext, StageResult, stage_main
from interest_tiers.storage.schemas import CLUSTERS, INTERESTS, RECOMMENDATIONS, USER_CLUSTERS, USER_TIERS


def run(context: StageContext) -> StageResult:
    """Rank each user's own items and what the user's clusters turn to within the core and secondary interests."""
    config, warehouse, as_of = context.config.recommend, context.warehouse, context.as_of
    pairs, tiers = finest(context, stored_pairs(context)), context.read(USER_TIERS, as_of)
    user_clusters, clusters = context.read(USER_CLUSTERS, as_of), context.read(CLUSTERS, as_of)
    own_items = warehouse.stage("recommend/own_items", own_items_as_of(context, context.item_days(), as_of))
    popular = rank_popular_items(own_items, user_clusters, config.candidates_per_interest)
    offered = cluster_items(context, popular, pairs, tiers, user_clusters)
    ranked = rank_items(score_candidates(own_items, offered, config, config.repeats), config.k)
    ranked = warehouse.stage("recommend/ranked", ranked)
    rows = warehouse.replace_day(RECOMMENDATIONS, explain(ranked, tiers, context.read(INTERESTS, as_of), clusters, as_of), as_of)
    n_users, n_served = (frame.select("user_id").distinct().count() for frame in (tiers, ranked))
    return StageResult(n_users, rows, f"{n_served:,} users served, {n_users - n_served:,} without a candidate")


def own_items_as_of(context: StageContext, days: DataFrame, as_of: date) -> DataFrame:
    """Evidence of every user's own items as of any day, from days before it."""
    return sum_item_evidence(days, as_of, context.config.interests.half_life_days)


def cluster_items(context: StageContext, popular: DataFrame, pairs: DataFrame, tiers: DataFrame, user_clusters: DataFrame) -> DataFrame:
    """What the users' clusters offer within the users' interests (see recommend.candidates.offer_popular_items)."""
    return offer_popular_items(list_interests(tiers, pairs, context.config.recommend.max_interests), user_clusters, popular)


main = stage_main("recommend", run)
