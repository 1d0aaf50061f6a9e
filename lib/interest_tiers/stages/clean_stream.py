"""clean --stream: takes new files step by step, by Structured Streaming, until none is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.increment import FIRST_RUN, Increment, parse_columns
from interest_tiers.cleaning.ledger import SourceChanges, compare_files
from interest_tiers.cleaning.quality import measure_totals
from interest_tiers.errors import ConfigError
from interest_tiers.sources.faults import SPARK_FAULTS
from interest_tiers.sources.files import watch_files
from interest_tiers.stages.clean_plan import name_damaged_sources, plan
from interest_tiers.stages.clean_step import rebuild_error, require_limits, require_no_rebuild, take
from interest_tiers.stages.clean_tables import stored
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import INTERACTIONS, SOURCE_FILES

#: Digits of a step's number in its run id, so that run ids sort as text.
STEP_DIGITS = 8


def run_stream(context: StageContext, files_per_batch: int, checkpoints: str | None) -> StageResult:
    """Take the new files of the interactions' folders in steps, by Structured Streaming, and end."""
    config = context.config
    if files_per_batch < 1:
        raise ConfigError(f"--files-per-batch is {files_per_batch}: a step takes 1 file or more")
    folder = context.warehouse.checkpoint_path() if checkpoints is None else checkpoints.rstrip("/")
    tables = [name for name, source in config.named_sources.items() if source.reader_format == "delta"]
    if tables:
        raise ConfigError(f"--stream watches folders of files, and the source {tables[0]} is a Delta table: run clean without --stream")
    with name_damaged_sources(context):
        rules = _take_catalogues(context)
        steps = [
            step for name in config.named_sources for step in _take_source(context, name, rules, files_per_batch, f"{folder}/clean/{name}")
        ]
        interactions = stored(context, INTERACTIONS)
        n_users = interactions.select("user_id").distinct().count()
        require_limits(context, measure_totals(interactions.count(), n_users, config.quality))
    rows_in, rows_out = (sum(getattr(step, count) for step in steps) for count in ("rows_in", "rows_out"))
    last = f"; the last one: {steps[-1].message}" if steps else ""
    return StageResult(rows_in, rows_out, f"{len(steps):,} steps{last}")


def step_run_id(run_id: str, source: str, number: int) -> str:
    """Name a step of a stream so that the steps of one run sort by number."""
    return f"{run_id}-{source}-{number:0{STEP_DIGITS}d}"


def _take_catalogues(context: StageContext) -> Mapping[str, str]:
    """Take items and users, and stop where the stream cannot go on from what the tables hold. Returns Increment.rules."""
    sources = context.config.named_sources
    increment = plan(context, full=False)
    # The stream reads what was never read.
    increment.rebuilt = {name: reason for name, reason in increment.rebuilt.items() if name not in sources or reason != FIRST_RUN}
    require_no_rebuild(context, increment)
    increment.files = {name: files for name, files in increment.files.items() if name not in sources}
    if increment.files:
        take(context, increment, may_rebuild=False)
    return increment.rules


def _take_source(context: StageContext, name: str, rules: Mapping[str, str], files_per_batch: int, checkpoint: str) -> list[StageResult]:
    """Take all new files of a source in steps; the checkpoint remembers which files were seen."""
    source = context.config.named_sources[name]
    steps: list[StageResult] = []
    faults: list[Exception] = []

    def take_batch(batch: DataFrame, number: int) -> None:
        try:
            taken = _take_batch(replace(context, step_run_id=step_run_id(context.run_id, name, number)), name, rules, batch)
            steps.extend([] if taken is None else [taken])
        except Exception as error:  # the stream would wrap it in an error of its own
            faults.append(error)
            raise

    watched = watch_files(context.warehouse.spark, context.config.resolve(source.path), source.options, files_per_batch)
    writer = watched.writeStream.foreachBatch(take_batch).trigger(availableNow=True).option("checkpointLocation", checkpoint)
    query = writer.queryName(f"clean {name}").start()
    try:
        query.awaitTermination()
    except SPARK_FAULTS:
        if faults:
            raise faults[0] from None
        raise
    return steps


def _take_batch(context: StageContext, name: str, rules: Mapping[str, str], batch: DataFrame) -> StageResult | None:
    """Take the files of a step; None where all of them were read before."""
    listed = context.warehouse.stage("clean/files", batch.withColumn("source", F.lit(name)))
    ledger = context.warehouse.read(SOURCE_FILES)
    change = compare_files(listed, ledger, rules).get(name, SourceChanges())
    if change.changed is not None:
        raise rebuild_error(f"{name}: {change.reason_to_rebuild}")
    if not change.new:
        return None
    columns = {} if change.columns is None else {name: parse_columns(change.columns)}
    return take(context, Increment(listed, ledger, {name: list(change.new)}, columns=columns, rules=rules), may_rebuild=False)
