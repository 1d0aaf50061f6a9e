"""One step of clean: reads the rows of an increment, judges them, asks the quality gate and writes the tables."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from interest_tiers.cleaning.counting import CountsBefore, count_before
from interest_tiers.cleaning.coverage import (
    Coverage,
    coverage_measures,
    describe_coverage,
    describe_items,
    measure_catalogue,
    measure_coverage,
)
from interest_tiers.cleaning.gate import require_quality
from interest_tiers.cleaning.increment import Increment, all_sources, describe_increment
from interest_tiers.cleaning.interactions import assess_interactions
from interest_tiers.cleaning.items import assess_items, build_catalogue, count_item_versions, dropped_items, moves_interactions
from interest_tiers.cleaning.judging import Judged, collect_bad_rows, judge_all, judge_beside_stored
from interest_tiers.cleaning.merging import restore_noise
from interest_tiers.cleaning.quality import Measure, SourceCounts, count_sources, describe, measure_items, measure_judged
from interest_tiers.cleaning.shaping import shape_rows, split_left_out
from interest_tiers.cleaning.users import assess_users
from interest_tiers.config import ITEMS_SOURCE, USERS_SOURCE, Source
from interest_tiers.errors import ConfigError, DataQualityError
from interest_tiers.sources.columns import merge_columns
from interest_tiers.sources.readers import complete_columns, read_source
from interest_tiers.stages.clean_tables import (
    add_users,
    leave_out_forgotten,
    leave_out_raws_of_forgotten,
    replace_users,
    stored,
    write_interactions,
    write_items,
    write_ledger,
    write_quality,
    write_quarantine,
)
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.results import StageResult
from interest_tiers.storage.schemas import DATA_QUALITY, INTERACTIONS, INTERACTIONS_QUARANTINE, ITEM_VERSIONS, ITEMS, USERS

LOG = logging.getLogger("interest_tiers.stages")


@dataclass(frozen=True)
class SourceRows:
    """What was read of a source.

    columns:  of the files
    rows:     shaped (see shaping.shape_rows), without those that are left out
    left_out: the shaped rows that are left out; None where none could be
    """

    columns: StructType
    rows: DataFrame
    left_out: DataFrame | None


def take(context: StageContext, increment: Increment, may_rebuild: bool = True) -> StageResult:
    """Bring the rows of an increment into the tables.

    Raises ConfigError where everything must be read and may_rebuild is false, DataQualityError where the gate refuses.
    """
    config = context.config
    raw = _read(context, increment)
    items = None
    if ITEMS_SOURCE in raw:
        items = assess_items(raw[ITEMS_SOURCE].rows, config.items, config.resolve(config.items.path), config.interests.levels)
    versions = _item_versions(context, increment, items)
    if _dropped_items_differ(context, increment, versions):
        increment.rebuild(config.named_sources, "other items belong to a dropped category")
        raw = _read(context, increment)
    if not may_rebuild:
        require_no_rebuild(context, increment)
    users = _assess_users(context, raw[USERS_SOURCE].rows) if USERS_SOURCE in raw else None
    catalogue = None if items is None else context.warehouse.stage("clean/catalogue", build_catalogue(versions))
    of_items = [] if catalogue is None else [*measure_catalogue(catalogue), *measure_items(versions, config.quality)]

    judged, before = _judge(context, increment, raw, versions)
    counts = [] if judged is None else count_sources(judged.rows, before)
    bad = collect_bad_rows(judged, items, users, context.run_id)
    assert bad is not None  # an increment reads one source at least
    found = context.warehouse.stage("clean/quarantine", leave_out_raws_of_forgotten(context, bad))
    covered: list[Coverage] = []
    if judged is not None:
        covered = _measure_coverage(context, judged, catalogue)
        _require_quality(context, judged, counts, found, [*of_items, *coverage_measures(covered, config.quality)])
    else:
        require_limits(context, of_items)
    write_quarantine(context, increment, judged, found)
    if judged is not None:
        write_interactions(context, judged)
    n_items = write_items(context, versions, catalogue)
    _write_users(context, increment, judged, users)
    write_ledger(context, increment, {name: _merge_known(increment, name, read.columns) for name, read in raw.items()})
    rows_in, rows_out = (sum(getattr(of_source, name) for of_source in counts) for name in ("rows_in", "interactions"))
    parts = [f"{stored(context, USERS).count():,} users, {n_items:,} items"]
    parts += [*([describe(counts)] if counts else []), *describe_coverage(covered), *describe_items(of_items)]
    parts += describe_increment(increment)
    return StageResult(rows_in, rows_out, "; ".join(parts))


def require_limits(context: StageContext, measures: Sequence[Measure]) -> None:
    """Stop where a limit is not met that no row of this run has to do with."""
    if any(measure.passed is False for measure in measures):
        write_quality(context, measures)
        require_quality(measures)


def require_no_rebuild(context: StageContext, increment: Increment) -> None:
    """Raise ConfigError where a source of interactions must be read whole."""
    reason = next((reason for name, reason in increment.rebuilt.items() if name in context.config.named_sources), None)
    if reason is not None:
        raise rebuild_error(reason)


def rebuild_error(reason: str) -> ConfigError:
    """Make the error of a stream that cannot go on from what the tables hold."""
    return ConfigError(f"everything has to be read again ({reason}): run clean --full once, then --stream goes on")


def newest_stored(context: StageContext) -> dict[str, date]:
    """Find the day of the newest stored event per source, where the config limits its age."""
    if context.config.quality.max_age_days is None:
        return {}
    newest = stored(context, INTERACTIONS).groupBy("source").agg(F.max("event_date").alias("day"))
    return {row["source"]: row["day"] for row in newest.collect()}


def _read(context: StageContext, increment: Increment) -> dict[str, SourceRows]:
    """Read rows by source. Where a column has another type than before, its group of sources is read whole."""
    config, sources = context.config, all_sources(context.config)
    raw: dict[str, SourceRows] = {}
    for name, files in list(increment.files.items()):
        known = increment.columns.get(name)
        rows = _read_one(context, sources[name], files, known, increment.added.get(name))
        if known is not None and merge_columns(known, rows.schema) is None:
            group = list(config.named_sources) if name in config.named_sources else [name]
            increment.rebuild(group, f"{name}: a column has another type than in the files before")
            return _read(context, increment)
        raw[name] = _shape(context, name, sources[name], rows)
    return raw


def _shape(context: StageContext, name: str, source: Source, rows: DataFrame) -> SourceRows:
    """Shape the rows of a source; the tables that it joins are read whole."""
    config, spark = context.config, context.warehouse.spark
    joined = [
        read_source(spark, config.resolve(join.path), join.reader_format, join.reader_options, skip_lines=join.skip_lines)
        for join in source.join
    ]
    key = name if name in (ITEMS_SOURCE, USERS_SOURCE) else "interactions"
    kept, left_out = split_left_out(shape_rows(rows, source, joined, key, config.resolve(source.path)))
    return SourceRows(rows.schema, kept, left_out)


def _read_one(
    context: StageContext, source: Source, files: list[str] | None, known: StructType | None, added: DataFrame | None = None
) -> DataFrame:
    path = context.config.resolve(source.path)
    if added is not None:
        return complete_columns(added, path, known)
    array = source.explode if isinstance(source.explode, str) else None
    return read_source(
        context.warehouse.spark,
        path,
        source.reader_format,
        source.reader_options,
        array,
        files,
        known,
        source.skip_lines,
        source.file_column,
    )


def _merge_known(increment: Increment, name: str, schema: StructType) -> StructType:
    """Return the columns that a source has had so far."""
    known = increment.columns.get(name)
    columns = schema if known is None else merge_columns(known, schema)
    assert columns is not None  # else the source would have been read whole
    return columns


def _assess_users(context: StageContext, raw: DataFrame) -> DataFrame | None:
    users = context.config.users
    return None if users is None else assess_users(raw, users, context.config.resolve(users.path))


def _item_versions(context: StageContext, increment: Increment, assessed: DataFrame | None) -> DataFrame:
    """Count what the items' source says of every item, staged; as the table has it when no row is new."""
    if assessed is None:
        return context.warehouse.read(ITEM_VERSIONS)
    before = None if ITEMS_SOURCE in increment.rebuilt else context.warehouse.read(ITEM_VERSIONS).drop("run_id")
    return context.warehouse.stage("clean/item_versions", count_item_versions(assessed, before))


def _dropped_items_differ(context: StageContext, increment: Increment, versions: DataFrame) -> bool:
    """Whether stored interactions are in the wrong table, because other items are dropped than before."""
    if increment.rebuilds_all(context.config) or ITEMS_SOURCE not in increment.files or not context.warehouse.exists(ITEM_VERSIONS):
        return False
    noise = restore_noise(stored(context, INTERACTIONS_QUARANTINE), context.config.values)
    touched = stored(context, INTERACTIONS).select("item_id").unionByName(noise.select("item_id"))
    return moves_interactions(dropped_items(context.warehouse.read(ITEM_VERSIONS)), dropped_items(versions), touched)


def _judge(
    context: StageContext, increment: Increment, raw: Mapping[str, SourceRows], versions: DataFrame
) -> tuple[Judged | None, dict[str, CountsBefore]]:
    """Judge every interaction that is read, None when none are; and count by source what was found before."""
    config = context.config
    sources = {name: source for name, source in config.named_sources.items() if name in raw}
    assessed = [
        assess_interactions(
            raw[name].rows,
            source,
            name,
            config.resolve(source.path),
            config.behaviours,
            config.values,
            dropped_items(versions),
            context.today,
        )
        for name, source in sources.items()
    ]
    if not assessed:
        return None, {}

    def materialise(name: str, rows: DataFrame) -> DataFrame:
        return context.warehouse.stage(f"clean/{name}", rows)

    staged = materialise("interactions", leave_out_forgotten(context, reduce(DataFrame.unionByName, assessed)))
    left_out = {name: rows for name in sources if (rows := raw[name].left_out) is not None}
    before, staged = count_before(staged, left_out, sources), staged.drop("event_id", "unmatched")
    if increment.rebuilds_all(config):
        return judge_all(staged, config, materialise), before
    interactions, quarantine = stored(context, INTERACTIONS), stored(context, INTERACTIONS_QUARANTINE)
    return judge_beside_stored(staged, interactions, quarantine, config, materialise), before


def _measure_coverage(context: StageContext, judged: Judged, catalogue: DataFrame | None) -> list[Coverage]:
    """Measure how many new interactions meet an item of the catalogue, and warn where few do."""
    covered = measure_coverage(judged.good.where("is_new"), stored(context, ITEMS) if catalogue is None else catalogue)
    for each in covered:
        if each.advice:
            LOG.warning("%s: the catalogue has the items of %.1f %% of the interactions%s", each.source, 100 * each.rate, each.advice)
    return covered


def _require_quality(
    context: StageContext, judged: Judged, counts: Sequence[SourceCounts], found: DataFrame, others: Sequence[Measure]
) -> None:
    """Write the measures, and stop where a limit is not met. Rows that are bad alone are then in the quarantine."""
    newest = {} if judged.replaces_all else newest_stored(context)
    measures = measure_judged(judged, counts, context.config, stored(context, DATA_QUALITY), newest, context.today) + list(others)
    write_quality(context, measures)
    try:
        require_quality(measures, counts, judged.rows)
    except (ConfigError, DataQualityError):
        context.warehouse.insert_missing(INTERACTIONS_QUARANTINE, found.where("NOT is_noise"))
        raise


def _write_users(context: StageContext, increment: Increment, judged: Judged | None, assessed: DataFrame | None) -> None:
    """Add users with their interactions; replace all where one may have lost the last interaction."""
    if judged is None and assessed is None:
        return
    if assessed is None and judged is not None and not judged.replaces_all:
        some_left = not judged.rows.where("NOT is_new AND is_noise").isEmpty()
        if not some_left:
            add_users(context, judged)
            return
    if assessed is None and context.config.users is not None:
        users = context.config.users
        rows = _read_one(context, users, None, increment.columns.get(USERS_SOURCE))
        assessed = _assess_users(context, _shape(context, USERS_SOURCE, users, rows).rows)
    replace_users(context, assessed)
