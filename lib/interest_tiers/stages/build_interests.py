"""build_interests: the interest of each item, the catalogue of interests, and every user's evidence for them."""

from __future__ import annotations

from pyspark.sql import functions as F

from interest_tiers.errors import DataQualityError
from interest_tiers.interests.composition import InterestMethod, describe_interests, find_interests, sum_pairs
from interest_tiers.interests.topics import Topics
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.inputs import count_vectors, describe_broken_vectors, read_evidence, read_item_days, read_text_embeddings
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import INTERACTIONS, INTERESTS, ITEM_INTERESTS, ITEMS, USER_INTERESTS


def run(context: StageContext) -> StageResult:
    """Find the interest of each item, describe the interests, and sum every user's evidence before as_of."""
    method, as_of = InterestMethod.of(context.config), context.as_of
    items, interactions, texts = context.read(ITEMS), context.read(INTERACTIONS, as_of), read_text_embeddings(context)
    known = find_interests(items, interactions, texts, as_of, method.interests)
    if context.replace_day(ITEM_INTERESTS, known.item_interests) == 0:
        raise DataQualityError(_explain_no_interest(context))
    touched = read_item_days(context)
    n_used = touched.agg(F.sum("n_interactions").alias("n")).first()
    assert n_used is not None  # an aggregate without keys has one row
    if n_used["n"] is None:
        raise DataQualityError(f"no interaction before {as_of} is with an item of an interest. Check that item ids agree in both sources")
    n_interests = context.replace_day(INTERESTS, describe_interests(known, touched, items, texts, method.interests))
    days = read_evidence(context).of_items
    n_pairs = context.replace_day(USER_INTERESTS, sum_pairs(days, as_of, method, context.materialise))
    n_interactions = interactions.count()
    described = [_describe(n_interests, n_interactions - n_used["n"], known.topics), describe_broken_vectors(context, items)]
    return StageResult(n_interactions, n_pairs, "; ".join(filter(None, described)))


def _explain_no_interest(context: StageContext) -> str:
    levels = context.config.interests.levels
    if levels:
        return f"no item has a name in the column {levels[0]}, so there is no interest. Check interests.source; where it is new, run clean"
    if context.config.interests.source == "category":
        return "no item has a category, so there is no interest. Check items.columns.category, or set interests.source to topic"
    no_topic = f"no item touched before {context.as_of} has a text with a vector, so there is no topic"
    if context.read(ITEMS).where("text_hash IS NOT NULL").isEmpty():
        return f"{no_topic}: no item has a text. Check items.columns.text, or let categories be interests (interests.source)"
    if count_vectors(context) == 0:
        return f"{no_topic}. Run the stage embed first"
    return f"{no_topic}: the model knows no token of these texts. Check items.columns.text, or use another embedding.model"


def _describe(n_interests: int, n_unused: int, topics: Topics | None) -> str:
    if topics is None:
        return f"{n_interests:,} interests; {n_unused:,} interactions with items of no category"
    return (
        f"{n_interests:,} interests of {len(topics.ids):,} topics, found in {topics.n_fitted:,} of {topics.n_texts:,} texts; "
        f"{n_unused:,} interactions with items of no topic"
    )
