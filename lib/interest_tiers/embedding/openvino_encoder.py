"""Embeds texts by OpenVINO on a CPU, with the graphs that export_encoder writes into a model folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from interest_tiers.config import Precision
from interest_tiers.embedding.encoder import Encoder, TokenIds
from interest_tiers.embedding.model_folder import OPENVINO, find_export, read_model_folder
from interest_tiers.embedding.packed_texts import PackedTexts, pack

#: The graph of each precision of weights, and the names of its inputs.
GRAPHS: dict[Precision, str] = {"fp32": "model.xml", "int8": "model_int8.xml"}
INPUTS = ("input_ids", "position_ids", "texts")

#: OpenVINO's names for the precision of activations. Without one it uses bf16 where the processor has it.
ACTIVATIONS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEncoder(Encoder):
    """Embed texts by OpenVINO, packed into rows.

    precision: fp32, bf16, auto (bf16 where the processor has it, else fp32), or int8 with the ranges measured at export.
    Other texts of a batch change a vector by rounding only. Pooling and scaling are always in fp32.
    """

    def __init__(self, model: str, max_tokens: int, threads: int, precision: Precision = "auto") -> None:
        folder = read_model_folder(model)
        super().__init__(folder, max_tokens)
        graph = find_export(folder, OPENVINO) / GRAPHS["int8" if precision == "int8" else "fp32"]
        # Not pinned: the workers of a machine would all use its first cores.
        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        if precision in ACTIVATIONS:
            settings["INFERENCE_PRECISION_HINT"] = ACTIVATIONS[precision]
        self._request = import_openvino().Core().compile_model(graph, "CPU", settings).create_infer_request()

    def _batches(self, tokens: TokenIds, batch_tokens: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for packed in pack(tokens.ids, batch_tokens):
            inputs = build_inputs(packed, self._folder.first_position)
            vectors = packed.pooled(self._request.infer(inputs, share_inputs=True, share_outputs=True)[0], self._folder.pooling)
            yield packed.which, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def build_inputs(packed: PackedTexts, first_position: int) -> dict[str, np.ndarray]:
    """Name the inputs of a graph; see ModelFolder for first_position."""
    return dict(zip(INPUTS, (packed.ids, packed.positions + first_position, packed.texts), strict=True))


def import_openvino() -> ModuleType:
    """Import OpenVINO with its telemetry package disabled, which NNCF uses too."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
