"""prune_embeddings: deletes the vectors of texts that are no longer used, and compacts the table."""

from pyspark.sql import functions as F

from interest_tiers.embedding.model_folder import model_id
from interest_tiers.embedding.texts import select_unused_vectors
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.embed import read_texts_in_use
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import TEXT_EMBEDDINGS

#: Limit of models that are printed, one a line.
MODELS_NAMED = 50


def run(context: StageContext, other_models: bool = False, dry_run: bool = False) -> StageResult:
    """Print the number of unused vectors per model, delete them, and compact the table.

    Storage is freed when the deleted files are older than the table's retention, as by forget_users and VACUUM.
    """
    warehouse, embedded = context.warehouse, context.read(TEXT_EMBEDDINGS)
    model = model_id(context.config.embedding)
    n_vectors = embedded.count()
    unused = context.materialise("unused", select_unused_vectors(embedded, read_texts_in_use(context), model if other_models else None))
    counts = unused.groupBy("model_id").count().orderBy(F.desc("count"), "model_id").limit(MODELS_NAMED).collect()
    for row in counts:
        print(f"{row['model_id']:<60} {row['count']:>12,} of no use", flush=True)
    n_unused = unused.count()
    if dry_run:
        return StageResult(n_vectors, n_vectors, f"dry run: {n_unused:,} vectors would go")
    removed = warehouse.delete_unused(TEXT_EMBEDDINGS, unused) if n_unused else 0
    joined = warehouse.compact(TEXT_EMBEDDINGS, above_files=1)
    warehouse.vacuum(TEXT_EMBEDDINGS, forgotten_at=None)
    return StageResult(n_vectors, n_vectors - removed, f"{removed:,} vectors removed, {joined:,} files joined")
