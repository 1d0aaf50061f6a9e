"""The precision of a run: a function of what the hardware has, decided before any worker starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from interest_tiers.config import Backend, Embedding, Precision
from interest_tiers.embedding import precision as precision_module
from interest_tiers.embedding.backends import worker_encoder
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.embedding.precision import Capability, choose_precision, decide_precision


@pytest.mark.parametrize(
    ("backend", "has_gpu", "has_bf16", "expected"),
    [
        ("torch", False, True, "bf16"), ("torch", False, False, "fp32"), ("torch", True, True, "bf16"), ("torch", True, False, "fp16"),
        ("openvino", False, True, "bf16"), ("openvino", True, False, "fp32"), ("sparknlp", True, True, "fp32"),
    ],
)  # fmt: skip
def test_auto_is_what_the_hardware_has(backend: Backend, has_gpu: bool, has_bf16: bool, expected: Precision) -> None:
    capability = Capability(has_gpu, has_bf16)
    assert choose_precision(Embedding(backend=backend), capability) == expected
    assert choose_precision(Embedding(backend=backend, precision="fp32"), capability) == "fp32"


@pytest.mark.parametrize(
    ("flags", "expected"), [("avx2 avx512_bf16", "bf16"), ("amx_bf16 amx_tile", "bf16"), ("avx512f", "fp32"), (None, "fp32")]
)
def test_the_driver_decides_by_its_processor_and_keeps_the_model_id(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str | None, expected: str
) -> None:
    monkeypatch.setattr(precision_module, "PROCESSORS", tmp_path / "cpuinfo")
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n", encoding="utf-8")
    decided = decide_precision(Embedding(), spark)
    assert decided == Embedding(precision=expected)  # type: ignore[arg-type]
    assert model_id(decided) == model_id(Embedding())


def test_a_worker_never_decides() -> None:
    with pytest.raises(ValueError, match="precision is auto on a worker"):
        worker_encoder(Embedding(), "cpu", 1, "fingerprint")
