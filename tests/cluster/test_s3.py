"""The pipeline with a warehouse on S3, served on loopback: from files in a bucket to the report in a bucket."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml
from pyspark.sql import SparkSession

from tests.cluster.standalone import HOST
from tests.jobs.compared import LASTING, assert_same_rows
from tests.jobs.shop import AS_OF, REPOSITORY, Shop, require_success, run_command, submit

BUCKET = "tiers"

pytestmark = pytest.mark.whole

#: The server takes any. They are nowhere but in the environment.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_REGION": "us-east-1"}


#: A process of its own, since delta-rs keeps Python's lock while it waits for an answer. It ends when its standard input does.
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address=sys.argv[1], port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class Bucket:
    """A bucket of a server on loopback."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._s3 = boto3.client("s3", endpoint_url=endpoint)
        self._s3.create_bucket(Bucket=BUCKET)

    def upload(self, file: Path, key: str) -> None:
        self._s3.upload_file(str(file), BUCKET, key)

    def list_keys(self, prefix: str) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def download(self, prefix: str, folder: Path) -> None:
        for key in self.list_keys(f"{prefix}/"):
            target = folder / key.removeprefix(f"{prefix}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not key.endswith("/"):
                self._s3.download_file(BUCKET, key, str(target))


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        endpoint = f"http://{HOST}:{int(server.stdout.readline())}"
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}.items():
                patch.setenv(name, value)
            yield Bucket(endpoint)
        server.stdin.close()


@pytest.fixture(scope="module")
def settings(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The properties of spark-submit, put together as the top of conf/s3.conf says."""
    file = tmp_path_factory.mktemp("settings") / "spark.conf"
    parts = [(REPOSITORY / "conf" / name).read_text(encoding="utf-8") for name in ("spark-defaults.conf", "s3.conf")]
    own = f"spark.hadoop.fs.s3a.endpoint {bucket.endpoint}\nspark.hadoop.fs.s3a.path.style.access true\n"
    file.write_text("\n".join([*parts, own]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def config(changed_shop: Shop, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop with its files in the bucket."""
    for name in ("events.csv", "items.parquet"):
        bucket.upload(changed_shop.config.parent / name, f"shop/{name}")
    file = tmp_path_factory.mktemp("config") / "shop.yaml"
    tree = yaml.safe_load(changed_shop.config.read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump({**tree, "locations": {"shop": f"s3a://{BUCKET}/shop"}}), encoding="utf-8")
    return file


def test_the_pipeline_gives_the_rows_of_a_local_folder(
    spark: SparkSession,
    bucket: Bucket,
    settings: Path,
    config: Path,
    in_local_mode: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    warehouse, models = f"s3a://{BUCKET}/warehouse", tmp_path / "models"
    given = ["--config", str(config), "--warehouse", warehouse, "--as-of", AS_OF.isoformat()]
    printed = require_success(submit("pipeline", *given, "--set", f"tiers.training.folder={models}", properties=str(settings)))
    assert f"report     {warehouse}/report/index.html" in printed
    assert not [key for key in bucket.list_keys("warehouse/_staging/") if not key.endswith("/")]
    bucket.download("warehouse", tmp_path / "copy")
    assert_same_rows(spark, str(tmp_path / "copy"), in_local_mode, LASTING)
    assert (tmp_path / "copy" / "report" / "index.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert list(models.glob("*/model.safetensors"))

    # Look-ups of delta-rs: with the credentials of the environment, and no session.
    pages = []
    for location in (warehouse, in_local_mode):
        assert run_command("show", ["3", "--warehouse", location, "--json"]) == 0
        pages.append(capsys.readouterr().out)
    shown, expected = (json.loads(re.sub(r"models/[^\"]*", "", page)) for page in pages)
    assert shown["tiers"] == expected["tiers"]
    assert run_command("similar", ["3", "--warehouse", warehouse]) == 0
    assert capsys.readouterr().out.startswith("user 3")
    assert run_command("show", ["nobody", "--warehouse", warehouse]) == 2
    assert run_command("show", ["3", "--warehouse", f"s3a://{BUCKET}/elsewhere"]) == 2
    assert f"s3a://{BUCKET}/elsewhere has no table user_tiers" in capsys.readouterr().err


def test_a_network_without_a_folder_of_models_is_refused_before_the_first_stage(bucket: Bucket, settings: Path, config: Path) -> None:
    given = ["--config", str(config), "--warehouse", f"s3a://{BUCKET}/refused", "--as-of", AS_OF.isoformat()]
    ended = submit("pipeline", *given, properties=str(settings))
    assert ended.returncode == 2, ended.stderr[-3000:]
    assert "tiers.training.folder is not set. Model files need a path that every machine shares" in ended.stderr
    assert not bucket.list_keys("refused/interactions/")
