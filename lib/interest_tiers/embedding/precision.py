"""Decides once, on the driver, in which precision the workers run a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import SparkSession

from interest_tiers.config import Embedding, Precision

PROCESSORS = Path("/proc/cpuinfo")

#: Flags of x86 processors that multiply bf16 in hardware.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


@dataclass(frozen=True)
class Capability:
    """Describe where tasks run: on GPUs or processors, and whether these compute bf16 in hardware."""

    has_gpu: bool
    has_bf16: bool


def decide_precision(config: Embedding, spark: SparkSession) -> Embedding:
    """Replace auto by the precision that choose_precision names for this session.

    The driver's processor represents those of the workers. A worker without bf16 in hardware still runs it, only slower.
    """
    return config.model_copy(update={"precision": choose_precision(config, _capability(spark))}) if config.precision == "auto" else config


def choose_precision(config: Embedding, capability: Capability) -> Precision:
    """Choose bf16 where the hardware has it, fp16 on other GPUs, and fp32 elsewhere; a configured precision stays."""
    if config.precision != "auto":
        return config.precision
    if config.backend == "sparknlp":
        return "fp32"
    if config.backend == "torch" and capability.has_gpu:
        return "bf16" if capability.has_bf16 else "fp16"
    return "bf16" if capability.has_bf16 else "fp32"


def _capability(spark: SparkSession) -> Capability:
    context = spark.sparkContext
    in_this_process = (context.master or "").partition("[")[0] == "local"
    n_gpus = float(context.getConf().get("spark.task.resource.gpu.amount") or 0)
    if n_gpus > 0 and not in_this_process:
        return Capability(has_gpu=True, has_bf16=_gpu_has_bf16())
    return Capability(has_gpu=False, has_bf16=_processor_has_bf16())


def _gpu_has_bf16() -> bool:
    """Ask the driver's GPU; a driver without one assumes bf16, which every GPU runs."""
    import torch

    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)


def _processor_has_bf16() -> bool:
    return PROCESSORS.is_file() and not BF16_FLAGS.isdisjoint(PROCESSORS.read_text(encoding="utf-8").split())
