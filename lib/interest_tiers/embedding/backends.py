"""Which engine a config asks for."""

from __future__ import annotations

import importlib.util

from interest_tiers.config import Backend, Embedding
from interest_tiers.embedding.encoder import Encoder, SentenceEncoder
from interest_tiers.embedding.model_folder import ModelFolder, calibration, read_model_folder, require_same_weights
from interest_tiers.embedding.onnx_encoder import OnnxEncoder
from interest_tiers.embedding.openvino_encoder import OpenVinoEncoder
from interest_tiers.embedding.packed_texts import unfit_for_packing
from interest_tiers.embedding.word_pieces import unfit_for_spark_nlp
from interest_tiers.errors import ConfigError
from interest_tiers.spark.worker import once_per_worker

#: Packages that are no part of a plain installation.
NEEDED: dict[Backend, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("nncf", "openvino"),
    "sparknlp": ("sparknlp",),
}


def require_backend(config: Embedding) -> None:
    """Raise ConfigError when the model folder has not what the backend runs, or its engine is not installed."""
    folder = read_model_folder(config.model)
    unfit = unfit_for(config.backend, folder)
    if unfit is not None:
        raise ConfigError(f"embedding.backend is {config.backend}, which cannot run the model {folder.path}: {unfit}. Use torch or onnx")
    if config.backend != "torch":
        require_same_weights(folder, config.backend)
    if config.backend == "openvino" and config.precision == "int8":
        calibration(folder)
    require_engine(config.backend)


def unfit_for(backend: Backend, folder: ModelFolder) -> str | None:
    """Why a backend cannot run a model; None where it can."""
    reasons = {"openvino": unfit_for_packing, "sparknlp": unfit_for_spark_nlp}
    return reasons[backend](folder) if backend in reasons else None


def require_engine(backend: Backend) -> None:
    """Raise ConfigError when what a backend needs in Python is not installed."""
    missing = missing_packages(backend)
    if missing:
        raise ConfigError(f"the backend {backend} needs {', '.join(missing)}: pip install 'interest-tiers[{backend}]'")


def missing_packages(backend: Backend) -> list[str]:
    """What a backend needs in Python and is not installed."""
    return [name for name in NEEDED.get(backend, ()) if importlib.util.find_spec(name) is None]


@once_per_worker
def worker_encoder(config: Embedding, device: str, threads: int, fingerprint: str = "") -> Encoder:
    """Load the encoder of this Python worker at the first batch; later batches find it.

    Raises ValueError where the precision is auto: each worker would decide for itself.
    """
    if config.precision == "auto":
        raise ValueError("embedding.precision is auto on a worker. Decide it on the driver by decide_precision")
    if config.backend == "onnx":
        return OnnxEncoder(config.model, config.max_tokens, threads, config.precision)
    if config.backend == "openvino":
        return OpenVinoEncoder(config.model, config.max_tokens, threads, config.precision)
    return SentenceEncoder(config.model, config.max_tokens, device, threads, config.precision)
