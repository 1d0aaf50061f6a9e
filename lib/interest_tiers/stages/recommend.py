"""recommend: the items to show each user next, and why."""

from __future__ import annotations

from interest_tiers.recommend.candidates import sum_item_evidence
from interest_tiers.recommend.composition import list_items, offer_items
from interest_tiers.recommend.ranking import explain
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.inputs import read_item_days, read_pairs
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import CLUSTERS, INTERESTS, ITEMS, RECOMMENDATIONS, USER_CLUSTERS, USER_TIERS


def run(context: StageContext) -> StageResult:
    """Rank each user's own items and what the user's clusters turn to within the core and secondary interests."""
    config, as_of = context.config.recommend, context.as_of
    pairs, tiers = read_pairs(context, finest=True), context.read(USER_TIERS, as_of)
    user_clusters, clusters = context.read(USER_CLUSTERS, as_of), context.read(CLUSTERS, as_of)
    days = read_item_days(context)
    own_items = context.materialise("own_items", sum_item_evidence(days, as_of, context.config.interests.half_life_days))
    offered = offer_items(own_items, pairs, tiers, user_clusters, config)
    ranked = context.materialise("ranked", list_items(own_items, offered, context.read(ITEMS), config, config.repeats))
    rows = context.replace_day(RECOMMENDATIONS, explain(ranked, tiers, context.read(INTERESTS, as_of), clusters, as_of))
    n_users, n_served = (frame.select("user_id").distinct().count() for frame in (tiers, ranked))
    return StageResult(n_users, rows, f"{n_served:,} users served, {n_users - n_served:,} without a candidate")
