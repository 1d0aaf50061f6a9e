"""clean: raw files to interactions, items and users; what cannot be used to interactions_quarantine.

A run reads the files that no run read before and adds their rows to the tables. Where that would not give what reading
everything gives (a file has changed, the config cleans in another way), it reads everything and says why.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial, reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

from interest_tiers import __version__
from interest_tiers.cleaning.columns import identifier
from interest_tiers.cleaning.forgetting import named_values, without_forgotten, without_naming_forgotten
from interest_tiers.cleaning.interactions import assess_interactions
from interest_tiers.cleaning.items import assess_items, catalogue, item_versions
from interest_tiers.cleaning.ledger import SourceChanges, cleaning_rules, compare_files
from interest_tiers.cleaning.merging import clean_row, restored, restored_noise, rows_not_stored, stored_rows_read_again
from interest_tiers.cleaning.noise import has_day_rules, settle_days
from interest_tiers.cleaning.quality import (
    Measure,
    SourceCounts,
    count_sources,
    describe,
    measure_quality,
    measure_run,
    measure_totals,
    require_quality,
    rows_of_previous_run,
)
from interest_tiers.cleaning.quarantine import is_good, quarantined
from interest_tiers.cleaning.users import assess_users, known_users
from interest_tiers.config import ITEMS_SOURCE, USERS_SOURCE, Config, Source
from interest_tiers.errors import ConfigError, DataQualityError
from interest_tiers.sources.reading import (
    SPARK_FAULTS,
    damaged_file,
    has_only_grown,
    list_files,
    merged_columns,
    read_source,
    watch_files,
)
from interest_tiers.stages.context import StageContext, StageResult, run_command, run_stage, stage_parser
from interest_tiers.storage.schemas import (
    DATA_QUALITY,
    FORGOTTEN_USERS,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    ITEM_VERSIONS,
    ITEMS,
    SOURCE_FILES,
    USERS,
    Table,
)

#: Why everything is read where nothing was read before.
FIRST_RUN = "the first run"

#: Files that one step of a stream takes, unless the command says otherwise.
FILES_PER_BATCH = 1000


@dataclass
class Reading:
    """What is to be read. files: by source, those to read; None: all of them. A source that is not here is not read.

    rebuilt: sources whose rows in the tables are to be replaced, and why. columns: those that a source had before.
    ledger: what was read before; None: nothing. vanished: files no longer there.
    """

    listed: DataFrame
    ledger: DataFrame | None = None
    files: dict[str, list[str] | None] = field(default_factory=dict)
    rebuilt: dict[str, str] = field(default_factory=dict)
    columns: dict[str, StructType] = field(default_factory=dict)
    vanished: int = 0

    def rebuild(self, names: Iterable[str], reason: str) -> None:
        """Read all files of these sources, as if for the first time."""
        names = list(names)
        self.rebuilt.update(dict.fromkeys(names, reason))
        self.files.update(dict.fromkeys(names))
        for name in names:
            self.columns.pop(name, None)


@dataclass(frozen=True)
class Judged:
    """Interactions with every reason (see quality.count_sources), and the days that were judged anew.

    days: None where the whole table is; rows of these days replace those that are there.
    """

    rows: DataFrame
    days: list[date] | None


def run(context: StageContext, full: bool = False) -> StageResult:
    """Read what is new in the sources, map their columns, set aside what cannot be used, and let the quality gate decide."""
    with _explain_damaged_files(context):
        listed = _listed(context, _sources(context.config))
        reading = _what_to_read(context, listed, full)
        return _take(context, reading) if reading.files else _nothing_new(context, reading)


def run_stream(context: StageContext, files_per_batch: int, checkpoints: str | None) -> StageResult:
    """Take what is new in the folders of the interactions in steps, by Spark's Structured Streaming, and end."""
    config = context.config
    if files_per_batch < 1:
        raise ConfigError(f"--files-per-batch is {files_per_batch}: a step takes 1 file or more")
    folder = context.warehouse.checkpoint_path() if checkpoints is None else checkpoints.rstrip("/")
    tables = [name for name, source in config.named_sources.items() if source.reader_format == "delta"]
    if tables:
        raise ConfigError(f"--stream watches folders of files, and the source {tables[0]} is a Delta table: run clean without --stream")
    with _explain_damaged_files(context):
        _take_catalogues(context)
        steps = [step for name in config.named_sources for step in _take_stream(context, name, files_per_batch, f"{folder}/clean/{name}")]
        measures = measure_totals(_stored(context, INTERACTIONS).count(), _count_users(context), config.quality)
        _require(context, measures)
    rows_in, rows_out = (sum(getattr(step, count) for step in steps) for count in ("rows_in", "rows_out"))
    last = f"; the last one: {steps[-1].message}" if steps else ""
    return StageResult(rows_in, rows_out, f"{len(steps):,} steps{last}")


def _sources(config: Config) -> dict[str, Source]:
    """Every source of the config by the name that the ledger has for it."""
    named: dict[str, Source] = {**config.named_sources, ITEMS_SOURCE: config.items}
    return named if config.users is None else {**named, USERS_SOURCE: config.users}


@contextmanager
def _explain_damaged_files(context: StageContext) -> Iterator[None]:
    """Turn a file that cannot be read into an error that names the table or the source that it belongs to."""
    config = context.config
    try:
        yield
    except SPARK_FAULTS as error:
        damaged_table = context.warehouse.explain_damage(error)
        if damaged_table is not None:
            raise damaged_table from error
        file = damaged_file(error)
        if file is None:
            raise
        paths = ", ".join(sorted({config.resolve(source.path) for source in _sources(config).values()}))
        raise ConfigError(f"{file} behind {paths} is cut short or damaged: replace it, or leave it out of the path") from error


# What to read


def _listed(context: StageContext, sources: Mapping[str, Source]) -> DataFrame:
    """The files as they are now, before any is read: one that comes later is left to the next run."""
    listed = [
        list_files(context.spark, context.config.resolve(source.path), source.reader_format, source.options).withColumn(
            "source", F.lit(name)
        )
        for name, source in sources.items()
    ]
    return context.warehouse.stage("clean/files", _together(listed))


def _what_to_read(context: StageContext, listed: DataFrame, full: bool) -> Reading:
    config = context.config
    groups = [list(config.named_sources), [ITEMS_SOURCE], *([] if config.users is None else [[USERS_SOURCE]])]
    reading = Reading(listed)
    if full or not context.warehouse.exists(SOURCE_FILES):
        for names in groups:
            reading.rebuild(names, "as --full says" if full else FIRST_RUN)
        return reading
    reading.ledger = context.warehouse.read(SOURCE_FILES)
    changes = compare_files(listed, reading.ledger, _rules(config))
    reading.vanished = sum(change.vanished for change in changes.values())
    reading.columns = {name: _columns(change.columns) for name, change in changes.items() if change.columns is not None}
    # A Delta table that has only grown is read again, and what it had before changes nothing.
    grown = [name for name, change in changes.items() if change.changed is not None and _has_only_grown(context, reading.ledger, name)]
    changes |= {name: replace(changes[name], changed=None) for name in grown}
    gone = sorted(changes.keys() - _sources(config).keys())
    # Attributes of users are as many as users: all files are read where one is new.
    whole = {USERS_SOURCE, *grown}
    fresh = {
        name: None if name in whole or change.columns is None else list(change.new)
        for name, change in changes.items()
        if change.new or name in grown
    }
    for names in groups:
        reason = _reason_to_rebuild(changes, names)
        if gone and names == groups[0]:
            reason = f"the config has no source {gone[0]} any more"
        if reason is None and names == [ITEMS_SOURCE] and not _items_are_as_read(context, reading.ledger):
            reason = "a run was broken off after it had counted items"
        if reason is not None:
            reading.rebuild(names, reason)
        else:
            reading.files |= {name: fresh[name] for name in names if name in fresh}
    return reading


def _reason_to_rebuild(changes: Mapping[str, SourceChanges], names: Sequence[str]) -> str | None:
    """Why sources that belong together have to be read whole, if they have to; one never read before is no reason."""
    reasons = {name: changes[name].reason_to_rebuild for name in names if name in changes and changes[name].columns is not None}
    if not reasons:
        return FIRST_RUN
    return next((f"{name}: {reason}" for name, reason in reasons.items() if reason is not None), None)


def _has_only_grown(context: StageContext, ledger: DataFrame, name: str) -> bool:
    source = _sources(context.config).get(name)
    # How often an item's rows say what cannot be told anew: the new rows of a table are not known apart.
    if source is None or source.reader_format != "delta" or name == ITEMS_SOURCE:
        return False
    before = ledger.where(F.col("source") == name).select("state").first()
    return before is not None and has_only_grown(context.spark, context.config.resolve(source.path), before["state"])


def _items_are_as_read(context: StageContext, ledger: DataFrame) -> bool:
    """Whether the run that counted items last went on to say so in the ledger: counting them again would count twice."""
    wrote = context.warehouse.read(ITEM_VERSIONS).select("run_id").limit(1)
    return not ledger.where(F.col("source") == ITEMS_SOURCE).join(wrote, "run_id", "left_semi").isEmpty()


def _rules(config: Config) -> dict[str, str]:
    return {name: cleaning_rules(config, source, __version__) for name, source in _sources(config).items()}


def _columns(text: str) -> StructType:
    return StructType.fromJson(json.loads(text))


def _nothing_new(context: StageContext, reading: Reading) -> StageResult:
    """No rows came; the events may have become too old for the gate all the same."""
    quality = context.config.quality
    measures = measure_quality([], quality, {}, {}, _newest_stored(context), context.today)
    _require(context, measures)
    return StageResult(0, 0, "; ".join(["nothing new", *_vanished(reading)]))


# One step: rows of some files into the tables


def _take(context: StageContext, reading: Reading, may_rebuild: bool = True) -> StageResult:
    config = context.config
    raw = _read(context, reading)
    assessed_items = _assessed_items(config, raw[ITEMS_SOURCE]) if ITEMS_SOURCE in raw else None
    versions = _item_versions(context, reading, assessed_items)
    if _other_items_are_dropped(context, reading, versions):
        reading.rebuild(config.named_sources, "other items belong to a dropped category")
        raw = _read(context, reading)
    if not may_rebuild:
        _require_no_rebuild(context, reading)
    assessed_users = None
    if config.users is not None and USERS_SOURCE in raw:
        assessed_users = assess_users(raw[USERS_SOURCE], config.users, config.resolve(config.users.path))

    judged = _judge(context, reading, raw, versions)
    counts = [] if judged is None else count_sources(judged.rows)
    found = _found_bad_rows(context, judged, assessed_items, assessed_users)
    _require_quality(context, judged, counts, found)
    _write_quarantine(context, reading, judged, found)
    if judged is not None:
        _write_interactions(context, judged)
    n_items = _write_items(context, versions, assessed_items is not None)
    _write_users(context, reading, judged, assessed_users)
    _write_ledger(context, reading, raw)
    rows_in, rows_out = (sum(getattr(found_in, name) for found_in in counts) for name in ("rows_in", "interactions"))
    n_users = _stored(context, USERS).count()
    parts = [f"{n_users:,} users, {n_items:,} items", *([describe(counts)] if counts else []), *_how_read(reading), *_vanished(reading)]
    return StageResult(rows_in, rows_out, "; ".join(parts))


def _read(context: StageContext, reading: Reading) -> dict[str, DataFrame]:
    """Raw rows by source. Where columns have other types than before, the sources that belong together are read whole."""
    config, sources = context.config, _sources(context.config)
    raw: dict[str, DataFrame] = {}
    for name, files in list(reading.files.items()):
        known = reading.columns.get(name)
        rows = _read_one(context, sources[name], files, known)
        if known is not None and merged_columns(known, rows.schema) is None:
            group = list(config.named_sources) if name in config.named_sources else [name]
            reading.rebuild(group, f"{name}: a column has another type than in the files before")
            return _read(context, reading)
        raw[name] = rows
    return raw


def _read_one(context: StageContext, source: Source, files: list[str] | None, known: StructType | None) -> DataFrame:
    path = context.config.resolve(source.path)
    return read_source(context.spark, path, source.reader_format, source.options, source.explode, files, known)


def _assessed_items(config: Config, raw: DataFrame) -> DataFrame:
    return assess_items(raw, config.items, config.resolve(config.items.path), config.interests.levels)


def _item_versions(context: StageContext, reading: Reading, assessed: DataFrame | None) -> DataFrame:
    """What is said of every item; staged, or as the table has it when nothing new is said."""
    if assessed is None:
        return context.warehouse.read(ITEM_VERSIONS)
    before = None if ITEMS_SOURCE in reading.rebuilt else context.warehouse.read(ITEM_VERSIONS).drop("run_id")
    return context.warehouse.stage("clean/item_versions", item_versions(assessed, before))


def _dropped(versions: DataFrame) -> DataFrame:
    return versions.where("is_dropped").select("item_id").distinct()


def _other_items_are_dropped(context: StageContext, reading: Reading, versions: DataFrame) -> bool:
    """Whether interactions with items that are dropped since, or no longer, stand in the wrong table."""
    is_rebuilt = context.config.named_sources.keys() <= reading.rebuilt.keys()
    if is_rebuilt or ITEMS_SOURCE not in reading.files or not context.warehouse.exists(ITEM_VERSIONS):
        return False
    before, now = _dropped(context.warehouse.read(ITEM_VERSIONS)), _dropped(versions)
    returned, dropped = before.join(now, "item_id", "left_anti"), now.join(before, "item_id", "left_anti")
    if returned.isEmpty() and dropped.isEmpty():
        return False
    noise = restored_noise(_stored(context, INTERACTIONS_QUARANTINE), context.config.values)
    touched = _stored(context, INTERACTIONS).select("item_id").unionByName(noise.select("item_id"))
    return not returned.isEmpty() or not touched.join(dropped, "item_id", "left_semi").isEmpty()


def _judge(context: StageContext, reading: Reading, raw: Mapping[str, DataFrame], versions: DataFrame) -> Judged | None:
    """Every interaction that is read, and those of its day where they matter; None when no interactions are read."""
    config = context.config
    sources = {name: source for name, source in config.named_sources.items() if name in raw}
    if not sources:
        return None
    dropped = _dropped(versions)
    assessed = [
        assess_interactions(raw[name], source, name, config.resolve(source.path), config.behaviours, config.values, dropped, context.today)
        for name, source in sources.items()
    ]
    staged = context.warehouse.stage("clean/interactions", _without_forgotten(context, _together(assessed)))
    is_rebuilt = config.named_sources.keys() <= reading.rebuilt.keys()
    return _judge_all(context, staged) if is_rebuilt else _judge_beside_stored(context, staged)


def _judge_all(context: StageContext, assessed: DataFrame) -> Judged:
    fresh = assessed.withColumn("is_new", F.lit(True))
    if not has_day_rules(context.config.noise, context.config.values):
        return Judged(_not_noise(fresh), None)
    return Judged(context.warehouse.stage("clean/judged", _settled(context.config, fresh)), None)


def _judge_beside_stored(context: StageContext, assessed: DataFrame) -> Judged:
    """New rows, and the stored rows that were read again; where days are judged, all stored rows of the days of new ones."""
    config, warehouse = context.config, context.warehouse
    days = _days(assessed.where(is_good()))
    of_days = F.col("event_date").isin(days)
    stored = restored(_stored(context, INTERACTIONS).where(of_days), config.values)
    has_rules = has_day_rules(config.noise, config.values)
    if has_rules:
        noise = restored_noise(_stored(context, INTERACTIONS_QUARANTINE).where(of_days), config.values)
        stored = stored.unionByName(noise)
    fresh = warehouse.stage("clean/fresh", rows_not_stored(assessed, stored.select("interaction_id")))
    stored = stored_rows_read_again(assessed, stored).withColumns(
        {"reasons": F.array().cast("array<string>"), "raw": F.lit(None).cast("string"), "is_new": F.lit(False)}
    )
    fresh, touched = fresh.withColumn("is_new", F.lit(True)), _days(fresh.where(is_good()))
    if has_rules:
        is_touched = F.col("event_date").isin(touched)
        settled, others = _settled(config, fresh.unionByName(stored.where(is_touched))), stored.where(~is_touched)
    else:
        settled, others = _not_noise(fresh), stored
    read_again = _not_noise(others.where("copies > 0"))
    return Judged(warehouse.stage("clean/judged", settled.unionByName(read_again)), touched)


def _settled(config: Config, assessed: DataFrame) -> DataFrame:
    """Add to the reasons of single rows those that show beside the other rows of a day."""
    settled = settle_days(assessed.where(is_good()).drop("reasons", "raw"), config.noise, config.values)
    settled = settled.withColumn("is_noise", ~is_good()).withColumn("raw", F.when(F.col("is_noise"), clean_row()))
    return _not_noise(assessed.where(~is_good())).unionByName(settled)


def _not_noise(assessed: DataFrame) -> DataFrame:
    """Rows that are not judged beside the others of their day."""
    return assessed.withColumns({"is_flagged": F.lit(False), "is_noise": F.lit(False)})


def _days(rows: DataFrame) -> list[date]:
    """The days of rows whose time is plausible, so not many."""
    return sorted(row["event_date"] for row in rows.select("event_date").distinct().collect())


# The quality gate


def _require_quality(context: StageContext, judged: Judged | None, counts: Sequence[SourceCounts], found: DataFrame) -> None:
    """Write what was measured, and stop where a limit is not met. The rows that are bad alone then stand in the quarantine."""
    if judged is None:
        return
    config = context.config
    is_rebuilt = judged.days is None
    newest = {} if is_rebuilt else _newest_stored(context)
    previous = rows_of_previous_run(_stored(context, DATA_QUALITY), is_rebuilt)
    measures = measure_run(is_rebuilt) + measure_quality(counts, config.quality, config.named_sources, previous, newest, context.today)
    if is_rebuilt:
        good = judged.rows.where(is_good())
        n_users = good.select("user_id").distinct().count()
        measures += measure_totals(sum(of.interactions for of in counts), n_users, config.quality)
    _write_quality(context, measures)
    try:
        require_quality(measures, counts, judged.rows)
    except DataQualityError:
        context.warehouse.insert_missing(INTERACTIONS_QUARANTINE, found.where("NOT is_noise"))
        raise


def _require(context: StageContext, measures: Sequence[Measure]) -> None:
    """Stop where a limit is not met that no row that was read has to do with."""
    if any(measure.passed is False for measure in measures):
        _write_quality(context, measures)
        require_quality(measures)


def _newest_stored(context: StageContext) -> dict[str, date]:
    if context.config.quality.max_age_days is None:
        return {}
    newest = _stored(context, INTERACTIONS).groupBy("source").agg(F.max("event_date").alias("day"))
    return {row["source"]: row["day"] for row in newest.collect()}


def _write_quality(context: StageContext, measures: Sequence[Measure]) -> None:
    now = datetime.now(UTC)
    rows = [
        (
            context.run_id,
            now,
            m.source,
            m.measure,
            m.subject or "",
            float(m.value),
            None if m.limit is None else float(m.limit),
            m.passed,
            m.example,
        )
        for m in measures
    ]
    context.warehouse.append(DATA_QUALITY, context.spark.createDataFrame(rows, DATA_QUALITY.schema))


# Writing


def _found_bad_rows(context: StageContext, judged: Judged | None, items: DataFrame | None, users: DataFrame | None) -> DataFrame:
    """What belongs into the quarantine, staged."""
    found = []
    if judged is not None:
        found.append(quarantined(judged.rows, F.col("source"), context.run_id, F.col("is_noise")))
    found += [
        quarantined(rows, F.lit(name), context.run_id) for name, rows in ((ITEMS_SOURCE, items), (USERS_SOURCE, users)) if rows is not None
    ]
    together = _together(found).dropDuplicates(["row_hash"])
    return context.warehouse.stage("clean/quarantine", _without_naming_forgotten(context, together))


def _write_quarantine(context: StageContext, reading: Reading, judged: Judged | None, found: DataFrame) -> None:
    """Add what was found, and remove what it replaces; a row found before keeps the run that found it."""
    replaced = [f"target.source = '{name}'" for name in (ITEMS_SOURCE, USERS_SOURCE) if name in reading.rebuilt]
    if judged is not None and judged.days is None:
        replaced.append(f"target.source NOT IN ('{ITEMS_SOURCE}', '{USERS_SOURCE}')")
    elif judged is not None and judged.days and has_day_rules(context.config.noise, context.config.values):
        days = ", ".join(f"DATE'{day}'" for day in judged.days)
        replaced.append(f"(target.is_noise AND target.event_date IN ({days}))")
    if replaced:
        context.warehouse.replace_changed(INTERACTIONS_QUARANTINE, found, within=" OR ".join(replaced), ignoring=["run_id"])
    else:
        context.warehouse.insert_missing(INTERACTIONS_QUARANTINE, found)


def _write_interactions(context: StageContext, judged: Judged) -> None:
    good = judged.rows.where(is_good())
    if judged.days is None:
        context.warehouse.replace(INTERACTIONS, good)
    elif not judged.days:
        return
    elif has_day_rules(context.config.noise, context.config.values):
        context.warehouse.replace_event_dates(INTERACTIONS, good.where(F.col("event_date").isin(judged.days)), judged.days)
    else:
        context.warehouse.append(INTERACTIONS, good.where("is_new"))


def _write_items(context: StageContext, versions: DataFrame, has_changed: bool) -> int:
    if not has_changed:
        return context.warehouse.read(ITEMS).count()
    context.warehouse.replace(ITEM_VERSIONS, versions.withColumn("run_id", F.lit(context.run_id)))
    return context.warehouse.replace(ITEMS, catalogue(versions).where("NOT is_dropped"))


def _write_users(context: StageContext, reading: Reading, judged: Judged | None, assessed: DataFrame | None) -> None:
    """Users come with their interactions; who is left without any, and is in no users' source, goes."""
    if judged is None and assessed is None:
        return
    is_rebuilt = judged is not None and judged.days is None
    some_left = judged is not None and not judged.rows.where("NOT is_new AND is_noise").isEmpty()
    if assessed is None and judged is not None and not is_rebuilt and not some_left:
        arrived = judged.rows.where(is_good() & F.col("is_new"))
        context.warehouse.insert_missing(USERS, context.warehouse.stage("clean/users", known_users(arrived, None)))
        return
    config = context.config
    if assessed is None and config.users is not None:
        raw = _read_one(context, config.users, None, reading.columns.get(USERS_SOURCE))
        assessed = assess_users(raw, config.users, config.resolve(config.users.path))
    users = known_users(context.warehouse.read(INTERACTIONS), assessed)
    context.warehouse.replace(USERS, _without_forgotten(context, users))


def _write_ledger(context: StageContext, reading: Reading, raw: Mapping[str, DataFrame]) -> None:
    """The last write of a step: what breaks off before is read again, and changes nothing then."""
    rules, rows = _rules(context.config), []
    for name, frame in raw.items():
        known = reading.columns.get(name)
        columns = frame.schema if known is None else merged_columns(known, frame.schema)
        assert columns is not None  # else the source would have been read whole
        columns_text = columns.json()
        own = reading.listed.where(F.col("source") == name)
        rows.append(
            own.withColumns({k: F.lit(v) for k, v in (("rules", rules[name]), ("columns", columns_text), ("run_id", context.run_id))})
        )
    read_now = _together(rows)
    if reading.ledger is not None:
        kept = reading.ledger.where(~F.col("source").isin(*reading.rebuilt) & F.col("source").isin(*rules))
        read_now = read_now.unionByName(kept.join(read_now, ["source", "path"], "left_anti"))
    context.warehouse.replace(SOURCE_FILES, context.warehouse.stage("clean/source_files", read_now))


def _how_read(reading: Reading) -> list[str]:
    """What the run read, in words."""
    if reading.rebuilt:
        return [f"all files read ({'; '.join(dict.fromkeys(reading.rebuilt.values()))})"]
    return [f"{sum(len(files) for files in reading.files.values() if files is not None):,} new files"]


def _vanished(reading: Reading) -> list[str]:
    return [f"{reading.vanished:,} files are no longer there, their rows stay"] if reading.vanished and not reading.rebuilt else []


# Streams


def _take_catalogues(context: StageContext) -> None:
    """Items and users, and whether streams can go on from what is there."""
    config = context.config
    reading = _what_to_read(context, _listed(context, _sources(config)), full=False)
    # What was never read comes by the stream.
    reading.rebuilt = {name: reason for name, reason in reading.rebuilt.items() if name not in config.named_sources or reason != FIRST_RUN}
    _require_no_rebuild(context, reading)
    reading.files = {name: files for name, files in reading.files.items() if name not in config.named_sources}
    if reading.files:
        _take(context, reading, may_rebuild=False)


def _take_stream(context: StageContext, name: str, files_per_batch: int, checkpoint: str) -> list[StageResult]:
    """All that is new behind the path of a source, in steps of so many files; the checkpoint remembers which were seen."""
    config = context.config
    source = config.named_sources[name]
    steps: list[StageResult] = []
    faults: list[Exception] = []

    def take(batch: DataFrame, number: int) -> None:
        try:
            taken = _take_batch(replace(context, run_id=f"{context.run_id}-{name}-{number}"), name, batch)
            steps.extend([] if taken is None else [taken])
        except Exception as error:  # the stream would wrap it in an error of its own
            faults.append(error)
            raise

    watched = watch_files(context.spark, config.resolve(source.path), source.options, files_per_batch)
    writer = watched.writeStream.foreachBatch(take).trigger(availableNow=True).option("checkpointLocation", checkpoint)
    query = writer.queryName(f"clean {name}").start()
    try:
        query.awaitTermination()
    except SPARK_FAULTS:
        if faults:
            raise faults[0] from None
        raise
    return steps


def _take_batch(context: StageContext, name: str, batch: DataFrame) -> StageResult | None:
    """Take the files of a step; None where all of them were read before."""
    listed = context.warehouse.stage("clean/files", batch.withColumn("source", F.lit(name)))
    ledger = context.warehouse.read(SOURCE_FILES)
    change = compare_files(listed, ledger, _rules(context.config)).get(name, SourceChanges())
    if change.changed is not None:
        raise _must_be_rebuilt(f"{name}: {change.reason_to_rebuild}")
    if not change.new:
        return None
    columns = {} if change.columns is None else {name: _columns(change.columns)}
    return _take(context, Reading(listed, ledger, {name: list(change.new)}, columns=columns), may_rebuild=False)


def _require_no_rebuild(context: StageContext, reading: Reading) -> None:
    reason = next((reason for name, reason in reading.rebuilt.items() if name in context.config.named_sources), None)
    if reason is not None:
        raise _must_be_rebuilt(reason)


def _must_be_rebuilt(reason: str) -> ConfigError:
    return ConfigError(f"everything has to be read again ({reason}): run clean --full once, then --stream goes on")


# What several steps need


def _stored(context: StageContext, table: Table) -> DataFrame:
    """A table, without rows where it was not made yet."""
    return context.warehouse.read(table) if context.warehouse.exists(table) else context.spark.createDataFrame([], table.schema)


def _count_users(context: StageContext) -> int:
    return _stored(context, INTERACTIONS).select("user_id").distinct().count()


def _without_forgotten(context: StageContext, rows: DataFrame) -> DataFrame:
    """Leave out, as if they had never been read, the rows of users whom forget_users removed."""
    if not context.warehouse.exists(FORGOTTEN_USERS):
        return rows
    return without_forgotten(rows, context.warehouse.read(FORGOTTEN_USERS))


def _without_naming_forgotten(context: StageContext, rows: DataFrame) -> DataFrame:
    if not context.warehouse.exists(FORGOTTEN_USERS):
        return rows
    names = F.transform(named_values(F.col("raw")), lambda value: identifier(value, StringType()))
    return without_naming_forgotten(rows, "row_hash", names, context.warehouse.read(FORGOTTEN_USERS))


def _together(parts: Sequence[DataFrame]) -> DataFrame:
    return reduce(DataFrame.unionByName, parts)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of clean."""
    parser = stage_parser("clean", run.__doc__)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--full", action="store_true", help="read all files, also those that were read before, and replace the tables")
    how.add_argument("--stream", action="store_true", help="take new files step by step, by Structured Streaming, until none is left")
    parser.add_argument("--files-per-batch", type=int, default=FILES_PER_BATCH, metavar="N", help="with --stream: files of one step")
    parser.add_argument("--checkpoints", metavar="DIR", help="with --stream: what it remembers; default: a folder of the warehouse")
    arguments = parser.parse_args(argv)
    return run_command("clean", arguments, lambda context: run_stage("clean", _stage(arguments), context))


def _stage(arguments: argparse.Namespace) -> Callable[[StageContext], StageResult]:
    if arguments.stream:
        return partial(run_stream, files_per_batch=arguments.files_per_batch, checkpoints=arguments.checkpoints)
    return partial(run, full=arguments.full)
