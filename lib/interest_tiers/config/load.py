"""Reads a configuration file, applies ``--set`` overrides, and explains what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from interest_tiers.config.root import Config
from interest_tiers.config.section import suggest
from interest_tiers.errors import ConfigError

#: What to write where the data lack what a required key stands for. The keys are regular expressions.
WITHOUT = {
    r"interactions(\.\d+)?": "Name the files of events: interactions: {path: …, columns: …}",
    r"interactions(\.\d+)?\.columns\.user_id": "Where another table names the user, add it by interactions.join",
    r"interactions(\.\d+)?\.columns\.item_id": "Where another table names the item, add it by interactions.join",
    r"interactions(\.\d+)?\.columns\.occurred_at": "Where the data have no times, write occurred_at: {literal: 2015-01-01}",
    r"interactions(\.\d+)?\.columns\.behaviour": "Where all rows are of one kind, write behaviour: {literal: purchase}",
    "behaviours": "Give every behaviour a weight, such as behaviours: {view: 0.2, purchase: 1.0}",
    "items": "Where there is no catalogue, describe items by the events: items: {path: as in interactions, columns: …}",
}

#: What YAML makes of plain keys such as 0, 1.5 or 2024-01-01.
_KEYS_AS_TEXT = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp"))


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read and validate a configuration file.

    overrides: texts of the form ``a.b=value``, value as YAML; applied in order before validation.
    Raises ConfigError with one line per fault.
    """
    path = Path(path)
    try:
        tree = _parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the config: {error.strerror}. Give an existing file with --config") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that does not exist
        raise ConfigError(f"{path}: not a YAML text: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys such as name and interactions, found {type(tree).__name__}")
    for override in overrides:
        _apply_override(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        faults = "\n".join(_describe_fault({**fault, "loc": _as_written(fault["loc"], tree)}) for fault in error.errors())
        raise ConfigError(f"{path}: {faults}" if error.error_count() == 1 else f"{path}:\n{faults}") from error


def _parse_yaml(text: str) -> Any:
    """Parse a YAML text. Keys that YAML takes for numbers or dates stay text; ConfigError for those that it takes for yes or no."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        _take_keys_as_text(node, [], set())
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _take_keys_as_text(node: yaml.Node | None, parents: list[str], seen: set[int]) -> None:
    if node is None or id(node) in seen:  # an alias may lead back to a node above it
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for position, element in enumerate(node.value):
            _take_keys_as_text(element, [*parents, str(position)], seen)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value == "on" and any(other.value == "path" for other, _ in node.value):  # a join; to YAML 1.1 this is true
                key.tag = "tag:yaml.org,2002:str"
            if key.tag in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"):
                where = ".".join(parents) or f"line {key.start_mark.line + 1}"
                kind = "yes-or-no" if key.tag.endswith("bool") else "missing"
                raise ConfigError(f"{where}: the key {key.value} is a {kind} value in YAML; put it in quotes: '{key.value}'")
            if key.tag in _KEYS_AS_TEXT:
                key.tag = "tag:yaml.org,2002:str"
            _take_keys_as_text(value, [*parents, key.value], seen)


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not re.fullmatch(r"[\w\-]+(\.[\w\-]+)*", key):
        raise ConfigError(f"--set {override}: expected a.b=value, for example clustering.k=[8,12]")
    try:
        value = _parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"--set {override}: {error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {override}: the value is not YAML: {' '.join(str(error).split())}") from error
    *parents, leaf = key.split(".")
    node: Any = tree
    for parent in parents:
        if node.get(parent) is None:
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override}: {parent} is {node!r}, which has no keys below it")
    node[leaf] = value


def _as_written(location: Sequence[Any], tree: dict[str, Any]) -> tuple[Any, ...]:
    """Return the location of a fault in the file: without pydantic's names of alternatives, or the position of a single source."""
    parts = tuple(part for part in location if part not in ("str", "SqlColumn", "Explode"))
    return parts[:1] + parts[2:] if parts[:1] == ("interactions",) and isinstance(tree.get("interactions"), dict) else parts


def _describe_fault(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        known = _sibling_keys(fault["loc"])
        return f"unknown key {'.'.join(map(str, fault['loc']))}{suggest(str(fault['loc'][-1]), known)}; known here: {', '.join(known)}"
    # A part such as [key] is pydantic's own.
    location = [part for part in fault["loc"] if not (isinstance(part, str) and "[" in part)]
    key = ".".join(map(str, location)) or "config"
    if fault["type"] == "missing":
        return f"the key {key} is missing{_advise(key)}"
    message = fault["msg"].removeprefix("Value error, ")
    if isinstance(fault["input"], dict):
        return f"{key}: {message}"
    if fault["type"] == "string_type" and isinstance(fault["input"], bool | int | float | date):
        # YAML reads yes, no, on, off and digits as other things than text.
        message += "; to YAML this is no text, so put it in quotes"
    return f"{key} is not set: {message}" if fault["input"] is None else f"{key} is {fault['input']!r}: {message}"


def _advise(key: str) -> str:
    """Return the end of a message on a missing key that says what to write where the data lack the thing; empty for most keys."""
    advice = (advice for pattern, advice in WITHOUT.items() if re.fullmatch(pattern, key))
    return next((f". {each}" for each in advice), "")


def _sibling_keys(location: Sequence[Any]) -> list[str]:
    """Return the keys of the section that holds the last part of a location."""
    section: type[BaseModel] = Config
    for part in location[:-1]:
        field = section.model_fields.get(str(part))
        if field is None:
            continue
        candidates = [field.annotation, *get_args(field.annotation)]
        section = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), section)
    return list(section.model_fields)
