"""prune_embeddings by a real spark-submit: what is used stays, of every model."""

from __future__ import annotations

from pathlib import Path

import yaml

from interest_tiers.config import Embedding
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.storage.schemas import ITEMS, RUNS, TEXT_EMBEDDINGS
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import require_success, run_command, shop_config, submit

OWN = model_id(Embedding())
USED, GONE = ("milk", "bread"), ("cassette", "fax")


def test_unused_vectors_go_and_the_others_stay_as_they_are(tmp_path: Path, warehouse: Warehouse) -> None:
    arguments = prepared(tmp_path, warehouse)
    assert n_files(warehouse) == 8
    assert run_command("prune_embeddings", [*arguments, "--dry-run", "--other-models"]) == 0
    assert keys(warehouse) == {(text, model) for text in (*USED, *GONE) for model in (OWN, "other")}

    printed = require_success(submit("prune_embeddings", *arguments))
    assert [line.split()[:2] for line in printed.splitlines() if "of no use" in line] == [[OWN, "2"], ["other", "2"]]
    assert keys(warehouse) == {(text, model) for text in USED for model in (OWN, "other")}
    assert n_files(warehouse) == 2  # one per model
    assert all(row["embedding"] == [float(len(row["text_hash"])), 0.5] for row in warehouse.read(TEXT_EMBEDDINGS).collect())
    messages = [row["message"] for row in warehouse.read(RUNS).orderBy("started_at").collect()]
    assert messages[0] == "dry run: 6 vectors would go"
    assert messages[1].startswith("4 vectors removed, ")


def test_few_files_are_left_alone(tmp_path: Path, warehouse: Warehouse) -> None:
    prepared(tmp_path, warehouse)
    version = warehouse.version(TEXT_EMBEDDINGS)
    assert warehouse.compact(TEXT_EMBEDDINGS, above_files=8) == 0
    assert warehouse.version(TEXT_EMBEDDINGS) == version
    assert warehouse.compact(TEXT_EMBEDDINGS, above_files=7) == 8
    assert n_files(warehouse) == 2


def prepared(folder: Path, warehouse: Warehouse) -> list[str]:
    """Vectors of texts that items have and of others, by two models, each in a file of its own; the arguments of the job."""
    items = [(text, text, text, None, None) for text in USED] + [("nameless", None, None, None, None)]
    warehouse.replace(ITEMS, warehouse.spark.createDataFrame(items, ITEMS.schema))
    for text in (*USED, *GONE):
        for model in (OWN, "other"):
            row = warehouse.spark.createDataFrame([(text, model, [float(len(text)), 0.5], 1, 0, 0)], TEXT_EMBEDDINGS.schema)
            warehouse.append(TEXT_EMBEDDINGS, row.coalesce(1))
    config = folder / "shop.yaml"
    config.write_text(yaml.safe_dump(shop_config(folder)), encoding="utf-8")
    return ["--config", str(config), "--warehouse", warehouse.location]


def keys(warehouse: Warehouse) -> set[tuple[str, str]]:
    return {(row["text_hash"], row["model_id"]) for row in warehouse.read(TEXT_EMBEDDINGS).collect()}


def n_files(warehouse: Warehouse) -> int:
    [detail] = warehouse._delta(TEXT_EMBEDDINGS).detail().select("numFiles").collect()
    return int(detail["numFiles"])
