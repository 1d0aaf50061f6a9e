"""Texts to vectors on Spark: which texts are due, and that each passes the model once."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.config import Embedding
from interest_tiers.embedding import texts
from interest_tiers.embedding.encoder import SentenceEncoder
from interest_tiers.embedding.texts import embed_texts, select_pending_texts, select_unused_vectors, split_into_waves
from interest_tiers.spark.worker import task_resources
from interest_tiers.storage.warehouse import Warehouse

CONFIG = Embedding(max_tokens=24)
PENDING = "text_hash string, text string"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def text_rows(spark: SparkSession, *given: str) -> DataFrame:
    return spark.createDataFrame([(sha(text), text) for text in given], PENDING)


def items(spark: SparkSession, *given: str | None) -> DataFrame:
    rows = [(f"i{n}", text, None if text is None else sha(text)) for n, text in enumerate(given)]
    return spark.createDataFrame(rows, "item_id string, text string, text_hash string")


def test_every_distinct_text_is_due_once_when_nothing_was_embedded(spark: SparkSession) -> None:
    got = select_pending_texts(items(spark, "milk", "bread", "milk", None, "milk", None), None, "m1")
    assertDataFrameEqual(got, text_rows(spark, "milk", "bread"))


def test_texts_of_this_model_are_done_and_those_of_another_are_due(spark: SparkSession) -> None:
    done = [(sha("milk"), "m1"), (sha("milk"), "m2"), (sha("bread"), "m2"), (sha("gone"), "m1")]
    embedded = spark.createDataFrame(done, "text_hash string, model_id string")
    catalogue = items(spark, "milk", "bread", "bread", None)
    assertDataFrameEqual(select_pending_texts(catalogue, embedded, "m1"), text_rows(spark, "bread"))
    assertDataFrameEqual(select_pending_texts(catalogue, embedded, "m3"), text_rows(spark, "milk", "bread"))
    assert select_pending_texts(catalogue, embedded, "m2").isEmpty()


def test_vectors_of_gone_texts_and_of_other_models_are_of_no_use(spark: SparkSession) -> None:
    stored = [(sha(text), model) for text in ("milk", "bread", "fax") for model in ("m1", "m2")]
    embedded = spark.createDataFrame(stored, "text_hash string, model_id string")
    catalogue = items(spark, "milk", "bread", "milk", None)

    def unused(model: str | None) -> set[tuple[str, str]]:
        return {(row["text_hash"], row["model_id"]) for row in select_unused_vectors(embedded, catalogue, model).collect()}

    assert unused(None) == {(sha("fax"), "m1"), (sha("fax"), "m2")}
    assert unused("m1") == {(sha("fax"), "m1"), (sha("fax"), "m2"), (sha("milk"), "m2"), (sha("bread"), "m2")}


def counting_encoder(folder: str) -> Any:
    """worker_encoder, which also writes down each load and each text; it runs on the workers, so it carries all it needs."""

    def worker_encoder(config: Embedding, device: str, threads: int, fingerprint: str) -> Any:
        import os
        from pathlib import Path

        from interest_tiers.embedding import backends

        log = Path(folder) / f"{os.getpid()}"
        loads = backends.worker_encoder.cache_info().misses
        real = backends.worker_encoder(config, device, threads, fingerprint)
        with log.open("a", encoding="utf-8") as lines:
            lines.writelines(f"load {device} {threads}\n" for _ in range(backends.worker_encoder.cache_info().misses - loads))

        class Counting:
            def encode(self, texts: list[str], batch_tokens: int) -> Any:
                with log.open("a", encoding="utf-8") as lines:
                    lines.writelines(f"text {text}\n" for text in texts)
                return real.encode(texts, batch_tokens)

        return Counting()

    return worker_encoder


def test_each_text_passes_the_model_once_and_each_worker_loads_it_once(
    spark: SparkSession, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    log.mkdir()
    monkeypatch.setattr(texts, "worker_encoder", counting_encoder(str(log)))
    given = [f"product number {n} " + "milk " * (n % 30) for n in range(30)]
    embedded = embed_texts(text_rows(spark, *given), CONFIG, n_tasks=5)  # on two workers
    assert embedded.rdd.getNumPartitions() == 5
    vectors = warehouse.stage("embed/vectors", embedded)
    n_cut = vectors.where("is_cut").count()
    rows = {row["text_hash"]: row for row in vectors.collect()}

    logged = {worker.name: worker.read_text(encoding="utf-8").splitlines() for worker in log.iterdir()}
    passed = Counter(line.removeprefix("text ") for lines in logged.values() for line in lines if line.startswith("text "))
    assert passed == Counter(given)
    loads = [sum(line.startswith("load ") for line in lines) for lines in logged.values()]
    assert max(loads) == 1
    assert {line for lines in logged.values() for line in lines if line.startswith("load ")} == {"load cpu 1"}
    assert str(os.getpid()) not in logged  # never on the driver

    assert vectors.schema.simpleString() == (
        "struct<text_hash:string,embedding:array<float>,is_cut:boolean,n_tokens:bigint,n_unknown:bigint,n_single:bigint>"
    )
    assert rows.keys() == {sha(text) for text in given}
    expected = SentenceEncoder(CONFIG.model, CONFIG.max_tokens, "cpu", threads=1).encode(given, CONFIG.batch_tokens)
    got = np.array([rows[sha(text)]["embedding"] for text in given])
    assert (got * expected.vectors).sum(axis=1).min() > 0.9995
    assert [rows[sha(text)]["is_cut"] for text in given] == expected.is_cut.tolist()
    assert n_cut == sum(expected.is_cut) > 0
    assert [rows[sha(text)]["n_tokens"] for text in given] == expected.counts.n_tokens.tolist()


def test_no_text_is_no_row(spark: SparkSession) -> None:
    assert embed_texts(text_rows(spark), CONFIG, n_tasks=1).count() == 0
    assert list(split_into_waves(text_rows(spark), 0, parallelism=2)) == []


def test_every_text_is_in_one_wave(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "TEXTS_PER_TASK", 20)
    given = text_rows(spark, *(f"text {n}" for n in range(100)))
    found = [[row["text_hash"] for row in wave.collect()] for wave in split_into_waves(given, 100, parallelism=2)]
    assert len(found) == 3
    assert min(map(len, found)) > 20
    assert sorted(text_hash for wave in found for text_hash in wave) == sorted(row["text_hash"] for row in given.collect())
    [alone] = split_into_waves(given, 40, parallelism=2)
    assert alone is given


@pytest.mark.parametrize(
    ("resources", "cpus", "expected"),
    [
        ({"gpu": SimpleNamespace(addresses=["3"])}, 4, ("cuda:3", 4)),
        ({"gpu": SimpleNamespace(addresses=["1", "2"])}, 1, ("cuda:1", 1)),
        ({}, 2, ("cpu", 2)),
        ({"fpga": SimpleNamespace(addresses=["0"])}, 0, ("cpu", 1)),
    ],
)
def test_a_task_uses_what_spark_gave_it(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any], cpus: int, expected: tuple[str, int]
) -> None:
    task = SimpleNamespace(resources=lambda: resources, cpus=lambda: cpus)
    monkeypatch.setattr("interest_tiers.spark.worker.TaskContext", SimpleNamespace(get=lambda: task))
    assert task_resources() == expected


def test_the_order_of_the_texts_changes_no_digit(spark: SparkSession) -> None:
    given = [f"product number {n} " + "milk " * (n % 9) for n in range(60)]
    rounding = Embedding(max_tokens=24, batch_tokens=64, precision="bf16")
    one, other = (
        embed_texts(text_rows(spark, *order).repartition(parts), rounding, n_tasks=2).collect()
        for order, parts in ((given, 1), (given[::-1], 3))
    )
    assert sorted(one) == sorted(other)
