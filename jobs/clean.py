"""clean: raw files to interactions, items and users; what cannot be used to interactions_quarantine."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from interest_tiers.cleaning.columns import identifier
from interest_tiers.cleaning.interactions import assess_interactions
from interest_tiers.cleaning.items import assess_items, catalogue
from interest_tiers.cleaning.noise import has_day_rules, settle_days
from interest_tiers.cleaning.quality import Measure, count_sources, describe, measure_quality, measure_totals, require_quality
from interest_tiers.cleaning.quarantine import quarantined
from interest_tiers.cleaning.users import assess_users, known_users
from interest_tiers.config import Config, Source
from interest_tiers.errors import ConfigError
from interest_tiers.forgetting import named_values, without_forgotten, without_naming_forgotten
from interest_tiers.jobs.job import StageContext, StageResult, stage_main
from interest_tiers.sources import SPARK_FAULTS, damaged_file, read_source
from interest_tiers.tables import DATA_QUALITY, FORGOTTEN_USERS, INTERACTIONS, INTERACTIONS_QUARANTINE, ITEMS, USERS

#: A clean row as JSON: what the quarantine keeps of a row that is noise only beside the others of its day.
CLEAN_COLUMNS = ("interaction_id", "user_id", "item_id", "behaviour", "occurred_at", "value", "text")


def run(context: StageContext) -> StageResult:
    """Read the sources, map their columns, set aside what cannot be used, and let the quality gate decide."""
    config = context.config
    try:
        return _clean(context)
    except SPARK_FAULTS as error:
        file = damaged_file(error)
        if file is None:
            raise
        paths = ", ".join(sorted({config.resolve(source.path) for source in _sources(config)}))
        raise ConfigError(f"{file} behind {paths} is cut short or damaged: replace it, or leave it out of the path") from error


def _sources(config: Config) -> list[Source]:
    return [*config.interactions, config.items, *([] if config.users is None else [config.users])]


def _clean(context: StageContext) -> StageResult:
    config, warehouse = context.config, context.warehouse
    assessed_items = assess_items(_read(context, config.items), config.items, config.resolve(config.items.path))
    items = warehouse.stage("clean/items", catalogue(assessed_items))
    assessed_users = None
    if config.users is not None:
        assessed_users = assess_users(_read(context, config.users), config.users, config.resolve(config.users.path))
    assessed = _without_forgotten(context, _assess_sources(context, items.where("is_dropped")))
    judged = _judge_days(context, warehouse.stage("clean/interactions", assessed))
    interactions = judged.where(F.size("reasons") == 0)

    counts = count_sources(judged)
    _write_quarantine(context, judged, assessed_items, assessed_users)
    n_users = interactions.select("user_id").distinct().count()
    measures = measure_quality(counts, config.quality, config.named_sources, _previous_rows(context), context.today)
    measures += measure_totals(sum(found.interactions for found in counts), n_users, config.quality)
    _write_quality(context, measures)
    require_quality(measures, counts, judged)

    warehouse.replace(INTERACTIONS, interactions)
    n_items = warehouse.replace(ITEMS, items.where("NOT is_dropped"))
    warehouse.replace(USERS, _without_forgotten(context, known_users(interactions, assessed_users)))
    rows_in, rows_out = (sum(getattr(found, name) for found in counts) for name in ("rows_in", "interactions"))
    return StageResult(rows_in, rows_out, f"{n_users:,} users, {n_items:,} items; {describe(counts)}")


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


def _assess_sources(context: StageContext, dropped: DataFrame) -> DataFrame:
    config = context.config
    return _together(
        [
            assess_interactions(
                _read(context, source),
                source,
                name,
                config.resolve(source.path),
                config.behaviours,
                config.values,
                dropped,
                context.today,
            )
            for name, source in config.named_sources.items()
        ]
    )


def _judge_days(context: StageContext, assessed: DataFrame) -> DataFrame:
    """Add to the reasons of single rows those that show beside the other rows of a day."""
    noise, values = context.config.noise, context.config.values
    if not has_day_rules(noise, values):
        return assessed.withColumn("is_flagged", F.lit(False))
    is_good = F.size("reasons") == 0
    settled = settle_days(assessed.where(is_good).drop("reasons", "raw"), noise, values)
    settled = settled.withColumn("raw", F.when(F.size("reasons") > 0, _clean_row()))
    refused = assessed.where(~is_good).withColumn("is_flagged", F.lit(False))
    return context.warehouse.stage("clean/judged", refused.unionByName(settled))


def _clean_row() -> Column:
    given = F.coalesce("given_value", "value").alias("value")
    return F.to_json(F.struct(*[given if c == "value" else F.col(c) for c in CLEAN_COLUMNS]))


def _read(context: StageContext, source: Source) -> DataFrame:
    return read_source(context.spark, context.config.resolve(source.path), source.reader_format, source.options, source.explode)


def _write_quarantine(context: StageContext, judged: DataFrame, items: DataFrame, users: DataFrame | None) -> None:
    """Make the quarantine equal to what this run found; a row found before keeps the run that found it."""
    found = [quarantined(judged, F.col("source"), context.run_id), quarantined(items, F.lit("items"), context.run_id)]
    if users is not None:
        found.append(quarantined(users, F.lit("users"), context.run_id))
    together = _without_naming_forgotten(context, _together(found).dropDuplicates(["row_hash"]))
    together = context.warehouse.stage("clean/quarantine", together)
    context.warehouse.replace_changed(INTERACTIONS_QUARANTINE, together, within="true", ignoring=["run_id"])


def _previous_rows(context: StageContext) -> dict[str, int]:
    """How many rows the run before read, per source."""
    if not context.warehouse.exists(DATA_QUALITY):
        return {}
    read = context.warehouse.read(DATA_QUALITY).where("measure = 'rows_in'")
    latest = read.groupBy("source").agg(F.max_by("value", "measured_at").alias("rows"))
    return {row["source"]: int(row["rows"]) for row in latest.collect()}


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


def _together(parts: Sequence[DataFrame]) -> DataFrame:
    return reduce(DataFrame.unionByName, parts)


main = stage_main("clean", run)

if __name__ == "__main__":
    sys.exit(main())
