"""Commands that run at once, as processes of their own: each ends with the rows of runs one after the other, or stops clearly."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.storage.schemas import INTERESTS, ITEM_INTERESTS, METRICS, RUNS, USER_INTERESTS, USER_TIERS, Table
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import AS_OF, Made, Shop, command_of, require_success, run_command, submit

YESTERDAY = AS_OF - timedelta(days=1)

#: Claims a table in a process of its own until it is killed. argv: warehouse, run id, day.
CLAIMER = """
import sys, time
from datetime import date
from interest_tiers.spark.session import build_session
from interest_tiers.storage.schemas import USER_TIERS
from interest_tiers.storage.warehouse import Warehouse
warehouse = Warehouse(build_session("claimer"), sys.argv[1], sys.argv[2])
with warehouse.claims.hold([USER_TIERS], date.fromisoformat(sys.argv[3])):
    print("claimed", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> str:
    """A copy of the warehouse that the pipeline left."""
    shutil.copytree(made.warehouse, tmp_path / "warehouse")
    return str(tmp_path / "warehouse")


def rows_at(spark: SparkSession, warehouse: str, table: Table, day: object) -> object:
    rows = Warehouse(spark, warehouse).read(table).where(f"as_of = DATE'{day}'")
    return rows.drop("run_id") if "run_id" in rows.columns else rows


def test_two_days_at_once_give_the_rows_of_two_runs(spark: SparkSession, shop: Shop, copy: str, tmp_path: Path) -> None:
    alone = str(tmp_path / "alone")
    shutil.copytree(copy, alone)
    part = ["--from", "build_interests", "--to", "assign_tiers"]
    days = (YESTERDAY, AS_OF - timedelta(days=2))
    with ThreadPoolExecutor(2) as threads:
        ended = list(threads.map(lambda day: submit("pipeline", *command_of(shop, copy, day), *part), days))
    for each in ended:
        require_success(each)
    for day in days:
        assert run_command("pipeline", [*command_of(shop, alone, day), *part]) == 0
        for table in (ITEM_INTERESTS, INTERESTS, USER_INTERESTS, USER_TIERS):
            assertDataFrameEqual(rows_at(spark, copy, table, day), rows_at(spark, alone, table, day), rtol=1e-9, atol=1e-9)
    # The day that was there is as it was.
    assertDataFrameEqual(rows_at(spark, copy, USER_TIERS, AS_OF), rows_at(spark, alone, USER_TIERS, AS_OF))


def test_the_same_day_twice_at_once_stops_with_the_other_run_or_waits_for_it(
    spark: SparkSession, shop: Shop, copy: str, capfd: pytest.CaptureFixture[str]
) -> None:
    command = command_of(shop, copy)
    before = rows_at(spark, copy, USER_TIERS, AS_OF).collect()  # type: ignore[attr-defined]
    with subprocess.Popen(
        [sys.executable, "-c", CLAIMER, copy, "other-run", AS_OF.isoformat()], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "claimed"
        assert run_command("assign_tiers", command) == 2
        message = capfd.readouterr().err
        for piece in ("user_tiers of", "other-run", f"process {other.pid}", "--wait"):
            assert piece in message
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(lambda: submit("assign_tiers", *command, "--wait"))
            time.sleep(1)
            assert not waiting.done()
            # A writer that is killed leaves its claim; who waits takes it over.
            other.send_signal(signal.SIGKILL)
            require_success(waiting.result())
    after = rows_at(spark, copy, USER_TIERS, AS_OF).collect()  # type: ignore[attr-defined]
    assert sorted(after) == sorted(before)
    records = Warehouse(spark, copy).read(RUNS).where("stage = 'assign_tiers'").orderBy("started_at").collect()
    assert [row["status"] for row in records] == ["done", "failed", "done"]


def test_evaluate_beside_the_nightly_run_measures_as_alone(spark: SparkSession, shop: Shop, made: Made, copy: str) -> None:
    nightly = ["--from", "build_interests", "--to", "recommend"]
    with ThreadPoolExecutor(2) as threads:
        judged = threads.submit(lambda: submit("evaluate", *command_of(shop, copy)))
        ran = threads.submit(lambda: submit("pipeline", *command_of(shop, copy), *nightly))
        require_success(judged.result())
        require_success(ran.result())
    assertDataFrameEqual(rows_at(spark, copy, METRICS, AS_OF), rows_at(spark, made.warehouse, METRICS, AS_OF), rtol=1e-9, atol=1e-9)
    assert not [path for path in Path(copy, "_staging").rglob("*") if path.is_file()]
