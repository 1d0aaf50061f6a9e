"""Sentence encoders by ONNX Runtime on a CPU, from the graphs that export writes into a model folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from interest_tiers.config import Precision
from interest_tiers.embedding.encoder import PaddedEncoder
from interest_tiers.embedding.model_folder import ONNX, exported, read_model_folder

#: The graph of each precision.
GRAPHS: dict[Precision, str] = {"fp32": "model.onnx", "int8": "model_int8.onnx"}

#: Setting of ONNX Runtime: both factors of a product of bytes without a sign, which is slower and never overflows.
EXACT_BYTES = "session.x64quantprecision"

PROCESSORS = Path("/proc/cpuinfo")


class OnnxEncoder(PaddedEncoder):
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
