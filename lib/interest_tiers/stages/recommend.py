"""recommend: the items to show each user next, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.recommend.composition import TierFrames, prepare_ranking, rank_items
from interest_tiers.recommend.knowledge import sum_use
from interest_tiers.recommend.ranker import Ranker
from interest_tiers.recommend.reasons import explain, share_in_clusters
from interest_tiers.recommend.training import ItemInputs, Kind, RankerSetup, RankerTraining, ranker_day
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.inputs import read_pairs, read_tier_inputs, tier_inputs_at
from interest_tiers.stages.models import lineage_of, ranker_models
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import CLUSTERS, INTERESTS, ITEMS, RECOMMENDATIONS, USER_CLUSTERS, USER_TIERS
from interest_tiers.tiers.composition import TierInputs
from interest_tiers.training.model_store import ModelStore


def preflight(context: StageContext) -> list[str]:
    """Check that there is a folder for the ranker."""
    ranker_models(context)
    return []


def run(context: StageContext) -> StageResult:
    """Rank own items, and new ones by co-use, adoption, interests and texts."""
    config, as_of = context.config.recommend, context.as_of
    inputs = read_tier_inputs(context)
    items_at = item_inputs_at(context, tier_inputs_at(context, inputs))
    kind: Kind = "all" if config.repeats else "new"
    rankers = set_up_ranker(context, items_at, ranker_models(context), [kind], ranker_day(as_of, config)).read_or_train()
    tiers, current = context.read(USER_TIERS, as_of), items_at(as_of)
    use = sum_use(current.days, as_of, context.materialise)
    frames = TierFrames(read_pairs(context, finest=True), tiers) if config.calibration else None
    ready = prepare_ranking(use, current.vectors, config, tiers=frames)
    ranker = None if isinstance(rankers, str) else rankers[kind]
    ranked = context.materialise("ranked", rank_items(ready, ranker, config, config.repeats))
    user_clusters, clusters = context.read(USER_CLUSTERS, as_of), context.read(CLUSTERS, as_of)
    shares = share_in_clusters(use.used, user_clusters)
    reasons = explain(ranked, tiers, context.read(INTERESTS, as_of), user_clusters, clusters, shares, context.read(ITEMS))
    rows = context.replace_day(RECOMMENDATIONS, reasons)
    n_users, n_served = (frame.select("user_id").distinct().count() for frame in (tiers, ranked))
    return StageResult(n_users, rows, f"{_describe(rankers)}{n_served:,} users served, {n_users - n_served:,} without a candidate")


def _describe(rankers: dict[Kind, Ranker] | str) -> str:
    return f"no ranker, because {rankers}; " if isinstance(rankers, str) else ""


def item_inputs_at(context: StageContext, inputs_at: Callable[[date], TierInputs]) -> Callable[[date], ItemInputs]:
    """Return a function that gives the inputs of recommendations by the interests as known at a cutoff."""
    n_levels = context.config.interests.n_levels

    def at(cutoff: date) -> ItemInputs:
        inputs = inputs_at(cutoff)
        days = inputs.item_days.where((F.col("level") == n_levels) & F.col("item_id").isNotNull())
        return ItemInputs(days, _join_vectors(inputs.items, inputs.text_embeddings))

    return at


def _join_vectors(items: DataFrame, text_embeddings: DataFrame) -> DataFrame:
    texts = items.where(F.col("text_hash").isNotNull()).select("item_id", "text_hash")
    return texts.join(text_embeddings, "text_hash", "left").select("item_id", "text_hash", "embedding")


def set_up_ranker(
    context: StageContext,
    inputs_at: Callable[[date], ItemInputs],
    store: ModelStore,
    kinds: Sequence[Kind],
    day: date,
    min_item_users: int = 1,
) -> RankerTraining:
    """Put together the training of the ranker as of a day. inputs_at: see item_inputs_at."""
    setup = RankerSetup(
        inputs_at, context.config.recommend, context.config.horizon_days, min_item_users, store, context.materialise_in("ranker"),
        lineage_of(context),
    )  # fmt: skip
    return RankerTraining(setup, day, kinds)
