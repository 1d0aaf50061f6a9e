"""clean: raw files to interactions, items and users; what cannot be used to interactions_quarantine."""

import sys

from pyspark.sql import DataFrame

from interest_tiers.cleaning.gate import count_rows, require_quality
from interest_tiers.cleaning.interactions import assess_interactions
from interest_tiers.cleaning.items import assess_items, catalogue
from interest_tiers.cleaning.quarantine import quarantined
from interest_tiers.cleaning.users import assess_users, known_users
from interest_tiers.config import Source
from interest_tiers.jobs.job import StageContext, StageResult, stage_main
from interest_tiers.tables import INTERACTIONS, INTERACTIONS_QUARANTINE, ITEMS, USERS, read_source


def run(context: StageContext) -> StageResult:
    """Read the sources, map their columns, set aside what cannot be used, and let the quality gate decide."""
    config, warehouse = context.config, context.warehouse
    interactions_path, items_path = (config.resolve(source.path) for source in (config.interactions, config.items))
    assessed_items = assess_items(_read(context, config.items), config.items, items_path)
    items = catalogue(assessed_items)
    dropped = items.where("is_dropped")
    raw = _read(context, config.interactions)
    assessed = assess_interactions(raw, config.interactions, interactions_path, config.behaviours, dropped)
    assessed_users = None
    if config.users is not None:
        assessed_users = assess_users(_read(context, config.users), config.users, config.resolve(config.users.path))

    assessed = warehouse.stage("clean/interactions", assessed)
    counts = count_rows(assessed)
    _write_quarantine(context, {"interactions": assessed, "items": assessed_items, "users": assessed_users})
    require_quality(counts, config.quality, assessed)
    interactions = assessed.where("size(reasons) = 0")
    warehouse.replace(INTERACTIONS, interactions)
    n_items = warehouse.replace(ITEMS, items.where("NOT is_dropped"))
    warehouse.replace(USERS, known_users(interactions, assessed_users))
    return StageResult(counts.rows_in, counts.interactions, f"{counts}; {n_items:,} items")


def _read(context: StageContext, source: Source) -> DataFrame:
    return read_source(context.spark, context.config.resolve(source.path), source.reader_format, source.options)


def _write_quarantine(context: StageContext, assessed_by_source: dict[str, DataFrame | None]) -> None:
    """Make the quarantine equal to what this run found; a row found before keeps the run that found it."""
    found = [quarantined(rows, source, context.run_id) for source, rows in assessed_by_source.items() if rows is not None]
    together = found[0]
    for more in found[1:]:
        together = together.unionByName(more)
    together = context.warehouse.stage("clean/quarantine", together.dropDuplicates(["row_hash"]))
    context.warehouse.replace_changed(INTERACTIONS_QUARANTINE, together, within="true", ignoring=["run_id"])


main = stage_main("clean", run)

if __name__ == "__main__":
    sys.exit(main())
