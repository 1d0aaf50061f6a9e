"""Exported graphs against torch, on texts that go wrong elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from interest_tiers.config import Embedding, Precision
from interest_tiers.embedding import export
from interest_tiers.embedding.backends import require_backend, worker_encoder
from interest_tiers.embedding.encoder import SentenceEncoder
from interest_tiers.embedding.export import export_encoder
from interest_tiers.embedding.model_folder import fingerprint_encoder, model_id, read_model_folder
from interest_tiers.embedding.openvino_encoder import GRAPHS, OpenVinoEncoder, import_openvino
from interest_tiers.errors import ConfigError, InterestTiersError
from tests.embedding.folders import small_bert, small_gpt
from tests.embedding.test_encoder import AWKWARD, cosines

pytestmark = pytest.mark.slow

LIMIT = 64

PRECISE: tuple[Precision, ...] = ("fp32", "bf16")
FP32_AND_INT8: tuple[Precision, ...] = ("fp32", "int8")
PRECISE_AND_INT8: tuple[Precision, ...] = ("bf16", "int8")

#: int8 needs to know how large activations become.
CALIBRATION_TEXTS = [*AWKWARD, "whole milk and bread", "a cordless drill with two batteries", "I really like these eye masks."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small model of each kind, exported; each graph takes seconds, and one of them is enough for Spark NLP and for int8 by OpenVINO."""
    made = tmp_path_factory.mktemp("models")
    sources = {
        "BERT mean": small_bert(made / "bert"),
        "BERT cls": small_bert(made / "cls", "cls"),
        "GPT": small_gpt(made / "gpt", "lasttoken"),
    }
    exported = {name: made / "exported" / Path(source).name for name, source in sources.items()}
    export_encoder(sources["BERT mean"], exported["BERT mean"], CALIBRATION_TEXTS)
    export_encoder(sources["GPT"], exported["GPT"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "find_left_out", lambda folder: {"sparknlp": "one is enough"})
        export_encoder(sources["BERT cls"], exported["BERT cls"])
    return {name: str(folder) for name, folder in exported.items()}


@pytest.mark.parametrize("name", ["BERT mean", "BERT cls", "GPT"])
@pytest.mark.parametrize("batch_tokens", [8, 300, 100_000])
def test_a_graph_gives_the_vectors_of_torch(folders: dict[str, str], name: str, batch_tokens: int) -> None:
    expected = SentenceEncoder(folders[name], LIMIT, "cpu", threads=1, precision="fp32").encode(AWKWARD, 1024)
    got = OpenVinoEncoder(folders[name], LIMIT, threads=1, precision="fp32").encode(AWKWARD, batch_tokens)
    assert cosines(got.vectors, expected.vectors).min() > 0.9999
    assert np.linalg.norm(got.vectors, axis=1) == pytest.approx(np.ones(len(AWKWARD)), abs=1e-5)
    assert got.is_cut.tolist() == expected.is_cut.tolist()
    assert sum(got.is_cut) > 0


def test_int8_is_near_and_other_than_fp32(folders: dict[str, str]) -> None:
    exact, whole = (OpenVinoEncoder(folders["BERT mean"], LIMIT, 1, p).encode(AWKWARD, 1024).vectors for p in FP32_AND_INT8)
    assert 0.98 < cosines(exact, whole).min() < 0.99999


def test_bf16_is_as_exact_as_the_default_has_to_be(folders: dict[str, str]) -> None:
    exact, rounded = (OpenVinoEncoder(folders["BERT mean"], LIMIT, 1, precision).encode(AWKWARD, 1024).vectors for precision in PRECISE)
    assert cosines(exact, rounded).min() > 0.999


def test_int8_of_measured_ranges_does_not_depend_on_neighbours(folders: dict[str, str]) -> None:
    encoder = OpenVinoEncoder(folders["BERT mean"], LIMIT, 1, "int8")
    alone = np.vstack([encoder.encode([text], 1024).vectors for text in AWKWARD])
    assert cosines(encoder.encode(AWKWARD, 1024).vectors, alone).min() > 0.9999


def test_attention_stays_out_of_int8(folders: dict[str, str]) -> None:
    openvino = import_openvino()
    exact, whole = (openvino.Core().read_model(Path(folders["BERT mean"]) / "openvino" / name) for name in GRAPHS.values())
    products = {node.get_friendly_name(): node for node in whole.get_ops() if node.get_type_name() == "MatMul"}
    attention = set(export._products_of_activations(exact))
    assert (len(attention), len(products)) == (2, 8)  # of one layer: queries by keys, weights by values; four and two by weights
    in_bytes = {
        name
        for name, node in products.items()
        if "FakeQuantize" in {of.get_source_output().get_node().get_type_name() for of in node.inputs()}
    }
    assert in_bytes == products.keys() - attention


def test_the_graph_of_spark_nlp_takes_padding_for_nothing(folders: dict[str, str]) -> None:
    folder = read_model_folder(folders["BERT mean"])
    texts = [text for text in AWKWARD if "[PAD]" not in text]  # who writes the name of the padding is taken at their word
    vectors = export._vectors_masked_by_ids(folder, folder.path / "sparknlp" / "model.onnx", texts)
    expected = SentenceEncoder(folders["BERT mean"], folder.max_tokens, "cpu", threads=1, precision="fp32").encode(texts, 1024).vectors
    assert cosines(vectors, expected).min() > 0.9999


def test_the_vocabulary_stands_in_the_order_of_its_ids(folders: dict[str, str]) -> None:
    folder = read_model_folder(folders["BERT mean"])
    words = (folder.path / "sparknlp" / "assets" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert len(words) == 30522
    assert (words[0], words[101], words[6501]) == ("[PAD]", "[CLS]", "milk")
    assert not (Path(folders["GPT"]) / "sparknlp").exists()


def test_an_export_keeps_the_fingerprint(folders: dict[str, str], tmp_path: Path) -> None:
    source = small_bert(tmp_path / "bert")
    assert model_id(Embedding(model=folders["BERT mean"], backend="openvino")) == model_id(Embedding(model=source))


def test_int8_has_the_id_of_what_it_was_calibrated_on(folders: dict[str, str], tmp_path: Path) -> None:
    made = shutil.copytree(folders["BERT mean"], tmp_path / "bert")
    exact, whole = (Embedding(model=str(made), backend="openvino", precision=precision) for precision in PRECISE_AND_INT8)
    first = model_id(whole)
    assert first.startswith(f"{model_id(exact)}-int8-")
    record = made / "openvino" / "export.json"
    said = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps(said | {"calibration": "of others"}), encoding="utf-8")
    assert model_id(whole) == f"{model_id(exact)}-int8-of others"
    assert first == f"{model_id(exact)}-int8-{said['calibration']}"


def test_int8_without_calibration_is_refused_with_the_command_that_makes_it(folders: dict[str, str]) -> None:
    config = Embedding(model=folders["GPT"], backend="openvino", precision="int8")
    for asked in (require_backend, model_id):
        with pytest.raises(ConfigError, match=r"openvino has no graph of it\. Run export_encoder .* --calibration-texts FILE"):
            asked(config)
    require_backend(Embedding(model=folders["GPT"], backend="openvino"))


def test_calibration_for_an_engine_that_is_left_out_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_missing_packages", lambda names: [name for name in names if name == "openvino"])
    source = small_bert(tmp_path / "bert")
    assert export.find_left_out(read_model_folder(source)) == {"openvino": "it needs openvino: pip install 'interest-tiers[openvino]'"}
    with pytest.raises(ConfigError, match="is for openvino, which is left out: it needs openvino"):
        export_encoder(source, tmp_path / "made", ["milk"])
    assert not (tmp_path / "made").exists()


def test_a_worker_loads_a_model_once(folders: dict[str, str]) -> None:
    worker_encoder.cache_clear()
    torch = Embedding(model=folders["BERT mean"], precision="fp32")
    openvino = Embedding(model=folders["BERT mean"], backend="openvino", precision="fp32")
    fingerprint = fingerprint_encoder(torch)
    first = worker_encoder(openvino, "cpu", 2, fingerprint)
    assert worker_encoder(openvino, "cpu", 2, fingerprint) is first
    assert worker_encoder.cache_info().misses == 1
    assert isinstance(first, OpenVinoEncoder)
    assert isinstance(worker_encoder(torch, "cpu", 2, fingerprint), SentenceEncoder)
    worker_encoder.cache_clear()


def test_a_worker_loads_the_model_that_replaced_another_in_its_folder(tmp_path: Path) -> None:
    config = Embedding(model=small_bert(tmp_path / "model"), precision="fp32")
    worker_encoder.cache_clear()
    first = worker_encoder(config, "cpu", 1, fingerprint_encoder(config)).encode(["milk"], 1024).vectors
    shutil.rmtree(config.model)
    small_gpt(Path(config.model), "mean")
    replaced = worker_encoder(config, "cpu", 1, fingerprint_encoder(config)).encode(["milk"], 1024).vectors
    expected = SentenceEncoder(config.model, config.max_tokens, "cpu", threads=1).encode(["milk"], 1024).vectors
    assert replaced == pytest.approx(expected, abs=1e-6)
    assert cosines(replaced, first).max() < 0.9
    worker_encoder.cache_clear()


def test_the_fingerprint_of_int8_changes_with_its_calibration(folders: dict[str, str], tmp_path: Path) -> None:
    made = shutil.copytree(folders["BERT mean"], tmp_path / "bert")
    exact, whole = (Embedding(model=str(made), backend="openvino", precision=precision) for precision in FP32_AND_INT8)
    before = fingerprint_encoder(whole), fingerprint_encoder(exact)
    (made / "openvino" / "export.json").write_text(json.dumps({"calibration": "other"}), encoding="utf-8")
    assert fingerprint_encoder(whole) == f"{before[1]}-int8-other" != before[0]
    assert fingerprint_encoder(exact) == before[1] == read_model_folder(str(made)).fingerprint


def test_a_model_that_no_backend_can_be_exported_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = small_gpt(tmp_path / "gpt", "mean")
    monkeypatch.setattr(export, "find_missing_packages", lambda names: ["onnxscript"])
    with pytest.raises(ConfigError) as raised:
        export_encoder(source, tmp_path / "made")
    assert str(raised.value) == (
        f"--model is {source!r}, and no backend is left to export for: openvino: it needs onnxscript: "
        "pip install 'interest-tiers[openvino]'; sparknlp: it is a gpt2, not a bert. Use embedding.backend torch"
    )
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("backend", ["openvino", "sparknlp"])
def test_a_folder_without_the_graph_is_refused_with_the_command_that_makes_it(tmp_path: Path, backend: str) -> None:
    config = Embedding(model=small_bert(tmp_path / "bert"), backend=backend)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"has no {backend}/export\.json\. Run interest-tiers export_encoder"):
        require_backend(config)


def test_a_graph_of_other_weights_is_refused(folders: dict[str, str], tmp_path: Path) -> None:
    made = shutil.copytree(folders["GPT"], tmp_path / "made")
    record = made / "openvino" / "export.json"
    record.write_text(json.dumps({"fingerprint": "of another"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="exported from other weights"):
        require_backend(Embedding(model=str(made), backend="openvino"))


def test_an_engine_that_is_not_installed_is_named(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs nncf, openvino: pip install 'interest-tiers\[openvino\]'"):
        require_backend(Embedding(model=folders["GPT"], backend="openvino"))


def test_nothing_is_written_over(folders: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"exists already\. Name a new folder"):
        export_encoder(folders["GPT"], Path(folders["GPT"]))


def test_a_graph_that_gives_other_vectors_is_refused(folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph of the same weights that pools the mean, where the first token is configured."""
    source, other = small_bert(tmp_path / "bert", "cls"), Path(folders["BERT mean"]) / "sparknlp" / "model.onnx"

    def write_other(network: object, inputs: list[str], graph: Path, is_one_file: bool) -> None:
        graph.parent.mkdir(parents=True)
        shutil.copyfile(other, graph)

    monkeypatch.setattr(export, "find_left_out", lambda folder: {"openvino": "one graph is enough"})
    monkeypatch.setattr(export, "write_graph", write_other)
    with pytest.raises(InterestTiersError, match=r"gives other vectors than .* Use embedding\.backend torch for this model"):
        export_encoder(source, tmp_path / "made")
    assert not (tmp_path / "made").exists()
