"""Where the trained models of a command lie, and where they come from."""

from __future__ import annotations

from pathlib import Path

from interest_tiers.embedding.model_folder import model_id
from interest_tiers.errors import WarehouseError
from interest_tiers.stages.context import StageContext
from interest_tiers.training.model_store import ModelStore, model_root
from interest_tiers.training.record import Lineage


def models_folder(context: StageContext, given: str | None, key: str, name: str) -> Path:
    """Return the configured folder of models, or models/NAME of the warehouse. Raises ConfigError where neither is shared."""
    try:
        warehouse: str | None = context.warehouse.checkpoint_path().rpartition("/")[0]
    except WarehouseError:
        warehouse = None
    return model_root(given, warehouse, key, name)


def tier_models(context: StageContext) -> ModelStore:
    """Return the models of tiers that serve."""
    from interest_tiers.tiers.model import RECORD

    folder = context.config.tiers.training.folder
    return ModelStore(models_folder(context, folder, "tiers.training.folder", "tiers"), RECORD, context.run_id)


def ranker_models(context: StageContext) -> ModelStore:
    """Return the rankers that serve."""
    from interest_tiers.recommend.training import RECORD

    folder = context.config.recommend.training.folder
    return ModelStore(models_folder(context, folder, "recommend.training.folder", "ranker"), RECORD, context.run_id)


def lineage_of(context: StageContext) -> Lineage:
    """Describe where a model of this command comes from."""
    return Lineage(
        context.config.name, context.config_sha256, context.run_id, context.input_versions, model_id(context.config.embedding)
    )  # fmt: skip
