"""A shop with users enough for a network, and its warehouse as local mode makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock
from pyspark.sql import SparkSession

from interest_tiers.stages.registry import STAGES
from tests.jobs.shop import Shop, command_of, make_network_shop, require_success, submit


@pytest.fixture(scope="session")
def shop(shared_folder: Path) -> Shop:
    with FileLock(shared_folder / "network-shop.lock"):
        return make_network_shop(shared_folder / "network-shop")


@pytest.fixture(scope="session")
def changed_shop(shared_folder: Path) -> Shop:
    """The shop, where every row from AS_OF on is another one."""
    with FileLock(shared_folder / "changed-shop.lock"):
        return make_network_shop(shared_folder / "changed-shop", seed_after=7)


@pytest.fixture(scope="session")
def in_local_mode(spark: SparkSession, changed_shop: Shop, shared_folder: Path) -> str:
    """The warehouse of the changed shop, by a spark-submit per stage in local mode, on a machine in Tokyo. Tests only read it."""
    warehouse, done = shared_folder / "in-local-mode", shared_folder / "in-local-mode.done"
    with FileLock(shared_folder / "in-local-mode.lock"):
        if not done.exists():
            for stage in STAGES:
                require_success(submit(stage.name, *command_of(changed_shop, str(warehouse)), variables={"TZ": "Asia/Tokyo"}))
            done.touch()
    return str(warehouse)
