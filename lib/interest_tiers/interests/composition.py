"""Interests as of a cutoff: which interest each item has, the days of evidence, the catalogue, and every user's evidence.

The stage build_interests calls these functions for today, the training and the back-test for an earlier day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Augmentation, BehaviourWeight, Config, Interests
from interest_tiers.interests.augmentation import borrow_evidence, build_profiles, find_neighbours
from interest_tiers.interests.catalogue import (
    average_embeddings,
    build_category_catalogue,
    build_hierarchy_catalogue,
    build_topic_catalogue,
    select_touched_texts,
)
from interest_tiers.interests.evidence import interest_days, interests_by_category, interests_by_levels, item_days
from interest_tiers.interests.features import user_interests
from interest_tiers.interests.hierarchy import at_every_level
from interest_tiers.interests.topics import Topics, assign_topics, build_topic_vectors, fit_topics, select_seen_texts
from interest_tiers.interests.user_texts import build_text_days, find_nearest_interests, select_written_texts
from interest_tiers.spark.materialise import Materialise


@dataclass(frozen=True)
class InterestMethod:
    """The settings that decide on interests and on the evidence for them."""

    interests: Interests
    weights: Mapping[str, BehaviourWeight]
    horizon_days: int
    augmentation: Augmentation | None

    @classmethod
    def of(cls, config: Config) -> InterestMethod:
        """Take the settings from a config."""
        return cls(config.interests, config.weights, config.tiers.horizon_days, config.augmentation)


@dataclass(frozen=True)
class KnownInterests:
    """The interest of every item, as known at a cutoff.

    item_interests: (item_id, interest_id), in a hierarchy the finest level
    topics:         the fitted topics; None where an interest is a category
    """

    item_interests: DataFrame
    topics: Topics | None


@dataclass(frozen=True)
class EvidenceDays:
    """The days that speak for interests, of every level.

    of_items:     (user_id, level, interest_id, item_id, event_date, weight, n_interactions, value); item_id is null
                  for a day on which the user wrote of the interest
    of_interests: (user_id, level, interest_id, event_date, weight, n_interactions, value)
    """

    of_items: DataFrame
    of_interests: DataFrame


def find_interests(items: DataFrame, interactions: DataFrame, embeddings: DataFrame, cutoff: date, config: Interests) -> KnownInterests:
    """Find the interest of every item; topics are those of the texts that users touched before the cutoff.

    items:        (item_id, text_hash, category, levels)
    interactions: (item_id, event_date, ...)
    embeddings:   (text_hash, embedding) of the configured model; read where interests are topics
    """
    if config.levels:
        return KnownInterests(interests_by_levels(items), None)
    if config.source == "category":
        return KnownInterests(interests_by_category(items), None)
    before = interactions.where(F.col("event_date") < F.lit(cutoff))
    topics = fit_topics(select_seen_texts(before, items, embeddings), config)
    return KnownInterests(assign_topics(topics, items, embeddings), topics)


def embed_interests(known: KnownInterests, touched: DataFrame, items: DataFrame, embeddings: DataFrame) -> DataFrame:
    """Give every interest its vector: a topic's centre, or the mean over the texts of a category's touched items.

    touched: days of items before the cutoff
    Returns: (interest_id, embedding)
    """
    if known.topics is not None:
        return build_topic_vectors(known.topics, like=touched)
    return average_embeddings(select_touched_texts(touched, items), embeddings)


def sum_item_days(interactions: DataFrame, item_interests: DataFrame, method: InterestMethod) -> DataFrame:
    """Sum interactions by user, item and day, with the item's interest; see evidence.item_days."""
    return item_days(interactions, item_interests.select("item_id", "interest_id"), method.weights, method.interests.n_levels)


def collect_evidence(
    touched: DataFrame,
    interactions: DataFrame,
    interest_embeddings: DataFrame | None,
    text_embeddings: DataFrame | None,
    method: InterestMethod,
    materialise: Materialise,
) -> EvidenceDays:
    """Add to the days of items those on which users wrote of an interest, and repeat each for every level.

    touched:             days of items, materialised
    interest_embeddings: (interest_id, embedding) of the finest level; read where texts of users are evidence
    text_embeddings:     (text_hash, embedding); read where texts of users are evidence
    """
    config, n_levels = method.interests.user_texts, method.interests.n_levels
    days = touched
    if config is not None:
        assert interest_embeddings is not None and text_embeddings is not None  # the caller reads them where texts are evidence
        texts = select_written_texts(interactions).join(text_embeddings, "text_hash")
        nearest = materialise("nearest", find_nearest_interests(texts, interest_embeddings, config.min_similarity))
        known = days.select("item_id", "interest_id").distinct()
        written = materialise("written", build_text_days(interactions, nearest, known, config, n_levels))
        days = days.unionByName(written)
    days = at_every_level(days, n_levels)
    return EvidenceDays(days, materialise("interest_days", interest_days(days)))


def describe_interests(known: KnownInterests, touched: DataFrame, items: DataFrame, embeddings: DataFrame, config: Interests) -> DataFrame:
    """Describe the interests that users touched: the columns of the table interests but as_of. touched: days of items."""
    days = at_every_level(touched, config.n_levels)
    of_categories = build_hierarchy_catalogue if config.levels else build_category_catalogue
    catalogue = of_categories if known.topics is None else build_topic_catalogue
    return catalogue(days, items, embed_interests(known, days, items, embeddings), config.languages)


def sum_pairs(days: DataFrame, cutoff: date, method: InterestMethod, materialise: Materialise) -> DataFrame:
    """Sum the evidence of every user and interest, and let users of little history borrow where the config says so.

    days:    EvidenceDays.of_items, all before the cutoff
    Returns: the columns of the table user_interests but as_of
    """
    config = method.augmentation
    pairs = user_interests(days, cutoff, method.interests.half_life_days, method.horizon_days)
    if config is None:
        return pairs
    # Each of these is read several times.
    pairs = materialise("pairs", pairs)
    lending = materialise("profiles", build_profiles(pairs, days, config))
    closest = materialise("neighbours", find_neighbours(pairs, days, lending, config))
    return borrow_evidence(pairs, lending, closest, config)
