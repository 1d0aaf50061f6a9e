"""Looks at the machine before a run: Java, Python, packages, jars, memory, disk, network names and ports, config. Starts no JVM."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from interest_tiers.errors import ConfigError

GIBIBYTE = 1024**3

#: Free disk that staging tables of a first run need, and memory beside the driver's for Python's workers.
LEAST_FREE_BYTES, WORKER_BYTES = 5 * GIBIBYTE, 1 * GIBIBYTE

JAVA_SECONDS = 20

#: 3.12 is that of newer Databricks runtimes.
PYTHONS = ((3, 11), (3, 12))

#: Packages that bring the same module.
ALTERNATIVES = {"xgboost": "xgboost-cpu"}

UNITS = {"k": 1024, "m": 1024**2, "g": GIBIBYTE, "t": 1024 * GIBIBYTE}


@dataclass(frozen=True)
class Check:
    """What was looked at. advice: what to do; empty where nothing is wrong. is_note: the advice is no fault."""

    name: str
    found: str
    advice: str = ""
    is_note: bool = False

    @property
    def is_fault(self) -> bool:
        return bool(self.advice) and not self.is_note


def examine(config: str | None, overrides: Sequence[str], warehouse: str | None) -> list[Check]:
    """Look at everything that a run needs, in the order in which a run needs it."""
    settings = _settings()
    checks = [check_python(sys.version_info[:2]), *check_packages(), check_java(), check_jars(settings)]
    checks += [check_memory(settings, _memory()), check_disk(_existing(Path(warehouse or "."))), check_host()]
    return [*checks, *check_config(config, overrides)]


def check_python(found: tuple[int, ...]) -> Check:
    """Require a Python that Spark and the packages are tested with."""
    text = ".".join(map(str, found))
    return Check("Python", text, "" if found in PYTHONS else "Python 3.11 is needed: make PYTHON=/path/to/python3.11 demo")


def check_packages() -> Iterator[Check]:
    """Compare the installed packages with what this one asks for."""
    from packaging.requirements import Requirement

    try:
        asked = [Requirement(line) for line in requires("interest-tiers") or []]
    except PackageNotFoundError:
        yield Check("packages", "interest-tiers is not installed", "pip install -r requirements.lock && pip install --no-deps -e .")
        return
    faults = []
    for requirement in asked:
        # A run in local mode needs Spark too, which platforms bring themselves.
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": "spark"}):
            continue
        found = _find_version(requirement.name)
        if found is None:
            faults.append(f"{requirement.name}{requirement.specifier} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            faults.append(f"{requirement.name} is {found}, not {requirement.specifier}")
    advice = "pip install -r requirements.lock, or pip install 'interest-tiers[spark]', in an environment of its own" if faults else ""
    yield Check("packages", "; ".join(faults) or "as required", advice)


def _find_version(package: str) -> str | None:
    """Return the installed version of a package, or of one that brings the same module."""
    for name in (package, ALTERNATIVES.get(package)):
        try:
            return version(name) if name else None
        except PackageNotFoundError:
            continue
    return None


def check_java() -> Check:
    """Require Java 17."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    install = "install Java 17 (apt-get install openjdk-17-jre-headless, brew install openjdk@17), and set JAVA_HOME to it"
    if java is None:
        return Check("Java", f"none in JAVA_HOME={home}" if home else "none", install)
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=JAVA_SECONDS, check=False).stderr  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("Java", f"{java} does not answer: {error}", install)
    return judge_java(java, said)


def judge_java(java: str, said: str) -> Check:
    """Judge what java -version says."""
    found = re.search(r'version "(\d+)[^"]*"', said)
    if found is None:
        return Check("Java", f"{java} names no version", "set JAVA_HOME to a JDK 17")
    is_right = found.group(1) == "17"
    return Check(
        "Java", f"{found.group(0).removeprefix('version ')} at {java}", "" if is_right else "Java 17 is proven; set JAVA_HOME to it"
    )


def check_jars(settings: dict[str, str]) -> Check:
    """Say whether the jars are on this machine already."""
    from interest_tiers.spark.session import find_missing_jars

    wanted = [name for name in settings.get("spark.jars.packages", "").split(",") if name]
    if not wanted:
        return Check("jars", "given by spark.jars" if settings.get("spark.jars") else "none named")
    missing = find_missing_jars(settings)
    cache = settings.get("spark.jars.ivy", "~/.ivy2")
    if not missing:
        return Check("jars", f"{len(wanted)} of {len(wanted)} in {cache}")
    advice = "the first run fetches them from Maven Central; without a network, copy ~/.ivy2 from a machine that has them"
    return Check("jars", f"not in {cache}: {', '.join(missing)}", advice, is_note=True)


def check_memory(settings: dict[str, str], total: int | None) -> Check:
    """Compare the driver's heap with the machine's memory."""
    given = settings.get("spark.driver.memory", "1g")
    if total is None:
        return Check("memory", "unknown on this system")
    found = f"{total / GIBIBYTE:.1f} GiB, of which the driver takes {given}"
    is_enough = parse_size(given) + WORKER_BYTES <= total
    return Check("memory", found, "" if is_enough else "set SPARK_DRIVER_MEMORY to less, such as 2g, or close other programs")


def parse_size(text: str) -> int:
    """Read a size such as 4g as bytes."""
    found = re.fullmatch(r"(\d+)\s*([kmgt]?)b?", text.strip().lower())
    if found is None:
        raise ConfigError(f"spark.driver.memory is {text!r}. Write a size such as 4g")
    return int(found.group(1)) * UNITS.get(found.group(2), UNITS["m"])


def check_disk(folder: Path) -> Check:
    """Say how much disk is free for a warehouse."""
    free = shutil.disk_usage(folder).free
    advice = (
        ""
        if free >= LEAST_FREE_BYTES
        else f"free some, or give another --warehouse: {LEAST_FREE_BYTES / GIBIBYTE:.0f} GiB are a good start"
    )
    if not os.access(folder, os.W_OK):
        return Check("disk", f"{folder} is not writable", "give another --warehouse, or change its owner")
    return Check("disk", f"{free / GIBIBYTE:.0f} GiB free at {folder.resolve()}", advice)


def check_host() -> Check:
    """Try what Spark does at its start: find this machine's address by its name, and open a port there."""
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError:
        return Check(
            "host name", f"{name} has no address", f"add the line '127.0.0.1 {name}' to /etc/hosts, or set SPARK_LOCAL_IP=127.0.0.1"
        )
    try:
        with socket.socket() as opened:
            opened.bind((address, 0))
    except OSError as error:
        return Check("host name", f"{name} is {address}, where no port opens: {error}", "set SPARK_LOCAL_IP=127.0.0.1")
    return Check("host name", f"{name} is {address}, and ports open there")


def check_config(config: str | None, overrides: Sequence[str]) -> list[Check]:
    """Load a config, and look for its files in local folders."""
    if config is None:
        return [Check("config", "none given", "add --config FILE to check one; interest-tiers init FILE… writes a first one", is_note=True)]
    from interest_tiers.config import load_config

    try:
        loaded = load_config(config, overrides)
        sources = [*loaded.named_sources.items(), ("items", loaded.items), *([("users", loaded.users)] if loaded.users else [])]
        paths = {name: loaded.resolve(source.path) for name, source in sources}
    except ConfigError as error:
        return [Check("config", str(error), "correct it; every key is in docs/configuration.md")]
    checks = [Check("config", f"{config} is valid: {loaded.name}")]
    for name, path in paths.items():
        if not _is_there(path):
            checks.append(Check("data", f"{name}: nothing is at {path}", f"correct the path, or pass --set {name}.path=…"))
    return checks


def _is_there(path: str) -> bool:
    """Whether a local path matches a file; other file systems are left to the run, and so are catalogs and alternatives in braces."""
    if "://" in path or "{" in path or not ("/" in path or "." in path):
        return True
    local = Path(path.removeprefix("file:"))
    if local.exists():
        return True
    parts = [place for place, part in enumerate(local.parts) if any(sign in part for sign in "*?[")]
    if not parts:
        return False
    root = Path(*local.parts[: parts[0]])
    return next(root.glob(str(Path(*local.parts[parts[0] :]))), None) is not None


def _settings() -> dict[str, str]:
    from interest_tiers.spark.session import packaged_settings

    return packaged_settings()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(each for each in (folder, *folder.resolve().parents) if each.exists())
