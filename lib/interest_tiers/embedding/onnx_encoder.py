"""Sentence encoders by ONNX Runtime on a CPU, from the graphs that export writes into a model folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from interest_tiers.config import Precision
from interest_tiers.embedding.encoder import Encoder
from interest_tiers.embedding.model_folder import ModelFolder, read_model_folder
from interest_tiers.errors import ConfigError

#: Of a model folder: what the backend onnx runs, what Spark NLP runs, and whose weights are in each graph.
ONNX, SPARK_NLP, RECORD = "onnx", "sparknlp", "export.json"

#: The graph of each precision.
GRAPHS: dict[Precision, str] = {"fp32": "model.onnx", "int8": "model_int8.onnx"}

#: Setting of ONNX Runtime: both factors of a product of bytes without a sign, which is slower and never overflows.
EXACT_BYTES = "session.x64quantprecision"

PROCESSORS = Path("/proc/cpuinfo")


class OnnxEncoder(Encoder):
    """By ONNX Runtime; the graph pools its vectors and scales them to length 1 itself.

    precision: fp32 (also auto), or int8, whose weights are whole numbers and whose activations become such by the range of
    their batch: the vector of a text then depends a little on its neighbours.
    """

    def __init__(self, model: str, max_tokens: int, threads: int, precision: Precision = "auto") -> None:
        import onnxruntime

        folder = read_model_folder(model)
        super().__init__(folder, max_tokens)
        graph = exported(folder, ONNX) / GRAPHS["int8" if precision == "int8" else "fp32"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        if not _multiplies_bytes_exactly():
            options.add_session_config_entry(EXACT_BYTES, "1")
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def _encode_batch(self, ids: list[list[int]]) -> np.ndarray:
        padded, mask = self._tokenizer.padded(ids)
        vectors: np.ndarray = self._session.run(None, {"input_ids": padded, "attention_mask": mask})[0]
        return vectors


def _multiplies_bytes_exactly() -> bool:
    """Whether the processor has VNNI; without it an x86 one adds products of signed and unsigned bytes in 16 bits, which overflow.

    False where that cannot be read: processors other than x86 are not touched by EXACT_BYTES.
    Source: ONNX Runtime, Quantize ONNX models, "When and why do I need to try U8U8?".
    """
    return PROCESSORS.is_file() and "vnni" in PROCESSORS.read_text(encoding="utf-8")


def exported(folder: ModelFolder, backend: str) -> Path:
    """The part of a model folder that a backend runs. Raises ConfigError when it was not exported."""
    part = folder.path / backend
    if not (part / RECORD).is_file():
        raise ConfigError(
            f"embedding.backend is {backend}, and {folder.path} has no {backend}/{RECORD}: "
            f"make a folder that has it by interest-tiers export_encoder --model {folder.path} --to FOLDER, and name it in embedding.model"
        )
    return part


def require_same_weights(folder: ModelFolder, backend: str) -> None:
    """Raise ConfigError when what a backend runs was exported from other weights than the folder holds; reads all of them."""
    part = exported(folder, backend)
    if json.loads((part / RECORD).read_text(encoding="utf-8"))["fingerprint"] != folder.fingerprint:
        raise ConfigError(f"embedding.model: {part} was exported from other weights than {folder.path} holds; run export_encoder again")
