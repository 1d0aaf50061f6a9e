"""embed: stores a vector of each distinct text, once per model."""

from pyspark.sql import DataFrame

from interest_tiers.embedding.composition import embed_pending_texts
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.embedding.precision import decide_precision
from interest_tiers.embedding.preflight import preflight as check_embedding
from interest_tiers.interests.user_texts import select_written_texts
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import INTERACTIONS, ITEMS, TEXT_EMBEDDINGS

#: Compact the table above this number of files; every run adds a few small ones.
MANY_FILES = 100


def preflight(context: StageContext) -> list[str]:
    """Check that the backend is installed and the model can be read."""
    check_embedding(context.config.embedding, context.spark)
    return []


def run(context: StageContext) -> StageResult:
    """Embed the texts that this model has not embedded yet, and store each wave before the next is embedded."""
    config = decide_precision(context.config.embedding, context.spark)
    embedded = context.read(TEXT_EMBEDDINGS) if context.exists(TEXT_EMBEDDINGS) else None
    parallelism = context.spark.sparkContext.defaultParallelism
    n_texts = n_cut = n_added = 0
    seconds = 0.0
    for wave in embed_pending_texts(read_texts_in_use(context), embedded, config, context.materialise, parallelism):
        n_added += context.warehouse.insert_missing(TEXT_EMBEDDINGS, wave.vectors)
        n_texts, n_cut, seconds = n_texts + wave.n_texts, n_cut + wave.n_cut, seconds + wave.seconds
    model = model_id(config)
    if n_texts == 0:
        return StageResult(0, 0, f"every text is embedded already by {model}")
    context.warehouse.compact(TEXT_EMBEDDINGS, MANY_FILES)
    speed = f"{n_texts / seconds:,.0f} texts/s"
    return StageResult(n_texts, n_added, f"{speed}, {n_cut:,} longer than {config.max_tokens} tokens; model {model} in {config.precision}")


def read_texts_in_use(context: StageContext) -> DataFrame:
    """Read the texts of items, and those of users before as_of where they are evidence.

    Returns: (text_hash, text), not distinct
    """
    texts = context.read(ITEMS).where("text_hash IS NOT NULL").select("text_hash", "text")
    if context.config.interests.user_texts is None:
        return texts
    return texts.unionByName(select_written_texts(context.read(INTERACTIONS, context.as_of)))
