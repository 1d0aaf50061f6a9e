"""Lists as of a cutoff: what users' clusters offer within their interests, scored together with their own items."""

from __future__ import annotations

from pyspark.sql import DataFrame

from interest_tiers.config import Recommend
from interest_tiers.recommend.candidates import list_interests, offer_popular_items, rank_popular_items, score_candidates
from interest_tiers.recommend.ranking import limit_equal_texts, rank_items


def offer_items(
    own_items: DataFrame,
    pairs: DataFrame,
    tiers: DataFrame,
    user_clusters: DataFrame,
    config: Recommend,
    users: DataFrame | None = None,
) -> DataFrame:
    """Offer every user the items that are popular in the user's clusters within the user's core and secondary interests.

    own_items:     see candidates.sum_item_evidence, of all users
    pairs, tiers:  rows of user_interests (finest level) and user_tiers
    user_clusters: (user_id, cluster_id, membership, is_primary) of all users
    users:         (user_id), those who get an offer; None for all
    Returns:       see candidates.offer_popular_items
    """
    popular = rank_popular_items(own_items, user_clusters, config.candidates_per_interest)
    if users is not None:
        pairs, tiers, user_clusters = (frame.join(users, "user_id", "left_semi") for frame in (pairs, tiers, user_clusters))
    return offer_popular_items(list_interests(tiers, pairs, config.max_interests), user_clusters, popular)


def list_items(own_items: DataFrame, offered: DataFrame, items: DataFrame, config: Recommend, repeats: bool) -> DataFrame:
    """Rank own and offered items by score, at most config.k per user.

    items:   (item_id, text_hash, ...), read where equal texts are limited
    repeats: whether own items are candidates
    """
    candidates = score_candidates(own_items, offered, config, repeats)
    if config.max_equal_texts is not None:
        candidates = limit_equal_texts(candidates, items, config.max_equal_texts)
    return rank_items(candidates, config.k)
