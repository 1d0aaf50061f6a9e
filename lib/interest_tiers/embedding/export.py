"""A model folder with the graphs that the backends onnx and sparknlp run beside its weights."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interest_tiers.config import Precision
from interest_tiers.embedding.encoder import SentenceEncoder, TextTokenizer, pooled
from interest_tiers.embedding.model_folder import ModelFolder, Pooling, read_model_folder
from interest_tiers.embedding.onnx_encoder import GRAPHS, ONNX, RECORD, SPARK_NLP, OnnxEncoder
from interest_tiers.embedding.word_pieces import spark_nlp_vocabulary, unfit_for_spark_nlp
from interest_tiers.errors import ConfigError, InterestTiersError

if TYPE_CHECKING:
    import torch

#: Of the operators, as ONNX counts its versions; the first with GELU in one piece.
OPSET = 20

#: Below this, a graph does not do what the model does.
EXACT = 0.999

BATCH_TOKENS = 1024

#: Every export embeds these and compares: short and long, without any token, in several scripts.
CHECKED_TEXTS = (
    "", "milk", "FLUID MILK PRODUCTS FLUID MILK WHITE ONLY Private", "Crème brûlée à la façon d'Île-de-France",
    "全脂牛乳 有機", "حليب كامل الدسم", "\U0001f36e\U0001f95b", "!!! ... ???", "0 1 2 3 17850.0", "word " * 300,
    "I really like these eye mask patches. They work so well, and they smell nice too.", "antidisestablishmentarianism" * 9,
)  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A graph, and the cosines of its vectors of CHECKED_TEXTS with those of torch in fp32."""

    graph: Path
    mean_cosine: float
    least_cosine: float


def export_encoder(model: str, target: Path) -> list[Exported]:
    """Copy a model folder to target, with graphs for the backend onnx, and for sparknlp where the model is one that it can run.

    The folder keeps its fingerprint: what one backend has embedded, no other embeds again.
    Raises ConfigError when target is there, and InterestTiersError when a graph gives other vectors than the model.
    """
    if target.exists():
        raise ConfigError(f"--to is {target}, which is there already; name a folder that is not")
    source = read_model_folder(model)
    # Put in place when all is made and compared: nothing half-made bears the name.
    new = target.with_name(f"{target.name}.new")
    if new.exists():
        shutil.rmtree(new)
    shutil.copytree(source.path, new, ignore=shutil.ignore_patterns(ONNX, SPARK_NLP, "__pycache__", "*.bin", "*.h5", "*.msgpack"))
    folder = replace(source, path=new)
    graphs = _graphs(folder)
    expected = SentenceEncoder(str(new), folder.max_tokens, "cpu", threads=1, precision="fp32").encode(CHECKED_TEXTS, BATCH_TOKENS).vectors
    found = [_checked(folder, graph, expected) for graph in graphs]
    new.rename(target)
    return [replace(made, graph=target / made.graph.relative_to(new)) for made in found]


def _graphs(folder: ModelFolder) -> list[Path]:
    graphs = [_export_onnx(folder), _quantise(folder)]
    if unfit_for_spark_nlp(folder) is None:
        graphs.append(_export_spark_nlp(folder))
    record = json.dumps({"fingerprint": folder.fingerprint, "opset": OPSET})
    for part in sorted({graph.parent for graph in graphs}):
        (part / RECORD).write_text(record, encoding="utf-8")
    return graphs


def _export_onnx(folder: ModelFolder) -> Path:
    graph = folder.path / ONNX / GRAPHS["fp32"]
    write_graph(_network(folder), ["input_ids", "attention_mask"], graph)
    return graph


def _export_spark_nlp(folder: ModelFolder) -> Path:
    """With pooling inside, and the mask made from the ids: Spark NLP takes padding for text in both."""
    graph = folder.path / SPARK_NLP / GRAPHS["fp32"]
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    write_graph(_masked_by_ids(_network(folder)), inputs, graph, output="last_hidden_state", is_one_file=True)
    vocabulary = graph.parent / "assets" / "vocab.txt"
    vocabulary.parent.mkdir()
    vocabulary.write_text("\n".join(spark_nlp_vocabulary(folder)) + "\n", encoding="utf-8")
    return graph


def _network(folder: ModelFolder) -> torch.nn.Module:
    """Token ids and their mask to vectors of length 1."""
    import torch
    from transformers import AutoModel

    class Network(torch.nn.Module):
        def __init__(self, model: torch.nn.Module, pooling: Pooling) -> None:
            super().__init__()
            self.model, self.pooling = model, pooling

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return torch.nn.functional.normalize(pooled(hidden, attention_mask, self.pooling), dim=1)

    # Attention written out: ONNX Runtime puts its parts together itself.
    model = AutoModel.from_pretrained(folder.path, trust_remote_code=False, use_safetensors=True, attn_implementation="eager")
    model.config.use_cache = False
    return Network(model, folder.pooling).eval()


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


def _checked(folder: ModelFolder, graph: Path, expected: np.ndarray) -> Exported:
    """expected: torch's vectors of CHECKED_TEXTS."""
    if graph.parent.name == SPARK_NLP:
        vectors = _vectors_masked_by_ids(folder, graph, CHECKED_TEXTS)
    else:
        precision: Precision = "int8" if graph.name == GRAPHS["int8"] else "fp32"
        vectors = OnnxEncoder(str(folder.path), folder.max_tokens, 1, precision).encode(CHECKED_TEXTS, BATCH_TOKENS).vectors
    cosines = (vectors * expected).sum(axis=1)
    found = Exported(graph, float(cosines.mean()), float(cosines.min()))
    if graph.name != GRAPHS["int8"] and found.least_cosine < EXACT:
        text = CHECKED_TEXTS[int(cosines.argmin())][:40]
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
