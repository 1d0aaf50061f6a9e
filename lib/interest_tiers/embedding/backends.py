"""Which engine a config asks for."""

from __future__ import annotations

import importlib.util

from interest_tiers.config import Backend, Embedding
from interest_tiers.embedding.encoder import Encoder, SentenceEncoder
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.embedding.onnx_encoder import OnnxEncoder, require_same_weights
from interest_tiers.embedding.word_pieces import unfit_for_spark_nlp
from interest_tiers.errors import ConfigError
from interest_tiers.once_per_worker import once_per_worker

#: Packages that are no part of a plain installation.
NEEDED: dict[Backend, tuple[str, ...]] = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "sparknlp": ("sparknlp",)}


def require_backend(config: Embedding) -> None:
    """Raise ConfigError when the model folder has not what the backend runs, or its engine is not installed."""
    folder = read_model_folder(config.model)
    unfit = unfit_for_spark_nlp(folder) if config.backend == "sparknlp" else None
    if unfit is not None:
        raise ConfigError(f"embedding.backend is sparknlp, which cannot run the model {folder.path}: {unfit}. Use torch or onnx")
    if config.backend != "torch":
        require_same_weights(folder, config.backend)
    require_engine(config.backend)


def require_engine(backend: Backend) -> None:
    """Raise ConfigError when what a backend needs in Python is not installed."""
    missing = [name for name in NEEDED.get(backend, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the backend {backend} needs {', '.join(missing)}: pip install 'interest-tiers[{backend}]'")


@once_per_worker
def worker_encoder(config: Embedding, device: str, threads: int) -> Encoder:
    """The encoder of this Python worker: the first batch loads it, every later one finds it."""
    if config.backend == "onnx":
        return OnnxEncoder(config.model, config.max_tokens, threads, config.precision)
    return SentenceEncoder(config.model, config.max_tokens, device, threads, config.precision)
