"""prune_embeddings: remove the vectors that nothing refers to, and join small files."""

from collections.abc import Sequence
from functools import partial

from pyspark.sql import functions as F

from interest_tiers.embedding.model_folder import model_id
from interest_tiers.embedding.texts import unused_vectors
from interest_tiers.stages.context import StageContext, StageResult, run_command, run_stage, stage_parser
from interest_tiers.stages.embed import texts_in_use
from interest_tiers.storage.schemas import TEXT_EMBEDDINGS

NAME = "prune_embeddings"

#: Of each model a line is printed, up to so many.
MODELS_NAMED = 50


def main(argv: Sequence[str] | None = None) -> int:
    """Remove the vectors of texts that are not in use any more; returns the exit code."""
    parser = stage_parser(NAME, __doc__)
    parser.add_argument("--other-models", action="store_true", help="remove the vectors of all models but the configured one too")
    parser.add_argument("--dry-run", action="store_true", help="count, and remove nothing")
    arguments = parser.parse_args(argv)
    stage = partial(run, other_models=arguments.other_models, dry_run=arguments.dry_run)
    return run_command(NAME, arguments, lambda context: run_stage(NAME, stage, context))


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
