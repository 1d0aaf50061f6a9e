"""prune_embeddings: remove the vectors that nothing refers to, and join small files."""

from pyspark.sql import functions as F

from interest_tiers.embedding.model_folder import model_id
from interest_tiers.embedding.texts import unused_vectors
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.embed import texts_in_use
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import TEXT_EMBEDDINGS

NAME = "prune_embeddings"

#: Of each model a line is printed, up to so many.
MODELS_NAMED = 50


def run(context: StageContext, other_models: bool = False, dry_run: bool = False) -> StageResult:
    """Say how many vectors of each model nothing refers to, remove them, and join the files that are left.

    Files go from the storage when they are older than the retention of the table, as forget_users and VACUUM have it.
    """
    warehouse, embedded = context.warehouse, context.read(TEXT_EMBEDDINGS)
    model = model_id(context.config.embedding)
    n_vectors = embedded.count()
    unused = warehouse.stage(f"{NAME}/unused", unused_vectors(embedded, texts_in_use(context), model if other_models else None))
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
