"""A shop with users enough for a network, and its warehouse as local mode makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from pyspark.sql import SparkSession

from tests.jobs.shop import Made, Shop, command_of, make_shop, require_success, shop_config, submit

#: Small enough for seconds. Two processes everywhere, since their number decides the order in which gradients are summed.
NETWORK = {
    "epochs": 4, "batch_size": 64, "width": 32, "layers": 1, "members": 1, "cuts": 1, "min_epoch_steps": 32, "checkpoint_steps": 8,
    "num_processes": 2,
}  # fmt: skip


@pytest.fixture(scope="session")
def shop(shared_folder: Path) -> Shop:
    """Users enough that ten judge the network."""
    folder = shared_folder / "cluster-shop"
    with FileLock(shared_folder / "cluster-shop.lock"):
        made = make_shop(folder, users_per_group=100)
        tree = shop_config(folder)
        tree["tiers"] = {"horizon_days": 30, "training": NETWORK}
        made.config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return made


@pytest.fixture(scope="session")
def in_local_mode(spark: SparkSession, shop: Shop, shared_folder: Path) -> Made:
    """The warehouse as the pipeline leaves it in local mode. Whichever worker needs it first makes it; tests only read it."""
    warehouse, printed = shared_folder / "in-local-mode", shared_folder / "in-local-mode.txt"
    with FileLock(shared_folder / "in-local-mode.lock"):
        if not printed.exists():
            printed.write_text(require_success(submit("pipeline", *command_of(shop, str(warehouse)))), encoding="utf-8")
    return Made(str(warehouse), printed.read_text(encoding="utf-8"))
