"""embed: each distinct text to a vector, once per model."""

import time

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.embedding.backends import require_backend
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.embedding.spark_nlp import require_jars
from interest_tiers.embedding.texts import embed_texts, pending_texts, waves
from interest_tiers.errors import InterestTiersError
from interest_tiers.interests.user_texts import select_written_texts
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import INTERACTIONS, ITEMS, TEXT_EMBEDDINGS

#: Every run adds a few small files; above so many they are joined.
MANY_FILES = 100


def preflight(context: StageContext) -> list[str]:
    """Check that the backend and the model are there."""
    require_backend(context.config.embedding)
    return []


def run(context: StageContext) -> StageResult:
    """Embed the texts that this model has not embedded yet; what is embedded of many is stored before more are."""
    config, warehouse = context.config.embedding, context.warehouse
    require_backend(config)
    if config.backend == "sparknlp":
        require_jars(context.spark)
    model = model_id(config)
    embedded = context.read(TEXT_EMBEDDINGS) if warehouse.exists(TEXT_EMBEDDINGS) else None
    pending = warehouse.stage("embed/pending", pending_texts(texts_in_use(context), embedded, model))
    n_texts = pending.count()
    if n_texts == 0:
        return StageResult(0, 0, f"every text is embedded already by {model}")
    parallelism = context.spark.sparkContext.defaultParallelism
    added = n_cut = 0
    seconds = 0.0
    for texts in waves(pending, n_texts, parallelism):
        start = time.monotonic()
        # Written aside before the merge, which reads its rows more than once: no text goes through the model twice.
        vectors = warehouse.stage("embed/vectors", embed_texts(texts, config, parallelism))
        seconds += time.monotonic() - start
        n_cut += _checked(vectors, texts.count())
        added += warehouse.insert_missing(TEXT_EMBEDDINGS, vectors.withColumn("model_id", F.lit(model)))
    warehouse.compact(TEXT_EMBEDDINGS, MANY_FILES)
    speed = f"{n_texts / seconds:,.0f} texts/s"
    return StageResult(n_texts, added, f"{speed}, {n_cut:,} longer than {config.max_tokens} tokens; model {model}")


def _checked(vectors: DataFrame, n_texts: int) -> int:
    """How many of the texts were cut. Raises InterestTiersError when they have not as many vectors."""
    counts = vectors.agg(F.count("embedding").alias("embedded"), F.count_if("is_cut").alias("cut")).first()
    assert counts is not None  # an aggregate without keys has one row
    if counts["embedded"] != n_texts:
        raise InterestTiersError(
            f"{n_texts:,} texts went into the model and {counts['embedded']:,} vectors came out; use another embedding.backend"
        )
    n_cut: int = counts["cut"]
    return n_cut


def texts_in_use(context: StageContext) -> DataFrame:
    """The texts of items, and those that users wrote before as_of where they are evidence: text_hash, text."""
    texts = context.read(ITEMS).where("text_hash IS NOT NULL").select("text_hash", "text")
    if context.config.interests.user_texts is None:
        return texts
    return texts.unionByName(select_written_texts(context.read(INTERACTIONS, context.as_of)))
