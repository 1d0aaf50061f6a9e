"""Plans a run of clean from the sources, the ledger and Delta's logs, and names damaged source files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.increment import FIRST_RUN, Increment, all_sources, all_tables, plan_increment, read_everything
from interest_tiers.cleaning.ledger import SourceChanges, compare_files, fingerprint_rules
from interest_tiers.config import ITEMS_SOURCE, USERS_SOURCE, Source
from interest_tiers.errors import ConfigError
from interest_tiers.sources.delta import has_only_grown, read_added_rows
from interest_tiers.sources.faults import PACKED_FILE, SPARK_FAULTS, damaged_file, too_long_value
from interest_tiers.sources.files import is_behind, list_files
from interest_tiers.stages.context import StageContext
from interest_tiers.storage.schemas import ITEM_VERSIONS, SOURCE_FILES


def plan(context: StageContext, full: bool) -> Increment:
    """Plan what to read. full: read everything."""
    config, warehouse = context.config, context.warehouse
    # Listed before any is read: a file that comes later is left to the next run.
    listed, rules = warehouse.stage("clean/files", _list_sources(context)), source_rules(context)
    if full or not warehouse.exists(SOURCE_FILES):
        return read_everything(config, listed, "as --full says" if full else FIRST_RUN, rules)
    ledger = warehouse.read(SOURCE_FILES)
    changes = compare_files(listed, ledger, rules)
    added, grown = _find_growth(context, listed, ledger, changes)

    def are_items_counted() -> bool:
        # Counting the items of a run that stopped half-way again would count them twice.
        counted_by = warehouse.read(ITEM_VERSIONS).select("run_id").limit(1)
        return not ledger.where(F.col("source") == ITEMS_SOURCE).join(counted_by, "run_id", "left_semi").isEmpty()

    return plan_increment(config, listed, ledger, changes, rules, added, grown, are_items_counted)


def source_rules(context: StageContext) -> dict[str, str]:
    """Compute the fingerprint of the cleaning rules of every source, and of the state of the tables that it joins."""
    config = context.config
    return {name: fingerprint_rules(config, source, _state_of_joined(context, source)) for name, source in all_sources(config).items()}


def _state_of_joined(context: StageContext, source: Source) -> str:
    """Return a fingerprint of the files behind the tables that a source joins; empty where it joins none."""
    states = []
    for join in source.join:
        listed = list_files(context.warehouse.spark, context.config.resolve(join.path), join.reader_format, join.options)
        # The order of files does not matter.
        summed = listed.agg(F.count(F.lit(1)).alias("n"), F.sum(F.xxhash64("path", "state").cast("decimal(38,0)")).alias("hash")).first()
        assert summed is not None  # an aggregate without keys has one row
        states.append(f"{summed['n']}/{summed['hash']}")
    return ",".join(states)


@contextmanager
def name_damaged_sources(context: StageContext) -> Iterator[None]:
    """Turn a fault of a damaged source file into a ConfigError that names it; other faults, also of tables, pass."""
    try:
        yield
    except SPARK_FAULTS as error:
        file = damaged_file(error)
        behind = None if file is None else _paths_of(context, file)
        if not behind:
            raise
        if (too_long := too_long_value(error)) is not None:
            raise ConfigError(f"{file} behind {behind} {too_long}") from error
        raise ConfigError(f"{file} behind {behind} is cut short or damaged: replace it, or leave it out of the path") from error


def _list_sources(context: StageContext) -> DataFrame:
    config = context.config
    listed = [
        list_files(context.warehouse.spark, config.resolve(source.path), source.reader_format, source.options).withColumn(
            "source", F.lit(name)
        )
        for name, source in all_sources(config).items()
    ]
    return reduce(DataFrame.unionByName, listed)


def _find_growth(
    context: StageContext, listed: DataFrame, ledger: DataFrame, changes: Mapping[str, SourceChanges]
) -> tuple[dict[str, DataFrame], set[str]]:
    """Find the Delta sources that have only grown since: their added rows, where the log tells them apart, and their names."""
    spark, config = context.warehouse.spark, context.config
    added: dict[str, DataFrame] = {}
    grown: set[str] = set()
    for name, source in all_sources(config).items():
        if source.reader_format != "delta" or name not in changes or changes[name].changed is None:
            continue
        path, is_source = config.resolve(source.path), F.col("source") == name
        before, now = (frame.where(is_source & (F.col("path") == path)).select("state").first() for frame in (ledger, listed))
        if before is None or now is None:
            continue
        rows = read_added_rows(spark, path, source.options, before["state"], now["state"])
        # All attributes of users are read where some are new.
        if rows is not None and name != USERS_SOURCE:
            added[name] = rows
        # Items are counted, and a count must not see the same row twice.
        if rows is not None or (name != ITEMS_SOURCE and has_only_grown(spark, path, before["state"])):
            grown.add(name)
    return added, grown


def _paths_of(context: StageContext, file: str) -> str | None:
    """Return the path of the source that has a file; all paths for a file without a name, None for a file of no source."""
    config = context.config
    sources = [(config.resolve(table.path), table) for table in all_tables(config)]
    if file == PACKED_FILE:
        return ", ".join(sorted({path for path, _ in sources}))
    for path, source in sources:
        with suppress(ConfigError):
            if is_behind(context.warehouse.spark, file, path, source.reader_format, source.options):
                return path
    return None
