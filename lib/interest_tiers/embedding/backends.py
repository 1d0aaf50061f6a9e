"""Chooses the engine of a config, and checks that it is installed and can run the model."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from interest_tiers.config import Backend, Embedding
from interest_tiers.embedding.encoder import Encoder, SentenceEncoder
from interest_tiers.embedding.model_folder import ModelFolder, read_calibration, read_model_folder, require_same_weights
from interest_tiers.embedding.openvino_encoder import OpenVinoEncoder
from interest_tiers.embedding.packed_texts import explain_unpackable
from interest_tiers.embedding.word_pieces import explain_unfit_for_spark_nlp
from interest_tiers.errors import ConfigError
from interest_tiers.spark.worker import once_per_worker

#: Packages that a backend needs beyond a plain installation.
NEEDED: dict[Backend, tuple[str, ...]] = {"openvino": ("nncf", "openvino"), "sparknlp": ("sparknlp",)}


def require_backend(config: Embedding) -> None:
    """Raise ConfigError when the backend cannot run the model, its graph is missing or stale, or its engine is not installed."""
    folder = read_model_folder(config.model)
    unfit = explain_unfit(config.backend, folder)
    if unfit is not None:
        raise ConfigError(f"embedding.backend is {config.backend}, which cannot run the model {folder.path}: {unfit}. Use torch")
    if config.backend != "torch":
        require_same_weights(folder, config.backend)
    if config.precision == "int8":
        read_calibration(folder)
    require_engine(config.backend)


def explain_unfit(backend: Backend, folder: ModelFolder) -> str | None:
    """Explain why a backend cannot run a model; None when it can."""
    reasons = {"openvino": explain_unpackable, "sparknlp": explain_unfit_for_spark_nlp}
    return reasons[backend](folder) if backend in reasons else None


def require_engine(backend: Backend) -> None:
    """Raise ConfigError when a Python package that a backend needs is not installed."""
    missing = find_missing_packages(NEEDED.get(backend, ()))
    if missing:
        raise ConfigError(f"the backend {backend} needs {', '.join(missing)}: pip install 'interest-tiers[{backend}]'")


def find_missing_packages(names: Iterable[str]) -> list[str]:
    """List the packages that are not installed."""
    return [name for name in names if importlib.util.find_spec(name) is None]


@once_per_worker
def worker_encoder(config: Embedding, device: str, threads: int, fingerprint: str) -> Encoder:
    """Load the encoder of this Python worker at its first batch; later batches reuse it.

    fingerprint: see fingerprint_encoder. A worker that outlives a change of the model folder then loads the new model.
    Raises ValueError when the precision is auto, because each worker would decide for itself.
    """
    if config.precision == "auto":
        raise ValueError("embedding.precision is auto on a worker. Decide it on the driver by decide_precision")
    if config.backend == "openvino":
        return OpenVinoEncoder(config.model, config.max_tokens, threads, config.precision)
    return SentenceEncoder(config.model, config.max_tokens, device, threads, config.precision)
