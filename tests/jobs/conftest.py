"""The small shop, and its warehouse made once by a real spark-submit."""

from __future__ import annotations

import pytest

from tests.jobs.shop import CLUSTER, Made, Shop, command_of, make_shop, require_success, submit


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def made(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The warehouse as the pipeline leaves it on executors that are processes of their own. Tests only read it."""
    warehouse = str(tmp_path_factory.mktemp("made") / "warehouse")
    return Made(warehouse, require_success(submit("pipeline", *command_of(shop, warehouse), master=CLUSTER)))
