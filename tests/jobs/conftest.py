"""The small shop, and its warehouse made once by a real spark-submit."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock
from pyspark.sql import SparkSession

from tests.jobs.shop import Made, Shop, command_of, make_shop, require_success, submit


@pytest.fixture(scope="session")
def shop(shared_folder: Path) -> Shop:
    with FileLock(shared_folder / "shop.lock"):
        return make_shop(shared_folder / "shop")


@pytest.fixture(scope="session")
def made(spark: SparkSession, shop: Shop, shared_folder: Path) -> Made:
    """The warehouse as the pipeline leaves it. Tests only read it.

    Whichever worker needs it first makes it. Its session is up by then, so the jars are there.
    """
    warehouse, printed = shared_folder / "made", shared_folder / "made.txt"
    with FileLock(shared_folder / "made.lock"):
        if not printed.exists():
            text = require_success(submit("pipeline", *command_of(shop, str(warehouse))))
            printed.write_text(text, encoding="utf-8")
    return Made(str(warehouse), printed.read_text(encoding="utf-8"))
