"""Exports a model folder with the graphs that the backends openvino and sparknlp run, and compares each graph with torch."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from interest_tiers.config import Backend, Precision
from interest_tiers.embedding.backends import explain_unfit, find_missing_packages
from interest_tiers.embedding.encoder import SentenceEncoder, TextTokenizer, pooled
from interest_tiers.embedding.model_folder import OPENVINO, RECORD, SPARK_NLP, ModelFolder, read_model_folder
from interest_tiers.embedding.openvino_encoder import GRAPHS, INPUTS, OpenVinoEncoder, build_inputs, import_openvino
from interest_tiers.embedding.packed_texts import pack
from interest_tiers.embedding.word_pieces import list_vocabulary
from interest_tiers.errors import ConfigError, InterestTiersError

if TYPE_CHECKING:
    import openvino
    import torch

#: Packages that the export for a backend needs beyond a plain installation.
PACKAGES: dict[Backend, tuple[str, ...]] = {
    OPENVINO: ("nncf", "onnx", "onnxscript", "openvino"),
    SPARK_NLP: ("onnx", "onnxruntime", "onnxscript"),
}

#: Version of the ONNX operators: the first with GELU as one operator.
OPSET = 20

#: The name that Spark NLP looks for.
SPARK_NLP_GRAPH = "model.onnx"

#: Least cosine with torch's vectors; an export with a lower one is refused.
EXACT = 0.999

BATCH_TOKENS = 1024

#: Tokens in a calibration batch. The range of an activation is its mean over batches.
CALIBRATION_TOKENS = 128

#: Folders and files of a model folder that are not copied: other exports, and weights in other formats.
NOT_COPIED = ("onnx", OPENVINO, SPARK_NLP, "__pycache__", "*.bin", "*.h5", "*.msgpack")

#: Texts that every export is compared on: short, long, without any token, and in several scripts.
CHECKED_TEXTS = (
    "", "milk", "FLUID MILK PRODUCTS FLUID MILK WHITE ONLY Private", "Crème brûlée à la façon d'Île-de-France",
    "全脂牛乳 有機", "حليب كامل الدسم", "\U0001f36e\U0001f95b", "!!! ... ???", "0 1 2 3 17850.0", "word " * 300,
    "I really like these eye mask patches. They work so well, and they smell nice too.", "antidisestablishmentarianism" * 9,
)  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """Report a graph and the cosines of its vectors with those of torch in fp32.

    texts: how many were compared: CHECKED_TEXTS, or the calibration texts for int8
    """

    graph: Path
    texts: int
    mean_cosine: float
    least_cosine: float


def export_encoder(model: str, target: Path, calibration_texts: Sequence[str] = ()) -> list[Exported]:
    """Copy a model folder to target and add the graphs of openvino and sparknlp, except for backends that find_left_out names.

    The copy keeps the model's fingerprint, so a text that one backend has embedded is not embedded again by another.
    calibration_texts: some hundreds of texts like those to embed, which calibrate int8 for OpenVINO; without them there is no int8.
    Raises ConfigError when target exists, no backend is left, or calibration_texts are given and openvino is left out.
    Raises InterestTiersError when the vectors of a graph differ from the model's.
    """
    if target.exists():
        raise ConfigError(f"--to is {target}, which exists already. Name a new folder")
    source = read_model_folder(model)
    without = find_left_out(source)
    if without.keys() == PACKAGES.keys():
        reasons = "; ".join(f"{backend}: {reason}" for backend, reason in without.items())
        raise ConfigError(f"--model is {model!r}, and no backend is left to export for: {reasons}. Use embedding.backend torch")
    if calibration_texts and OPENVINO in without:
        raise ConfigError(f"--calibration-texts is for openvino, which is left out: {without[OPENVINO]}")
    # Renamed to target after the comparison, so that target never holds a partial export.
    new = target.with_name(f"{target.name}.new")
    if new.exists():
        shutil.rmtree(new)
    shutil.copytree(source.path, new, ignore=shutil.ignore_patterns(*NOT_COPIED))
    folder = replace(source, path=new)
    graphs: list[Path] = []
    if OPENVINO not in without:
        graphs += _export_openvino(folder, calibration_texts)
    if SPARK_NLP not in without:
        graphs += _export_spark_nlp(folder)
    exact = SentenceEncoder(str(new), folder.max_tokens, "cpu", threads=1, precision="fp32")

    @cache
    def expected(texts: tuple[str, ...]) -> np.ndarray:
        return exact.encode(texts, BATCH_TOKENS).vectors

    texts_of = {graph: tuple(calibration_texts) if _is_calibrated(graph) else CHECKED_TEXTS for graph in graphs}
    found = [_compare(folder, graph, texts, expected(texts)) for graph, texts in texts_of.items()]
    new.rename(target)
    return [replace(made, graph=target / made.graph.relative_to(new)) for made in found]


def find_left_out(folder: ModelFolder) -> dict[Backend, str]:
    """List the backends that an export has no graph for, each with the reason."""
    reasons: dict[Backend, str] = {}
    for backend, packages in PACKAGES.items():
        missing, unfit = find_missing_packages(packages), explain_unfit(backend, folder)
        if unfit is not None:
            reasons[backend] = unfit
        elif missing:
            reasons[backend] = f"it needs {', '.join(missing)}: pip install 'interest-tiers[{backend}]'"
    return reasons


def _write_record(folder: ModelFolder, backend: Backend, **further: str) -> None:
    """Write the record of an export, which says whose weights are in its graphs."""
    content = {"fingerprint": folder.fingerprint, "opset": OPSET, **further}
    (folder.path / backend / RECORD).write_text(json.dumps(content), encoding="utf-8")


def _export_openvino(folder: ModelFolder, calibration_texts: Sequence[str]) -> list[Path]:
    """Write graphs that return the vectors of tokens; the encoder pools them, because several texts share a row."""
    openvino = import_openvino()
    exact, whole = (folder.path / OPENVINO / GRAPHS[precision] for precision in ("fp32", "int8"))
    with TemporaryDirectory(dir=folder.path) as place:
        written = Path(place) / "graph" / "model.onnx"
        write_graph(_packed(folder), INPUTS, written)
        network = openvino.Core().read_model(written)
        openvino.save_model(network, exact, compress_to_fp16=False)
        if not calibration_texts:
            _write_record(folder, OPENVINO)
            return [exact]
        openvino.save_model(_calibrate(network, folder, calibration_texts), whole)
    with whole.with_suffix(".bin").open("rb") as weights_and_ranges:
        _write_record(folder, OPENVINO, calibration=hashlib.file_digest(weights_and_ranges, "sha256").hexdigest()[:12])
    return [exact, whole]


def _calibrate(network: openvino.Model, folder: ModelFolder, texts: Sequence[str]) -> openvino.Model:
    """Quantise weights and activations of matrix products to 8 bits, with the ranges of activations on these texts.

    Source: NNCF, post-training quantisation of transformers; Xiao et al. 2023, SmoothQuant.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    ids = TextTokenizer(folder, folder.max_tokens)(texts).ids
    given = [build_inputs(packed, folder.first_position) for packed in pack(ids, CALIBRATION_TOKENS)]
    return nncf.quantize(
        network,
        nncf.Dataset(given),
        subset_size=len(given),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.PERFORMANCE,  # symmetric: a quarter faster and as exact
        # Weights of 7 bits: processors without VNNI add products in 16 bits, which would overflow. All then give the same vectors.
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        # Attention stays in floating point: 8 bits are no faster, and wrong for rows of 32 tokens with AMX in OpenVINO 2026.4.
        ignored_scope=nncf.IgnoredScope(names=_products_of_activations(network)),
    )


def _products_of_activations(network: openvino.Model) -> list[str]:
    """List the names of matrix products without weights, which are those of attention."""
    products = [node for node in network.get_ops() if node.get_type_name() == "MatMul"]
    return [product.get_friendly_name() for product in products if not any(_is_weight(of.get_source_output()) for of in product.inputs())]


def _is_weight(found: openvino.Output) -> bool:
    """Say whether an output is a constant, possibly reshaped, transposed or cast."""
    node = found.get_node()
    if node.get_type_name() in ("Convert", "Reshape", "Transpose"):
        return _is_weight(node.input_value(0))
    return bool(node.get_type_name() == "Constant")


def _export_spark_nlp(folder: ModelFolder) -> list[Path]:
    """Write a graph that pools, and that derives the mask from the ids: Spark NLP itself treats padding as text."""
    graph = folder.path / SPARK_NLP / SPARK_NLP_GRAPH
    write_graph(_masked_by_ids(folder), ["input_ids", "attention_mask", "token_type_ids"], graph, is_one_file=True)
    vocabulary = graph.parent / "assets" / "vocab.txt"
    vocabulary.parent.mkdir()
    vocabulary.write_text("\n".join(list_vocabulary(folder)) + "\n", encoding="utf-8")
    _write_record(folder, SPARK_NLP)
    return [graph]


def _load_model(folder: ModelFolder) -> torch.nn.Module:
    from transformers import AutoModel

    # Eager attention: the engines fuse its operators themselves.
    model = AutoModel.from_pretrained(folder.path, trust_remote_code=False, use_safetensors=True, attn_implementation="eager")
    model.config.use_cache = False
    return model


def _packed(folder: ModelFolder) -> torch.nn.Module:
    """Return a network from ids, positions and texts (see PackedTexts) to the vectors of tokens."""
    import torch

    class Packed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = _load_model(folder)

        def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
            is_same_text = texts[:, :, None] == texts[:, None, :]
            mask = is_same_text.long() if folder.family == "BERT" else self._causal(is_same_text)
            hidden: torch.Tensor = self.model(input_ids=input_ids, attention_mask=mask, position_ids=position_ids).last_hidden_state
            return hidden

        def _causal(self, is_same_text: torch.Tensor) -> torch.Tensor:
            """Compute the additive mask of attention, which transformers passes through unchanged for the GPT family."""
            places = torch.arange(is_same_text.shape[1])
            is_seen = is_same_text & (places[None, :] <= places[:, None])
            return torch.where(is_seen, 0.0, torch.finfo(torch.float32).min)[:, None]

    return Packed().eval()


def _masked_by_ids(folder: ModelFolder) -> torch.nn.Module:
    """Return a network from token ids to vectors of length 1, which masks every token 0."""
    import torch

    class MaskedByIds(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = _load_model(folder)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor) -> torch.Tensor:
            # Adds zero: the exporter would drop an input that is not used.
            unused = 0 * (attention_mask + token_type_ids)
            mask = (input_ids != 0).long() + unused
            hidden = self.model(input_ids=input_ids, attention_mask=mask).last_hidden_state
            return torch.nn.functional.normalize(pooled(hidden, mask, folder.pooling), dim=1)

    return MaskedByIds().eval()


def write_graph(network: torch.nn.Module, inputs: Sequence[str], graph: Path, is_one_file: bool = False) -> None:
    """Write a network to an ONNX file in a new folder. Its output is named last_hidden_state.

    inputs:      names of the inputs, each int64 (texts, tokens)
    is_one_file: store the weights in the graph file, at most 2 GB, and not in a second file
    """
    import torch

    graph.parent.mkdir(parents=True)
    axes = (torch.export.Dim.AUTO, torch.export.Dim.AUTO)
    examples = tuple(torch.ones(2, 7, dtype=torch.int64) for _ in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        torch.onnx.export(
            network, examples, str(graph), input_names=list(inputs), output_names=["last_hidden_state"],
            dynamic_shapes=(axes,) * len(inputs), opset_version=OPSET, dynamo=True, external_data=not is_one_file, verbose=False,
        )  # fmt: skip


def _is_calibrated(graph: Path) -> bool:
    return (graph.parent.name, graph.name) == (OPENVINO, GRAPHS["int8"])


def _compare(folder: ModelFolder, graph: Path, texts: Sequence[str], expected: np.ndarray) -> Exported:
    """Compare a graph with torch. expected: the vectors of the texts by torch in fp32."""
    precision: Precision = "int8" if _is_calibrated(graph) else "fp32"
    if graph.parent.name == SPARK_NLP:
        vectors = _vectors_masked_by_ids(folder, graph, texts)
    else:
        vectors = OpenVinoEncoder(str(folder.path), folder.max_tokens, 1, precision).encode(texts, BATCH_TOKENS).vectors
    cosines = (vectors * expected).sum(axis=1)
    found = Exported(graph, len(texts), float(cosines.mean()), float(cosines.min()))
    if precision != "int8" and found.least_cosine < EXACT:
        text = texts[int(cosines.argmin())][:40]
        raise InterestTiersError(
            f"{graph} gives other vectors than {folder.path}: cosine {found.least_cosine:.4f} for the text {text!r}. "
            "Use embedding.backend torch for this model"
        )
    return found


def _vectors_masked_by_ids(folder: ModelFolder, graph: Path, texts: Sequence[str]) -> np.ndarray:
    """Run the graph as Spark NLP does: padded with 0, and with a mask of ones."""
    import onnxruntime

    tokenizer = TextTokenizer(folder, folder.max_tokens)
    padded, _ = tokenizer.padded(tokenizer(texts).ids)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    everything = np.ones_like(padded)
    given = {"input_ids": padded, "attention_mask": everything, "token_type_ids": np.zeros_like(padded)}
    vectors: np.ndarray = session.run(None, given)[0]
    return vectors
