"""The benchmark of a card runs on a CPU in a small form, so that it works where a card is at hand for minutes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu import draw_texts, main


@pytest.mark.slow
def test_every_part_runs_and_its_checks_hold(tmp_path: Path) -> None:
    out = tmp_path / "figures" / "gpu.json"
    assert main(["--device", "cpu", "--seconds", "1", "--rows", "256", "--out", str(out)]) == 0
    measured = json.loads(out.read_text(encoding="utf-8"))
    assert list(measured) == ["device", "embedding", "fine-tuning", "tiers", "processes", "memory"]
    embedding = measured["embedding"]
    assert embedding["texts/s"] > 0 and embedding["width"] == 384
    assert embedding["least cosine"] > 0.9999, "fp32 on a CPU is its own reference"
    assert 0 < embedding["tokenising"] < 1 and 0 < embedding["busy"] <= 1
    assert measured["fine-tuning"]["last loss"] < measured["fine-tuning"]["first loss"]
    assert min(measured["tiers"]["training rows/s"], measured["tiers"]["scoring rows/s"]) > 256
    # One process: a sum over processes changes nothing. The gradient of a sum of 2 outputs is the input, 4 ones each.
    assert measured["processes"] == {"backend": "gloo", "sum of ones": 4.0, "gradient": 8.0}
    assert measured["memory"]["least cosine"] > 0.9999 and measured["memory"]["batches tried"] >= 7


def test_texts_are_distinct_and_repeatable() -> None:
    texts = draw_texts(500, 7)
    assert len(set(texts)) == 500
    assert texts == draw_texts(500, 7) != draw_texts(500, 8)
    assert all(5 <= len(text.split()) <= 14 for text in texts)
