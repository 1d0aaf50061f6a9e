"""build_interests: which interest each item speaks for, the catalogue of interests, and every user's evidence in them."""

from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import UserTexts
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.errors import DataQualityError
from interest_tiers.interests.augmentation import borrow_evidence, build_profiles, find_neighbours
from interest_tiers.interests.catalogue import (
    average_embeddings,
    build_category_catalogue,
    build_hierarchy_catalogue,
    build_topic_catalogue,
    select_touched_texts,
)
from interest_tiers.interests.evidence import interest_days, interests_by_category, interests_by_levels
from interest_tiers.interests.features import user_interests
from interest_tiers.interests.hierarchy import at_every_level
from interest_tiers.interests.topics import Topics, assign_topics, build_topic_vectors, fit_topics, select_seen_texts
from interest_tiers.interests.user_texts import build_text_days, find_nearest_interests, select_written_texts
from interest_tiers.stages.context import StageContext, StageResult, stage_main
from interest_tiers.storage.schemas import INTERACTIONS, INTERESTS, ITEM_INTERESTS, ITEMS, TEXT_EMBEDDINGS, USER_INTERESTS


@dataclass(frozen=True)
class InterestsOfItems:
    """item_interests: item_id, interest_id (in a hierarchy the finest). topics: None where an interest is a category."""

    item_interests: DataFrame
    topics: Topics | None


def run(context: StageContext) -> StageResult:
    """Say which interest each item speaks for, sum up what every user did before as_of, and describe the interests."""
    warehouse, as_of = context.warehouse, context.as_of
    found = interests_of_items_as_of(context, as_of)
    if warehouse.replace_day(ITEM_INTERESTS, found.item_interests, as_of) == 0:
        raise DataQualityError(_without_interests(context))
    days = context.item_days()
    n_interests = warehouse.replace_day(INTERESTS, _catalogue(context, found, with_levels(context, days)), as_of)
    evidence = evidence_days(context)
    pairs = augmented_pairs_as_of(context, evidence, as_of, "build_interests/borrowing")
    n_pairs = warehouse.replace_day(USER_INTERESTS, pairs, as_of)
    n_interactions = context.read(INTERACTIONS, as_of).count()
    n_used = days.agg(F.sum("n_interactions").alias("n")).first()
    assert n_used is not None  # an aggregate without keys has one row
    unused = n_interactions - (n_used["n"] or 0)
    return StageResult(n_interactions, n_pairs, _describe(n_interests, unused, found.topics))


def interests_of_items_as_of(context: StageContext, day: date) -> InterestsOfItems:
    """The interest of every item; topics are those of the texts touched before the day."""
    items = context.read(ITEMS)
    if context.config.interests.levels:
        return InterestsOfItems(interests_by_levels(items), None)
    if context.config.interests.source == "category":
        return InterestsOfItems(interests_by_category(items), None)
    embeddings = text_embeddings(context)
    topics = fit_topics(select_seen_texts(context.read(INTERACTIONS, day), items, embeddings), context.config.interests)
    return InterestsOfItems(assign_topics(topics, items, embeddings), topics)


def text_embeddings(context: StageContext) -> DataFrame:
    """The vectors of the configured model: text_hash, embedding."""
    model = model_id(context.config.embedding)
    return context.read(TEXT_EMBEDDINGS).where(F.col("model_id") == model).select("text_hash", "embedding")


def embeddings_as_of(context: StageContext, found: InterestsOfItems, days: DataFrame) -> DataFrame:
    """The embeddings of the interests as of any day: interest_id, embedding. found: as of it. days: before it."""
    if found.topics is not None:
        return build_topic_vectors(found.topics, like=days)
    return category_embeddings(context, days)


def category_embeddings(context: StageContext, days: DataFrame) -> DataFrame:
    """The same of categories: the mean of the texts of their items that users touched. days: of items."""
    return average_embeddings(select_touched_texts(days, context.read(ITEMS)), text_embeddings(context))


def evidence_days(context: StageContext) -> DataFrame:
    """All that speaks for interests before as_of: what users did with items, and what they wrote, where the config says so.

    In a hierarchy for the interests of every level.
    """
    return with_levels(context, _finest_days(context))


def with_levels(context: StageContext, days: DataFrame) -> DataFrame:
    """Days for the interests of every level, where the config has a hierarchy; else the same days."""
    return at_every_level(days, context.config.interests.n_levels)


def finest(context: StageContext, pairs: DataFrame) -> DataFrame:
    """Of rows with a level those of the finest, by which users are placed and items recommended: each event counts once there."""
    return pairs.where(F.col("level") == context.config.interests.n_levels)


def stored_pairs(context: StageContext) -> DataFrame:
    """The rows of user_interests. Tables made by earlier versions have no level where the catalogue is flat."""
    return context.read(USER_INTERESTS, context.as_of).fillna(1, ["level"])


def _finest_days(context: StageContext) -> DataFrame:
    days, config = context.item_days(), context.config.interests.user_texts
    if config is None:
        return days
    interests, embeddings = finest(context, context.read(INTERESTS, context.as_of).fillna(1, ["level"])), text_embeddings(context)
    written = context.staged_once(
        "user_texts/days",
        [INTERACTIONS, ITEM_INTERESTS, INTERESTS, TEXT_EMBEDDINGS],
        lambda: _written_days(context, config, days, interests, embeddings, "user_texts"),
    )
    return days.unionByName(written)


def evidence_days_of_interests(context: StageContext) -> DataFrame:
    """The same per interest; see evidence.interest_days."""
    days, tables = evidence_days(context), [INTERACTIONS, ITEM_INTERESTS]
    if context.config.interests.user_texts is not None:
        tables += [INTERESTS, TEXT_EMBEDDINGS]
    return context.staged_once("interest_days", tables, lambda: interest_days(days))


def with_user_texts(context: StageContext, days: DataFrame, interests: DataFrame, staged: str) -> DataFrame:
    """Days of items, and beside them those on which users wrote of an interest before as_of, where the config says so.

    interests: interest_id, embedding. staged: a name to write aside under.
    """
    config = context.config.interests.user_texts
    if config is None:
        return days
    written = _written_days(context, config, days, interests, text_embeddings(context), staged)
    return days.unionByName(context.warehouse.stage(f"{staged}/days", written))


def _written_days(
    context: StageContext, config: UserTexts, days: DataFrame, interests: DataFrame, embeddings: DataFrame, staged: str
) -> DataFrame:
    interactions = context.read(INTERACTIONS, context.as_of)
    texts = select_written_texts(interactions).join(embeddings, "text_hash")
    nearest = context.warehouse.stage(f"{staged}/nearest", find_nearest_interests(texts, interests, config.min_similarity))
    return build_text_days(
        interactions, nearest, days.select("item_id", "interest_id").distinct(), config, context.config.interests.n_levels
    )


def pairs_as_of(context: StageContext, days: DataFrame, as_of: date) -> DataFrame:
    """The rows of user_interests as of any day, from days before it: what users did, nothing borrowed."""
    config = context.config
    return user_interests(days, as_of, config.interests.half_life_days, config.tiers.horizon_days)


def augmented_pairs_as_of(context: StageContext, days: DataFrame, as_of: date, staged: str) -> DataFrame:
    """The same, with what users of little history borrow where the config says so. staged: a name to write aside under."""
    pairs, augmentation, stage = pairs_as_of(context, days, as_of), context.config.augmentation, context.warehouse.stage
    if augmentation is None:
        return pairs
    # Each is read several times over.
    pairs = stage(f"{staged}/pairs", pairs)
    lending = stage(f"{staged}/profiles", build_profiles(pairs, days, augmentation))
    closest = stage(f"{staged}/neighbours", find_neighbours(pairs, days, lending, augmentation))
    return borrow_evidence(pairs, lending, closest, augmentation)


def _catalogue(context: StageContext, found: InterestsOfItems, days: DataFrame) -> DataFrame:
    of_categories = build_hierarchy_catalogue if context.config.interests.levels else build_category_catalogue
    catalogue = of_categories if found.topics is None else build_topic_catalogue
    return catalogue(days, context.read(ITEMS), embeddings_as_of(context, found, days), context.config.interests.languages)


def _without_interests(context: StageContext) -> str:
    levels = context.config.interests.levels
    if levels:
        return (
            f"no item has a name in the column {levels[0]}, so there is no interest: see interests.source; "
            "where it is new, run the stage clean first"
        )
    if context.config.interests.source == "category":
        return "no item has a category, so there is no interest: see items.columns.category, or set interests.source to topic"
    return (
        f"no item that was touched before {context.as_of} has a text with a vector, so there is no topic: "
        "see items.columns.text, or run the stage embed first"
    )


def _describe(n_interests: int, unused: int, topics: Topics | None) -> str:
    if topics is None:
        return f"{n_interests:,} interests; {unused:,} interactions with items of no category"
    return (
        f"{n_interests:,} interests of {len(topics.ids):,} topics, found in {topics.n_fitted:,} of {topics.n_texts:,} texts; "
        f"{unused:,} interactions with items of no topic"
    )


main = stage_main("build_interests", run)
