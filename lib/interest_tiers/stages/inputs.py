"""What several stages read: text embeddings, days of items, days of evidence, and the inputs of tiers at any cutoff."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.embedding.composition import NAMED
from interest_tiers.embedding.model_folder import model_id, read_model_folder
from interest_tiers.embedding.texts import has_information, is_finite
from interest_tiers.interests.composition import (
    EvidenceDays,
    InterestMethod,
    collect_evidence,
    embed_interests,
    find_interests,
    sum_item_days,
)
from interest_tiers.stages.context import StageContext
from interest_tiers.storage.schemas import (
    INTERACTIONS,
    INTERESTS,
    ITEM_INTERESTS,
    ITEMS,
    TEXT_EMBEDDINGS,
    USER_INTERESTS,
    USERS,
    Table,
)
from interest_tiers.tiers.composition import TierInputs, TierMethod


def tier_method(context: StageContext) -> TierMethod:
    """Take the settings of tiers from the config."""
    model = context.config.embedding.model
    return TierMethod.of(context.config, encoder=lambda: str(read_model_folder(model).path))


def read_text_embeddings(context: StageContext) -> DataFrame:
    """Read the vectors of the configured model: (text_hash, embedding). No rows where no text was embedded.

    Left out are vectors with NaN or infinity, and those of texts that say nothing to the model, which are all alike.
    """
    return _read_vectors(context).where(has_information() & is_finite(F.col("embedding"))).select("text_hash", "embedding")


def count_vectors(context: StageContext) -> int:
    """Count the stored vectors of the configured model."""
    return _read_vectors(context).count()


def describe_broken_vectors(context: StageContext, items: DataFrame) -> str:
    """Count and name the vectors with NaN or infinity, which are left out; empty where there are none.

    items: (item_id, text_hash, ...)
    """
    if "embedding_is_finite" not in context.warehouse.missing_constraints(TEXT_EMBEDDINGS):
        return ""
    broken = _read_vectors(context).where(~is_finite(F.col("embedding"))).select("text_hash")
    n_broken = broken.count()
    if n_broken == 0:
        return ""
    of_items = broken.join(items, "text_hash", "left").orderBy("text_hash", "item_id").limit(NAMED).collect()
    named = ", ".join(f"text_hash {row['text_hash']} (item {row['item_id']})" for row in of_items)
    vectors = "1 vector" if n_broken == 1 else f"{n_broken:,} vectors"
    return f"{vectors} with NaN or infinity left out: {named}. Run embed, which replaces what is broken"


def _read_vectors(context: StageContext) -> DataFrame:
    """Read the rows of text_embeddings of the configured model."""
    return context.read_or_empty(TEXT_EMBEDDINGS).where(F.col("model_id") == model_id(context.config.embedding))


def read_item_days(context: StageContext) -> DataFrame:
    """Sum what users did with items before as_of, by day; once per command."""
    interactions, item_interests = context.read(INTERACTIONS, context.as_of), context.read(ITEM_INTERESTS, context.as_of)
    method = InterestMethod.of(context.config)
    return context.share("item_days", [INTERACTIONS, ITEM_INTERESTS], lambda: sum_item_days(interactions, item_interests, method))


def read_evidence(context: StageContext) -> EvidenceDays:
    """Collect all days before as_of that speak for interests."""
    touched, method = read_item_days(context), InterestMethod.of(context.config)
    embeddings = texts = None
    tables = [INTERACTIONS, ITEM_INTERESTS]
    if method.interests.user_texts is not None:
        finest = F.coalesce("level", F.lit(1)) == method.interests.n_levels
        embeddings = context.read(INTERESTS, context.as_of).where(finest).select("interest_id", "embedding")
        texts, tables = read_text_embeddings(context), [*tables, INTERESTS, TEXT_EMBEDDINGS]

    def once(name: str, rows: DataFrame) -> DataFrame:
        return context.share(name, tables, lambda: rows)

    return collect_evidence(touched, context.read(INTERACTIONS, context.as_of), embeddings, texts, method, once)


def read_pairs(context: StageContext, finest: bool = False) -> DataFrame:
    """Read user_interests of as_of. finest: of a hierarchy, only the level on which items are recommended."""
    # Tables made by earlier versions have no level where the catalogue is flat.
    pairs = context.read(USER_INTERESTS, context.as_of).fillna(1, ["level"])
    return pairs.where(F.col("level") == context.config.interests.n_levels) if finest else pairs


def read_tier_inputs(context: StageContext) -> TierInputs:
    """Read what tiers as of as_of are computed from, by the interests as they are known on that day."""
    evidence, topics = read_evidence(context), None
    if context.config.interests.source == "topic":
        topics = context.read(INTERESTS, context.as_of).select("interest_id", "embedding")
    return TierInputs(
        evidence.of_items,
        evidence.of_interests,
        context.read(ITEMS),
        read_text_embeddings(context),
        _read_users(context),
        topics,
    )


def tier_inputs_at(context: StageContext, current: TierInputs, day: date | None = None) -> Callable[[date], TierInputs]:
    """Return a function that gives the inputs by the interests as they were known at a cutoff.

    current: the inputs by the interests as known on day; default: on as_of.

    Categories of items carry no date, so for them the inputs are the current ones at every cutoff. Topics are fitted to
    the texts that users touched before the cutoff.
    """
    if context.config.interests.source != "topic":
        return lambda cutoff: current
    known: dict[date, TierInputs] = {day or context.as_of: current}

    def at(cutoff: date) -> TierInputs:
        if cutoff not in known:
            known[cutoff] = compute_tier_inputs(context, cutoff, f"topics/{cutoff}")
        return known[cutoff]

    return at


def read_or_compute_tier_inputs(context: StageContext, cutoff: date) -> TierInputs:
    """Read the inputs of as_of where the interests at a cutoff are the same, else compute them.

    Categories of items carry no date. Topics do, and texts of users are compared with vectors of interests, which do too.
    """
    interests = context.config.interests
    if interests.source == "topic" or interests.user_texts is not None or not _has_day(context, ITEM_INTERESTS):
        return compute_tier_inputs(context, cutoff, "inputs")
    return read_tier_inputs(context)


def _has_day(context: StageContext, table: Table) -> bool:
    return context.exists(table) and not context.read(table).where(F.col("as_of") == F.lit(context.as_of)).isEmpty()


def compute_tier_inputs(context: StageContext, cutoff: date, name: str) -> TierInputs:
    """Find the interests as known at a cutoff, and compute all days before as_of by them; materialised under the name."""
    method, materialise = InterestMethod.of(context.config), context.materialise_in(name)
    items, interactions, texts = context.read(ITEMS), context.read(INTERACTIONS, context.as_of), read_text_embeddings(context)
    known = find_interests(items, interactions, texts, cutoff, method.interests)
    touched = materialise("item_days", sum_item_days(interactions, materialise("item_interests", known.item_interests), method))
    embeddings = embed_interests(known, touched.where(F.col("event_date") < F.lit(cutoff)), items, texts)
    evidence = collect_evidence(touched, interactions, embeddings, texts, method, materialise)
    topics = None if known.topics is None else embeddings
    return TierInputs(evidence.of_items, evidence.of_interests, items, texts, _read_users(context), topics)


def _read_users(context: StageContext) -> DataFrame | None:
    return None if context.config.users is None else context.read(USERS)
