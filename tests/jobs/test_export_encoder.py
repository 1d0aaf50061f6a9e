"""export_encoder by a real spark-submit, and the stage embed on what it made."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from interest_tiers.config import Embedding
from interest_tiers.embedding.encoder import SentenceEncoder
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.storage.schemas import ITEMS, TEXT_EMBEDDINGS
from interest_tiers.storage.warehouse import Warehouse
from tests.embedding.folders import small_bert, small_gpt
from tests.jobs.shop import REPOSITORY, require_success, run_command, shop_config, submit


def test_what_is_exported_embeds_as_torch_does(tmp_path: Path, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    source, made = small_bert(tmp_path / "bert"), tmp_path / "exported" / "bert"
    calibration, told = tmp_path / "texts.txt", files_of_usage()
    calibration.write_text("whole milk\n\nbread of rye\na cordless drill\n", encoding="utf-8")
    arguments = ("--model", source, "--to", str(made), "--calibration-texts", str(calibration))
    printed = require_success(submit("export_encoder", *arguments))
    assert printed.count("cosine with torch") == 3
    assert f"{made}/sparknlp/model.onnx" in printed
    by_calibration = re.search(rf"{made}/openvino/model_int8\.xml   cosine with torch: mean (\S+), least (\S+) of 3 texts", printed)
    assert by_calibration is not None
    assert 0.98 < float(by_calibration[2]) <= float(by_calibration[1]) < 1
    assert "left out" not in printed
    assert files_of_usage() == told

    texts = [("a", "whole milk", "h1"), ("b", "bread", "h2"), ("c", None, None), ("d", "whole milk", "h1")]
    warehouse.replace(ITEMS, warehouse.spark.createDataFrame([(i, t, h, None, None) for i, t, h in texts], ITEMS.schema))
    config = tmp_path / "shop.yaml"
    config.write_text(yaml.safe_dump(shop_config(tmp_path)), encoding="utf-8")
    for backend, model in (("openvino", str(made)), ("torch", source)):
        wanted = [f"--set=embedding.{key}={value}" for key, value in (("backend", backend), ("precision", "fp32"), ("model", model))]
        assert run_command("embed", ["--config", str(config), "--warehouse", warehouse.location, *wanted]) == 0
    assert capsys.readouterr().out.count("every text is embedded already") == 1

    vectors = {(row["text_hash"], row["model_id"]): np.array(row["embedding"]) for row in warehouse.read(TEXT_EMBEDDINGS).collect()}
    expected = SentenceEncoder(source, 128, "cpu", threads=1, precision="fp32").encode(["whole milk", "bread"], 1024).vectors
    assert vectors.keys() == {(text_hash, model_id(Embedding(model=source))) for text_hash in ("h1", "h2")}
    assert all(vector @ expected[int(text_hash[1]) - 1] > 0.9999 for (text_hash, _), vector in vectors.items())


def files_of_usage() -> dict[Path, int]:
    """What OpenVINO's tools write at home when they tell their makers of their use, and when each was changed."""
    return {file: file.stat().st_mtime_ns for file in (Path.home() / "intel").rglob("*")}


def test_what_no_graph_is_made_for_is_told_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made"
    assert run_command("export_encoder", ["--model", small_gpt(tmp_path / "gpt", "mean"), "--to", str(made)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("cosine with torch") == 1
    assert f"{made}/sparknlp   left out: it is a gpt2, not a bert" in printed


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read as lines of UTF-8: .*No such file"),
        (b"caf\xe9\n", "cannot be read as lines of UTF-8: .*0xe9"),
        (b" \n\n", "has no lines with text; give some hundreds of different texts"),
        (b"milk\n" * 10_001, "has more than 10000 lines with text"),
        (b"\n" + b"milk\n" * 10_001, "has more than 10000 lines with text"),
    ],
)
def test_calibration_texts_that_cannot_be_used_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    file = tmp_path / "texts.txt"
    if content is not None:
        file.write_bytes(content)
    assert run_command("export_encoder", ["--to", str(tmp_path / "made"), "--calibration-texts", str(file)]) == 2
    assert re.search(f"--calibration-texts {file} {said}", capsys.readouterr().err)
    assert not (tmp_path / "made").exists()


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("export_encoder", ["--model", str(REPOSITORY / "nowhere"), "--to", str(tmp_path / "made")]) == 2
    assert "neither a folder nor an installed model package" in capsys.readouterr().err
