"""embed: each distinct item text to a vector, once per model."""

import sys
import time

from pyspark.sql import functions as F

from interest_tiers.embedding.model_folder import model_id
from interest_tiers.embedding.texts import embed_texts, pending_texts
from interest_tiers.jobs.job import StageContext, StageResult, stage_main
from interest_tiers.tables import ITEMS, TEXT_EMBEDDINGS


def run(context: StageContext) -> StageResult:
    """Embed the item texts that this model has not embedded yet."""
    config, warehouse = context.config.embedding, context.warehouse
    model = model_id(config.model, config.max_tokens)
    items = context.read(ITEMS)
    embedded = context.read(TEXT_EMBEDDINGS) if warehouse.exists(TEXT_EMBEDDINGS) else None
    pending = pending_texts(items, embedded, model)
    n_texts = pending.count()
    if n_texts == 0:
        return StageResult(0, 0, f"every text is embedded already by {model}")
    start = time.monotonic()
    # Written aside before the merge, which reads its rows more than once: no text goes through the model twice.
    vectors = warehouse.stage("embed/vectors", embed_texts(pending, n_texts, config, context.spark.sparkContext.defaultParallelism))
    texts_per_second = n_texts / (time.monotonic() - start)
    n_cut = vectors.where("is_cut").count()
    added = warehouse.insert_missing(TEXT_EMBEDDINGS, vectors.withColumn("model_id", F.lit(model)))
    return StageResult(n_texts, added, f"{texts_per_second:,.0f} texts/s, {n_cut:,} longer than {config.max_tokens} tokens; model {model}")


main = stage_main("embed", run)

if __name__ == "__main__":
    sys.exit(main())
