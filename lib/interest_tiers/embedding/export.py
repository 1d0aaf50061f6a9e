"""A model folder with the graphs that the backends onnx, openvino and sparknlp run beside its weights."""

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
from interest_tiers.embedding import openvino_encoder
from interest_tiers.embedding.backends import missing_packages, unfit_for
from interest_tiers.embedding.encoder import SentenceEncoder, TextTokenizer, pooled
from interest_tiers.embedding.model_folder import ONNX, OPENVINO, RECORD, SPARK_NLP, ModelFolder, Pooling, read_model_folder
from interest_tiers.embedding.onnx_encoder import GRAPHS, OnnxEncoder
from interest_tiers.embedding.openvino_encoder import INPUTS, OpenVinoEncoder, graph_inputs, import_openvino
from interest_tiers.embedding.packed_texts import pack
from interest_tiers.embedding.word_pieces import spark_nlp_vocabulary
from interest_tiers.errors import ConfigError, InterestTiersError

if TYPE_CHECKING:
    import openvino
    import torch

#: Of the operators, as ONNX counts its versions; the first with GELU in one piece.
OPSET = 20

#: Below this, a graph does not do what the model does.
EXACT = 0.999

BATCH_TOKENS = 1024

#: The range of activations is the mean of those of batches so small.
CALIBRATION_TOKENS = 128

#: Every export embeds these and compares: short and long, without any token, in several scripts.
CHECKED_TEXTS = (
    "", "milk", "FLUID MILK PRODUCTS FLUID MILK WHITE ONLY Private", "Crème brûlée à la façon d'Île-de-France",
    "全脂牛乳 有機", "حليب كامل الدسم", "\U0001f36e\U0001f95b", "!!! ... ???", "0 1 2 3 17850.0", "word " * 300,
    "I really like these eye mask patches. They work so well, and they smell nice too.", "antidisestablishmentarianism" * 9,
)  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A graph, and the cosines of its vectors with those of torch in fp32: of CHECKED_TEXTS, or of those that it was calibrated on."""

    graph: Path
    texts: int
    mean_cosine: float
    least_cosine: float


def export_encoder(model: str, target: Path, calibration_texts: Sequence[str] = ()) -> list[Exported]:
    """Copy a model folder to target, with graphs for the backend onnx, and for openvino and sparknlp unless left_out names them.

    The folder keeps its fingerprint: what one backend has embedded, no other embeds again.
    calibration_texts: some hundreds such as will be embedded, from which int8 by OpenVINO has the ranges of activations; none: no int8.
    Raises ConfigError when target is there or openvino is left out in spite of calibration_texts, and InterestTiersError when a graph gives
    other vectors than the model.
    """
    if target.exists():
        raise ConfigError(f"--to is {target}, which is there already; name a folder that is not")
    source = read_model_folder(model)
    without = left_out(source)
    if calibration_texts and OPENVINO in without:
        raise ConfigError(f"--calibration-texts is for openvino, which is left out: {without[OPENVINO]}")
    # Put in place when all is made and compared: nothing half-made bears the name.
    new = target.with_name(f"{target.name}.new")
    if new.exists():
        shutil.rmtree(new)
    parts = (ONNX, OPENVINO, SPARK_NLP)
    shutil.copytree(source.path, new, ignore=shutil.ignore_patterns(*parts, "__pycache__", "*.bin", "*.h5", "*.msgpack"))
    folder = replace(source, path=new)
    graphs = _export_onnx(folder)
    if OPENVINO not in without:
        graphs += _export_openvino(folder, calibration_texts)
    if SPARK_NLP not in without:
        graphs += _export_spark_nlp(folder)
    exact = SentenceEncoder(str(new), folder.max_tokens, "cpu", threads=1, precision="fp32")

    @cache
    def expected(texts: tuple[str, ...]) -> np.ndarray:
        return exact.encode(texts, BATCH_TOKENS).vectors

    texts_of = {graph: tuple(calibration_texts) if _is_calibrated(graph) else CHECKED_TEXTS for graph in graphs}
    found = [_checked(folder, graph, texts, expected(texts)) for graph, texts in texts_of.items()]
    new.rename(target)
    return [replace(made, graph=target / made.graph.relative_to(new)) for made in found]


def left_out(folder: ModelFolder) -> dict[Backend, str]:
    """The backends that an export makes no graph for, and why."""
    reasons: dict[Backend, str | None] = {backend: unfit_for(backend, folder) for backend in (OPENVINO, SPARK_NLP)}
    missing = missing_packages(OPENVINO)
    if missing:
        reasons[OPENVINO] = f"it needs {', '.join(missing)}: pip install 'interest-tiers[openvino]'"
    return {backend: reason for backend, reason in reasons.items() if reason is not None}


def _record(folder: ModelFolder, backend: Backend, **further: str) -> None:
    said = {"fingerprint": folder.fingerprint, "opset": OPSET, **further}
    (folder.path / backend / RECORD).write_text(json.dumps(said), encoding="utf-8")


def _export_onnx(folder: ModelFolder) -> list[Path]:
    graph = folder.path / ONNX / GRAPHS["fp32"]
    write_graph(_network(folder), ["input_ids", "attention_mask"], graph)
    _record(folder, ONNX)
    return [graph, _quantise(folder)]


def _export_openvino(folder: ModelFolder, calibration_texts: Sequence[str]) -> list[Path]:
    """With the vectors of tokens; where each text begins and ends in its row, and the pooling by it, is not the graph's."""
    openvino = import_openvino()
    exact, whole = (folder.path / OPENVINO / openvino_encoder.GRAPHS[precision] for precision in ("fp32", "int8"))
    with TemporaryDirectory(dir=folder.path) as place:
        written = Path(place) / "graph" / "model.onnx"
        write_graph(_packed(folder), INPUTS, written, output="last_hidden_state")
        network = openvino.Core().read_model(written)
        openvino.save_model(network, exact, compress_to_fp16=False)
        if not calibration_texts:
            _record(folder, OPENVINO)
            return [exact]
        openvino.save_model(_calibrated(network, folder, calibration_texts), whole)
    with whole.with_suffix(".bin").open("rb") as weights_and_ranges:
        _record(folder, OPENVINO, calibration=hashlib.file_digest(weights_and_ranges, "sha256").hexdigest()[:12])
    return [exact, whole]


def _calibrated(network: openvino.Model, folder: ModelFolder, texts: Sequence[str]) -> openvino.Model:
    """Weights and activations of matrix products in 8 bits, the ranges of activations as these texts have them.

    Source: NNCF, post-training quantisation of transformers; Xiao et al. 2023, SmoothQuant.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    ids = TextTokenizer(folder, folder.max_tokens)(texts).ids
    given = [graph_inputs(packed, folder.first_position) for packed in pack(ids, CALIBRATION_TOKENS)]
    return nncf.quantize(
        network,
        nncf.Dataset(given),
        subset_size=len(given),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.PERFORMANCE,  # zero stays zero: a quarter faster, and as exact
        # Weights of 7 bits: processors without VNNI add products in 16 bits, which would overflow; so all give the same vectors.
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        # Attention stays as it is: in 8 bits it is no faster, and OpenVINO 2026.4 gets rows of 32 tokens wrong with AMX.
        ignored_scope=nncf.IgnoredScope(names=_products_of_activations(network)),
    )


def _products_of_activations(network: openvino.Model) -> list[str]:
    """Names of the matrix products without weights, which are those of attention."""
    products = [node for node in network.get_ops() if node.get_type_name() == "MatMul"]
    return [product.get_friendly_name() for product in products if not any(_is_weight(of.get_source_output()) for of in product.inputs())]


def _is_weight(found: openvino.Output) -> bool:
    """Whether it is a constant, as it stands or put in another shape or type."""
    node = found.get_node()
    if node.get_type_name() in ("Convert", "Reshape", "Transpose"):
        return _is_weight(node.input_value(0))
    return bool(node.get_type_name() == "Constant")


def _export_spark_nlp(folder: ModelFolder) -> list[Path]:
    """With pooling inside, and the mask made from the ids: Spark NLP takes padding for text in both."""
    graph = folder.path / SPARK_NLP / GRAPHS["fp32"]
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    write_graph(_masked_by_ids(_network(folder)), inputs, graph, output="last_hidden_state", is_one_file=True)
    vocabulary = graph.parent / "assets" / "vocab.txt"
    vocabulary.parent.mkdir()
    vocabulary.write_text("\n".join(spark_nlp_vocabulary(folder)) + "\n", encoding="utf-8")
    _record(folder, SPARK_NLP)
    return [graph]


def _network(folder: ModelFolder) -> torch.nn.Module:
    """Token ids and their mask to vectors of length 1."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self, model: torch.nn.Module, pooling: Pooling) -> None:
            super().__init__()
            self.model, self.pooling = model, pooling

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return torch.nn.functional.normalize(pooled(hidden, attention_mask, self.pooling), dim=1)

    return Network(_model(folder), folder.pooling).eval()


def _model(folder: ModelFolder) -> torch.nn.Module:
    from transformers import AutoModel

    # Attention written out: the engines put its parts together themselves.
    model = AutoModel.from_pretrained(folder.path, trust_remote_code=False, use_safetensors=True, attn_implementation="eager")
    model.config.use_cache = False
    return model


def _packed(folder: ModelFolder) -> torch.nn.Module:
    """Token ids, their positions and the numbers of their texts, as PackedTexts has them, to the vectors of the tokens."""
    import torch

    class Packed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = _model(folder)

        def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
            is_same_text = texts[:, :, None] == texts[:, None, :]
            mask = is_same_text.long() if folder.family == "BERT" else self._causal(is_same_text)
            hidden: torch.Tensor = self.model(input_ids=input_ids, attention_mask=mask, position_ids=position_ids).last_hidden_state
            return hidden

        def _causal(self, is_same_text: torch.Tensor) -> torch.Tensor:
            """What is added to the products of attention, which transformers takes as it is for the GPT family."""
            places = torch.arange(is_same_text.shape[1])
            is_seen = is_same_text & (places[None, :] <= places[:, None])
            return torch.where(is_seen, 0.0, torch.finfo(torch.float32).min)[:, None]

    return Packed().eval()


def _masked_by_ids(network: torch.nn.Module) -> torch.nn.Module:
    import torch

    class MaskedByIds(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor) -> torch.Tensor:
            # Nothing is added, but an input that the graph does not use would be left out of it.
            unused = 0 * (attention_mask + token_type_ids)
            vectors: torch.Tensor = self.network(input_ids, (input_ids != 0).long() + unused)
            return vectors

    return MaskedByIds().eval()


def write_graph(network: torch.nn.Module, inputs: Sequence[str], graph: Path, output: str = "vectors", is_one_file: bool = False) -> None:
    """Write a network to an ONNX file in a new folder.

    inputs: names of what it takes, each int64 of texts by tokens. output: name of what it gives, the first of several.
    is_one_file: the weights stand in the graph itself, which then has 2 GB at most; otherwise beside it.
    """
    import torch

    graph.parent.mkdir(parents=True)
    axes = (torch.export.Dim.AUTO, torch.export.Dim.AUTO)
    examples = tuple(torch.ones(2, 7, dtype=torch.int64) for _ in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own parts
        torch.onnx.export(
            network, examples, str(graph), input_names=list(inputs), output_names=[output], dynamic_shapes=(axes,) * len(inputs),
            opset_version=OPSET, dynamo=True, external_data=not is_one_file, verbose=False,
        )  # fmt: skip


def _quantise(folder: ModelFolder) -> Path:
    """Weights of matrix products in 8 bits, per channel; the range of activations is taken as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    exact, graph = (folder.path / ONNX / GRAPHS[precision] for precision in ("fp32", "int8"))
    quantize_dynamic(
        exact, graph, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8, use_external_data_format=True
    )
    return graph


def _is_calibrated(graph: Path) -> bool:
    return (graph.parent.name, graph.name) == (OPENVINO, openvino_encoder.GRAPHS["int8"])


def _checked(folder: ModelFolder, graph: Path, texts: Sequence[str], expected: np.ndarray) -> Exported:
    """expected: torch's vectors of the texts in fp32."""
    precision: Precision = "int8" if graph.stem.endswith("int8") else "fp32"
    if graph.parent.name == SPARK_NLP:
        vectors = _vectors_masked_by_ids(folder, graph, texts)
    else:
        engine = OpenVinoEncoder if graph.parent.name == OPENVINO else OnnxEncoder
        vectors = engine(str(folder.path), folder.max_tokens, 1, precision).encode(texts, BATCH_TOKENS).vectors
    cosines = (vectors * expected).sum(axis=1)
    found = Exported(graph, len(texts), float(cosines.mean()), float(cosines.min()))
    if precision != "int8" and found.least_cosine < EXACT:
        text = texts[int(cosines.argmin())][:40]
        raise InterestTiersError(
            f"{graph} gives other vectors than {folder.path}: a cosine of {found.least_cosine:.4f} for the text {text!r}. "
            "Use embedding.backend torch for this model"
        )
    return found


def _vectors_masked_by_ids(folder: ModelFolder, graph: Path, texts: Sequence[str]) -> np.ndarray:
    """As Spark NLP runs the graph: padded with 0, everything called text."""
    import onnxruntime

    tokenizer = TextTokenizer(folder, folder.max_tokens)
    padded, _ = tokenizer.padded(tokenizer(texts).ids)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    everything = np.ones_like(padded)
    given = {"input_ids": padded, "attention_mask": everything, "token_type_ids": np.zeros_like(padded)}
    vectors: np.ndarray = session.run(None, given)[0]
    return vectors
