"""export_encoder by a real spark-submit, and the stage embed on what it made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from interest_tiers.config import Embedding
from interest_tiers.embedding.encoder import SentenceEncoder
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.jobs import embed, export_encoder
from interest_tiers.tables import ITEMS, TEXT_EMBEDDINGS, Warehouse
from tests.embedding.folders import small_bert
from tests.jobs.shop import REPOSITORY, require_success, shop_config, submit


def test_what_is_exported_embeds_as_torch_does(tmp_path: Path, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    source, made = small_bert(tmp_path / "bert"), tmp_path / "exported" / "bert"
    printed = require_success(submit("export_encoder", "--model", source, "--to", str(made)))
    assert printed.count("cosine with torch") == 3
    assert f"{made}/onnx/model_int8.onnx" in printed

    texts = [("a", "whole milk", "h1"), ("b", "bread", "h2"), ("c", None, None), ("d", "whole milk", "h1")]
    warehouse.replace(ITEMS, warehouse.spark.createDataFrame([(i, t, h, None, None) for i, t, h in texts], ITEMS.schema))
    config = tmp_path / "shop.yaml"
    config.write_text(yaml.safe_dump(shop_config(tmp_path)), encoding="utf-8")
    for backend, model in (("onnx", str(made)), ("torch", source)):
        wanted = [f"--set=embedding.{key}={value}" for key, value in (("backend", backend), ("precision", "fp32"), ("model", model))]
        assert embed.main(["--config", str(config), "--warehouse", warehouse.location, *wanted]) == 0
    assert "every text is embedded already" in capsys.readouterr().out.splitlines()[-1]

    vectors = {(row["text_hash"], row["model_id"]): np.array(row["embedding"]) for row in warehouse.read(TEXT_EMBEDDINGS).collect()}
    expected = SentenceEncoder(source, 128, "cpu", threads=1, precision="fp32").encode(["whole milk", "bread"], 1024).vectors
    assert vectors.keys() == {(text_hash, model_id(Embedding(model=source))) for text_hash in ("h1", "h2")}
    assert all(vector @ expected[int(text_hash[1]) - 1] > 0.9999 for (text_hash, _), vector in vectors.items())


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_encoder.main(["--model", str(REPOSITORY / "nowhere"), "--to", str(tmp_path / "made")]) == 2
    assert "neither a folder nor an installed model package" in capsys.readouterr().err
