"""Jobs whose workers have nothing but an archive that spark-submit sends along."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers.storage.schemas import ITEM_INTERESTS, USER_CLUSTERS, USER_INTERESTS, USER_TIERS
from tests.cluster.standalone import HOST, StandaloneCluster, start_cluster
from tests.jobs.compared import assert_same_rows
from tests.jobs.shop import REPOSITORY, Shop, command_of, require_success, submit

pytestmark = pytest.mark.whole

#: The 5 GB of networks, which these stages do not ask workers for, what Spark brings itself, and this checkout.
LEFT_OUT = ("torch", "nvidia", "triton", "openvino*", "onnx*", "nncf", "pyspark", "cuda*", "mypy*", "duckdb*", "*interest_tiers*", "pip*")

PARTS = (["--from", "clean", "--to", "clean"], ["--from", "build_interests", "--to", "cluster_users"])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneCluster]:
    with start_cluster(tmp_path_factory.mktemp("standalone")) as started:
        yield started


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the package from its wheel, packed as docs/running.md says."""
    folder = tmp_path_factory.mktemp("archive")
    environment, source, packed = folder / "environment", folder / "source", folder / "environment.tar.gz"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    # A copy, because building leaves files in the sources.
    shutil.copytree(REPOSITORY, source, ignore=shutil.ignore_patterns(".git", ".venv", "build", "__pycache__"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(packages)
    with tarfile.open(packed, "w:gz", compresslevel=1) as tar:
        tar.add(environment, arcname=".")
        for each in Path(sysconfig.get_paths()["purelib"]).iterdir():
            if not any(each.match(pattern) for pattern in LEFT_OUT):
                tar.add(each, arcname=str(packages.relative_to(environment) / each.name))
    return packed


def test_workers_run_from_an_archive(spark: SparkSession, shop: Shop, cluster: StandaloneCluster, archive: Path, tmp_path: Path) -> None:
    interpreters = {"spark.pyspark.python": "./environment/bin/python", "spark.pyspark.driver.python": sys.executable}
    settings = {"spark.driver.host": HOST, "spark.archives": f"{archive}#environment", **interpreters}
    there, here = str(tmp_path / "there"), str(tmp_path / "here")
    for part in PARTS:
        given = [*part, "--set", "tiers.network=rule"]
        variables = {"SPARK_LOCAL_IP": HOST}
        require_success(submit("pipeline", *command_of(shop, there), *given, master=cluster.master, settings=settings, variables=variables))
        require_success(submit("pipeline", *command_of(shop, here), *given))
    assert list(cluster.folder.glob("worker-*/app-*/*/environment/bin/python"))
    assert_same_rows(spark, there, here, [ITEM_INTERESTS, USER_INTERESTS, USER_TIERS, USER_CLUSTERS])


def test_cluster_deploy_mode_is_refused_by_spark(shop: Shop, cluster: StandaloneCluster, tmp_path: Path) -> None:
    ended = submit(
        "pipeline", *command_of(shop, str(tmp_path / "w")), master=cluster.master, settings={"spark.submit.deployMode": "cluster"}
    )
    assert ended.returncode != 0
    assert "Cluster deploy mode is currently not supported for python applications on standalone clusters" in ended.stderr
