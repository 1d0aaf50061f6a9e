"""Versions: one of the package, ranges that the lock and the platforms of lanes/ satisfy, and an installation that replaces none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import interest_tiers
from interest_tiers.getting_started.doctor import ALTERNATIVES

REPOSITORY = Path(__file__).parents[1]
LANES = sorted((REPOSITORY / "lanes").glob("*.txt"))

#: What no platform brings in the version that we need: it is installed over the platform's.
REPLACED: dict[str, set[str]] = {"databricks-15.4": {"pydantic", "typer"}, "databricks-16.4": {"typer"}, "spark-4.0": set()}


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins_of(file: Path) -> dict[str, str]:
    """Return the exact versions of a file, by normalised name."""
    lines = (line.partition(";")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normalise(name): pinned for name, pinned in pairs}


def requirements(*extras: str) -> list[Requirement]:
    """Return what setup.py asks for, with extras."""
    asked = [Requirement(line) for line in requires("interest-tiers") or []]
    return [each for each in asked if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)]


def violations(pins: dict[str, str], asked: list[Requirement]) -> list[str]:
    """List pins that a range does not hold."""
    found = []
    for requirement in asked:
        name = normalise(requirement.name)
        pinned = pins.get(name) or pins.get(ALTERNATIVES.get(name, ""))
        if pinned is not None and not requirement.specifier.contains(pinned, prereleases=True):
            found.append(f"{requirement} does not hold {pinned}")
    return found


def test_the_version_stands_in_one_place() -> None:
    assert version("interest-tiers") == interest_tiers.__version__
    places = [
        file
        for file in (*REPOSITORY.glob("*.py"), *REPOSITORY.glob("*.toml"), *(REPOSITORY / "lib").rglob("*.py"))
        if re.search(r"""version\w* = ?["']?\d+\.\d+\.\d+|version=["']\d""", file.read_text(encoding="utf-8"))
    ]
    assert places == [REPOSITORY / "lib" / "interest_tiers" / "__init__.py"]


def test_every_pin_of_the_lock_is_within_our_ranges_and_nothing_is_missing() -> None:
    pins = pins_of(REPOSITORY / "requirements.lock")
    extras = ("spark", "bench", "demo", "notebooks", "openvino", "search", "sparknlp", "test")
    asked = requirements(*extras)
    assert len(asked) > 30
    assert violations(pins, asked) == []
    names = {normalise(each.name) for each in asked}
    assert [name for name in names if name not in pins and ALTERNATIVES.get(name) not in pins] == []


@pytest.mark.parametrize("lane", LANES, ids=lambda lane: lane.stem)
def test_platforms_satisfy_our_ranges(lane: Path) -> None:
    pins = pins_of(lane)
    assert {"pyspark", "pandas", "numpy", "pyarrow", "torch"} <= pins.keys()
    assert violations(pins, requirements("spark")) == []
    assert not REPLACED[lane.stem] & pins.keys()


def test_a_platform_s_spark_is_not_asked_for() -> None:
    # Databricks has no metadata of its PySpark: pip would install another one over it.
    assert not {"pyspark", "delta-spark", "petastorm", "py4j"} & {normalise(each.name) for each in requirements("")}


@pytest.mark.slow
def test_pip_keeps_the_versions_of_a_platform(tmp_path: Path) -> None:
    """Resolve our requirements beside the oldest platform's; downloads no more than metadata."""
    report, pins = tmp_path / "report.json", pins_of(REPOSITORY / "lanes" / "databricks-15.4.txt")
    kept = {name: pins[name] for name in ("numpy", "pandas", "pyarrow", "scipy", "scikit-learn", "matplotlib", "rich", "safetensors")}
    # Wheels of torch and xgboost ask for gigabytes of CUDA, and have no say in these.
    asked = [str(each) for each in requirements("") if each.name not in ("torch", "transformers", "xgboost")]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", str(report), *asked]
    command += [f"{name}=={pinned}" for name, pinned in kept.items()]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if "No matching distribution" in ended.stderr or "NewConnectionError" in ended.stderr:
        pytest.skip("no package index is reached")
    assert ended.returncode == 0, ended.stderr[-2000:]
    chosen = {normalise(each["metadata"]["name"]): each["metadata"]["version"] for each in json.loads(report.read_text())["install"]}
    assert {name: chosen[name] for name in kept} == kept
    assert not {"pyspark", "delta-spark"} & chosen.keys()


def test_what_open_source_expects_is_there() -> None:
    assert (REPOSITORY / "LICENSE").read_text(encoding="utf-8").split()[:4] == ["Apache", "License", "Version", "2.0,"]
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        assert (REPOSITORY / name).read_text(encoding="utf-8").startswith("# C")
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step][-1] == ".ci/run"
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [hook["id"] for hook in hooks["repos"][0]["hooks"]] == ["ruff-check", "ruff-format", "mypy"]
