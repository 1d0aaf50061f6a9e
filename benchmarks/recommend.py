"""Measures the passes of recommend over synthetic users: sums of use, training of the ranker, and lists.

Each size is a process of its own on two cores. A user has fifty interactions in 300 days: half with ten favourites, the rest
with items drawn by popularity. Three in four items of a user are of the five interests that are theirs. Sums are written to
Parquet, as the stage stages them; lists are written to nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.event_log import read_profile
from benchmarks.measure import CORES, GIBIBYTE, PeakMemory, cpu_seconds
from interest_tiers.config import Recommend
from interest_tiers.recommend.composition import prepare_ranking, rank_items
from interest_tiers.recommend.knowledge import sum_use
from interest_tiers.recommend.training import RECORD, ItemInputs, RankerSetup, RankerTraining
from interest_tiers.spark import session
from interest_tiers.training.model_store import ModelStore
from interest_tiers.training.record import Lineage

DAY, HISTORY_DAYS, HORIZON_DAYS = date(2024, 1, 1), 300, 28
INTERESTS, OWN_INTERESTS, FAVOURITES, EVENTS_PER_USER = 1_000, 5, 10, 50

#: Popularity falls with this power of a uniform number: the first percent of the items gets a fifth of the draws.
SKEW = 3


def write_days(spark: SparkSession, n_users: int, n_items: int, folder: Path) -> DataFrame:
    """Write synthetic days of items, see recommend.training.ItemInputs."""

    def uniform(*of: Column | str) -> Column:
        return F.pmod(F.xxhash64(*of), F.lit(10**6)) / 10**6

    events = spark.range(0, n_users * EVENTS_PER_USER, numPartitions=max(CORES, n_users * EVENTS_PER_USER // 1_000_000))
    user, event = F.expr(f"id div {EVENTS_PER_USER}"), F.col("id") % EVENTS_PER_USER
    # Draws of one favourite are the same each time.
    draw = F.when(event % 2 == 0, event % (2 * FAVOURITES)).otherwise(event + 1000)
    of_own = F.pmod(F.xxhash64(user, draw, F.lit("own")), F.lit(4)) < 3
    place = F.floor(F.pow(uniform(user, draw, F.lit("item")), SKEW) * (n_items // INTERESTS))
    interest = F.pmod(F.xxhash64(user, F.pmod(F.xxhash64(user, draw), F.lit(OWN_INTERESTS))), F.lit(INTERESTS))
    interest = F.when(of_own, interest).otherwise(F.pmod(F.xxhash64(user, draw, F.lit("other")), F.lit(INTERESTS)))
    age = 1 + F.floor(uniform("id", F.lit("day")) * HISTORY_DAYS)
    rows = events.select(
        F.format_string("u%09d", user).alias("user_id"),
        F.format_string("n%04d", interest).alias("interest_id"),
        F.format_string("i%04d-%06d", interest, place.cast("long")).alias("item_id"),
        F.date_sub(F.lit(DAY), age.cast("int")).alias("event_date"),
        F.lit(1.0).alias("weight"),
        F.lit(1).cast("long").alias("n_interactions"),
    )
    rows.write.mode("overwrite").parquet(str(folder / "days"))
    return spark.read.parquet(str(folder / "days"))


def measure(n_users: int, n_items: int, folder: Path) -> dict[str, float]:
    """Measure seconds, core-seconds and shuffled bytes of every pass, and the memory of the largest process."""
    memory = PeakMemory()
    memory.start()
    own = {
        "spark.master": f"local[{CORES}]", "spark.ui.enabled": "false", "spark.driver.memory": "4g",
        "spark.eventLog.enabled": "true", "spark.eventLog.dir": folder.resolve().as_uri(),
    }  # fmt: skip
    settings = session.packaged_settings() | own
    session.packaged_settings = lambda: settings
    spark = session.build_session("benchmark recommend")
    days = write_days(spark, n_users, n_items, folder)
    vectors = spark.createDataFrame([], "item_id string, text_hash string, embedding array<float>")
    config = Recommend()
    started: dict[str, datetime] = {}
    found: dict[str, float] = {}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        started[name] = datetime.now(UTC)
        start, cpu = time.monotonic(), cpu_seconds()
        result = run()
        found[f"{name}: s"] = round(time.monotonic() - start, 1)
        found[f"{name}: core-s per million users"] = round((cpu_seconds() - cpu) * 1e6 / n_users, 1)
        return result

    def write(name: str, rows: DataFrame) -> DataFrame:
        path = str(folder / name.replace("/", "-"))
        rows.write.mode("overwrite").parquet(path)
        return spark.read.parquet(path)

    use = timed("sums of use", lambda: sum_use(days, DAY, write))
    ready = timed("items", lambda: prepare_ranking(use, vectors, config))
    setup = RankerSetup(
        lambda cutoff: ItemInputs(days, vectors), config, HORIZON_DAYS, 1, ModelStore(folder / "models", RECORD, "benchmark"), write,
        Lineage("benchmark", "", "benchmark", {}, "none"),
    )  # fmt: skip
    rankers = timed("ranker", lambda: RankerTraining(setup, DAY, ["all"]).read_or_train())
    assert not isinstance(rankers, str), rankers
    lists = rank_items(ready, rankers["all"], config, repeats=True)
    timed("lists", lambda: lists.write.mode("overwrite").format("noop").save())
    spark.stop()
    (log,) = [path for path in folder.iterdir() if path.name.startswith("local-")]
    profile = read_profile(log, started)
    found |= {f"{name}: shuffled MiB": round(profile[name].shuffled_bytes / 2**20, 1) for name in started}
    return found | {"largest process: GiB": round(memory.largest / GIBIBYTE, 2), "all processes: GiB": round(memory.peak / GIBIBYTE, 2)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, nargs="+", default=[0.1, 1.0], help="users, in millions; as many items")
    parser.add_argument("--folder", type=Path, default=Path("build/bench/recommend"))
    parser.add_argument("--one", action="store_true", help="measure the one size in this process and print JSON")
    arguments = parser.parse_args(argv)
    for millions in arguments.millions:
        if arguments.one:
            n_users = round(millions * 1e6)
            print(json.dumps(measure(n_users, n_users, arguments.folder)))
            continue
        shutil.rmtree(arguments.folder, ignore_errors=True)
        arguments.folder.mkdir(parents=True)
        command = [sys.executable, "-m", "benchmarks.recommend", "--one", "--millions", str(millions), "--folder", str(arguments.folder)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 (this module)
        print(f"{millions:g} million users and items, {millions * EVENTS_PER_USER:g} million interactions")
        for name, value in json.loads(done.stdout.splitlines()[-1]).items():
            print(f"  {name} {value:g}", flush=True)
        shutil.rmtree(arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
