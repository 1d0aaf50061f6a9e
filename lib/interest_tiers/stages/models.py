"""Where the trained models of a command lie, and where they come from."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from interest_tiers.embedding.model_folder import model_id
from interest_tiers.errors import ConfigError, WarehouseError
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
    """Return the rankers that serve. Without a folder of their own they last as long as the command, which trains them anew."""
    from interest_tiers.recommend.training import RECORD

    tiers = context.config.tiers.training.folder
    folder = context.config.recommend.training.folder or (None if tiers is None else f"{tiers.rstrip('/')}.ranker")
    try:
        root = models_folder(context, folder, "recommend.training.folder", "ranker")
    except ConfigError:
        if folder is not None:
            raise
        root = _temporary_folder()
    return ModelStore(root, RECORD, context.run_id)


@cache
def _temporary_folder() -> Path:
    """Make a folder on the driver's disk that is removed when the process ends. Workers get a ranker with their task."""
    folder = tempfile.mkdtemp(prefix="interest-tiers-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder) / "ranker"


def lineage_of(context: StageContext) -> Lineage:
    """Describe where a model of this command comes from."""
    return Lineage(
        context.config.name, context.config_sha256, context.run_id, context.input_versions, model_id(context.config.embedding)
    )  # fmt: skip
