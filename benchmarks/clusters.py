"""Measures the passes of cluster_users over synthetic users: fitting the space, vectors, k-means, and clusters of users.

Each size is a process of its own on two cores. Users belong to ten groups, each with interests and items of its own beside
those of everybody. Profiles are written to Parquet first, as the stage has them. The same k-means runs in scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.measure import CORES, GIBIBYTE
from interest_tiers.clustering.blocks import fit_blocks
from interest_tiers.clustering.fit import fit_clusters, take_sample
from interest_tiers.clustering.identity import name_clusters
from interest_tiers.clustering.membership import compute_memberships
from interest_tiers.clustering.profiles import Vocabulary
from interest_tiers.clustering.space import fit_space, locate_users
from interest_tiers.config import Clustering
from interest_tiers.spark import session

GROUPS, INTERESTS, ITEMS = 10, 300, 5_000

#: Interests and items of a user. Three in four are those of the user's group.
HELD_INTERESTS, HELD_ITEMS = 20, 40

#: The largest size up to which scikit-learn is measured.
SKLEARN_USERS = 1_000_000


def write_profiles(spark: SparkSession, n_users: int, folder: Path) -> DataFrame:
    """Write profiles of synthetic users, see clustering.profiles.build_profiles."""

    def columns(held: int, n_columns: int, name: str) -> Column:
        width = n_columns // GROUPS

        def draw(place: Column) -> Column:
            drawn = F.pmod(F.xxhash64("id", place, F.lit(name)), F.lit(n_columns))
            own = F.col("id") % GROUPS * width + drawn % width
            return F.when(place % 4 < 3, own).otherwise(drawn).cast("int")

        return F.array_sort(F.array_distinct(F.transform(F.sequence(F.lit(1), F.lit(held)), draw)))

    def evidence(column: Column) -> Column:
        amount = 1 + F.pmod(F.xxhash64("id", column), F.lit(9))
        return F.struct(column.alias("column"), amount.cast("double").alias("evidence"))

    users = spark.range(0, n_users, numPartitions=max(CORES, n_users // 250_000))
    rows = users.select(
        F.concat(F.lit("u"), F.lpad(F.col("id").cast("string"), 9, "0")).alias("user_id"),
        F.lit(100.0).alias("n_events"),
        F.transform(columns(HELD_INTERESTS, INTERESTS, "interests"), evidence).alias("interests"),
        columns(HELD_ITEMS, ITEMS, "items").alias("items"),
        F.lit(None).cast("array<double>").alias("text"),
        F.lit(0.0).alias("n_texts"),
    )
    rows.write.mode("overwrite").parquet(str(folder / "profiles"))
    return spark.read.parquet(str(folder / "profiles"))


def measure(n_users: int, folder: Path) -> dict[str, float]:
    """Measure the seconds of every pass, and the memory of the driver's Python."""
    settings = session.packaged_settings() | {"spark.master": f"local[{CORES}]", "spark.ui.enabled": "false"}
    session.packaged_settings = lambda: settings
    spark = session.build_session("benchmark clusters")
    profiles = write_profiles(spark, n_users, folder)
    seconds: dict[str, float] = {}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        start = time.monotonic()
        result = run()
        seconds[name] = round(time.monotonic() - start, 2)
        return result

    vocabulary = Vocabulary(
        tuple(f"i{n}" for n in range(INTERESTS)), (1.0,) * INTERESTS, tuple(f"p{n}" for n in range(ITEMS)), (n_users // 100,) * ITEMS
    )
    config = Clustering(k=[GROUPS], starts=5)
    timed("blocks (4 passes)", lambda: fit_blocks(profiles, vocabulary, n_users, 8, 17))
    space = fit_space(profiles, vocabulary, None, n_users, 8, 17)
    assert space is not None
    timed("vectors", lambda: locate_users(profiles, space).write.mode("overwrite").parquet(str(folder / "vectors")))
    vectors = spark.read.parquet(str(folder / "vectors"))
    sample = timed("sample", lambda: take_sample(vectors, None, (), config.max_fit_users, n_users))
    fit = timed("trials and MLlib", lambda: fit_clusters(vectors, space.variances, config, n_users, sample, 0))
    members = compute_memberships(vectors, fit.centroids, name_clusters(len(fit.centroids)), config)
    timed("clusters of users", lambda: members.write.mode("overwrite").format("noop").save())
    # Before scikit-learn, which holds all users in the same process.
    memory = {"driver GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIBIBYTE, 2)}
    if n_users <= SKLEARN_USERS:
        seconds |= _measure_sklearn(vectors)
    spark.stop()
    return seconds | memory


def _measure_sklearn(vectors: DataFrame) -> dict[str, float]:
    """Measure scikit-learn's k-means on the same vectors, from as many starts."""
    from sklearn.cluster import KMeans

    points = np.stack(vectors.select("vector").toPandas()["vector"].to_list())
    start = time.monotonic()
    KMeans(GROUPS, n_init=5, random_state=17).fit(points)
    return {"scikit-learn, all users": round(time.monotonic() - start, 2)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, nargs="+", default=[1.0, 5.0, 20.0], help="users, in millions")
    parser.add_argument("--folder", type=Path, default=Path("build/bench/clusters"))
    parser.add_argument("--one", action="store_true", help="measure the one size in this process and print JSON")
    arguments = parser.parse_args(argv)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        print(json.dumps(measure(round(arguments.millions[0] * 1e6), arguments.folder)))
        return 0
    first: dict[str, float] = {}
    for millions in arguments.millions:
        command = [sys.executable, "-m", "benchmarks.clusters", "--one", "--millions", str(millions), "--folder", str(arguments.folder)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 (this module)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{millions:g} million users")
        for name, value in found.items():
            if name == "driver GiB" or not value:
                print(f"  {name}: {value:g}")
                continue
            of_first = first.setdefault(name, value / millions)
            speed = f"{millions * 1e6 / value:,.0f} users/s, {of_first * millions / value:.2f} of the first size's speed"
            print(f"  {name}: {value:g} s, {speed}", flush=True)
    shutil.rmtree(arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
