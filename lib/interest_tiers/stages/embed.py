"""embed: stores a vector of each distinct text, once per model."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.embedding.composition import NAMED, embed_pending_texts
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.embedding.precision import decide_precision
from interest_tiers.embedding.preflight import preflight as check_embedding
from interest_tiers.embedding.texts import COUNTS, has_information, is_finite
from interest_tiers.interests.user_texts import select_written_texts
from interest_tiers.slices import Slice
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.results import Measurement, StageResult
from interest_tiers.storage.schemas import INTERACTIONS, ITEMS, TEXT_EMBEDDINGS

#: Compact the table above this number of files; every run adds a few small ones.
MANY_FILES = 100

NO_TEXT = "no item has a text: nothing to embed"


def preflight(context: StageContext) -> list[str]:
    """Check that the backend is installed and the model can be read."""
    check_embedding(context.config.embedding, context.spark)
    return []


def run(context: StageContext) -> StageResult:
    """Embed the texts that this model has not embedded yet, and store each wave before the next is embedded."""
    config = decide_precision(context.config.embedding, context.spark)
    n_removed = _remove_broken_vectors(context)
    embedded = context.read(TEXT_EMBEDDINGS) if context.exists(TEXT_EMBEDDINGS) else None
    parallelism = context.spark.sparkContext.defaultParallelism
    n_texts = n_cut = n_added = n_broken = 0
    broken: tuple[str, ...] = ()
    seconds = 0.0
    for wave in embed_pending_texts(read_texts_in_use(context), embedded, config, context.materialise, parallelism):
        n_added += context.warehouse.insert_missing(TEXT_EMBEDDINGS, wave.vectors)
        n_texts, n_cut, seconds = n_texts + wave.n_texts, n_cut + wave.n_cut, seconds + wave.seconds
        n_broken, broken = n_broken + wave.n_broken, (broken + wave.broken)[:NAMED]
    model = model_id(config)
    found = [f"stored vectors with NaN or infinity: {n_removed:,}, made anew"] if n_removed else []
    if n_broken:
        named = f"text_hash {', '.join(broken)}{', …' if n_broken > len(broken) else ''}"
        found.append(f"texts whose vector came out with NaN or infinity: {n_broken:,}, not stored ({named}); try embedding.precision fp32")
    readable = _measure_texts(context, model)
    if n_texts == 0:
        return StageResult(0, 0, "; ".join([f"every text is embedded already by {model}" if readable else NO_TEXT, *readable, *found]))
    context.warehouse.compact(TEXT_EMBEDDINGS, MANY_FILES)
    speed = f"{n_texts / seconds:,.0f} texts/s, {n_cut:,} longer than {config.max_tokens} tokens"
    return StageResult(n_texts, n_added, "; ".join([speed, f"model {model} in {config.precision}", *readable, *found]))


def _remove_broken_vectors(context: StageContext) -> int:
    """Remove vectors with NaN or infinity from a table that does not refuse them yet, and make it refuse them; returns how many."""
    missing = context.warehouse.missing_constraints(TEXT_EMBEDDINGS)
    if not missing:
        return 0
    stored = context.read(TEXT_EMBEDDINGS)
    broken = context.materialise("broken", stored.where(~is_finite(F.col("embedding"))).select("text_hash", "model_id"))
    n_broken = context.warehouse.delete_unused(TEXT_EMBEDDINGS, broken) if not broken.isEmpty() else 0
    context.warehouse.add_constraints(TEXT_EMBEDDINGS, missing)
    return n_broken


def _measure_texts(context: StageContext, model: str) -> list[str]:
    """Measure how much of the stored texts the model can read; describes it, and nothing where no text has a vector."""
    rows = context.read_or_empty(TEXT_EMBEDDINGS).where(F.col("model_id") == model)
    sums = [F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in COUNTS]
    found = rows.agg(F.count(F.lit(1)).alias("texts"), F.count_if(~has_information()).alias("empty"), *sums).first()
    assert found is not None  # an aggregate without keys has one row
    if found["texts"] == 0:
        return []
    unread = (found["n_unknown"] + found["n_single"]) / max(found["n_tokens"], 1)
    measured = [
        Measurement("texts", str(Slice("all")), found["texts"]),
        Measurement("texts_without_information", str(Slice("all")), found["empty"]),
        Measurement("unknown_or_single_token_share", str(Slice("all")), unread),
    ]
    # A catalogue may be embedded before the first interaction, when there is no day yet.
    if context.requested_as_of is not None or context.exists(INTERACTIONS):
        context.write_metrics(measured)
    shares = f"{unread:.1%} of the tokens are unknown to the model or single letters"
    return [shares, f"{found['empty']:,} texts say nothing to it and count as missing"] if found["empty"] else [shares]


def read_texts_in_use(context: StageContext) -> DataFrame:
    """Read the texts of items, and those of users before as_of where they are evidence.

    Returns: (text_hash, text), not distinct
    """
    texts = context.read(ITEMS).where("text_hash IS NOT NULL").select("text_hash", "text")
    if context.config.interests.user_texts is None:
        return texts
    return texts.unionByName(select_written_texts(context.read(INTERACTIONS, context.as_of)))
