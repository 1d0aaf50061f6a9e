"""Data flows down through the layout: foundations, domain packages that know nothing of each other, stages, jobs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LIBRARY = REPOSITORY / "lib" / "interest_tiers"
JOBS = REPOSITORY / "jobs"

LONGEST_MODULE, LONGEST_JOB = 400, 30

#: Packages whose modules are functions of frames and settings: no session look-up, no storage.
DOMAIN = ("cleaning", "clustering", "embedding", "encoder_training", "evaluation", "interests", "recommend", "report", "tiers")

#: Every package and module of the library, and the parts of it that it may import; each may import itself.
#: interests.evidence, interests.hierarchy and clustering.kmeans are vocabulary that several domain packages share.
VOCABULARY = {"interests.evidence", "interests.hierarchy", "clustering.kmeans"}
BASE = {"errors", "config", "intervals", "processes", "slices", "text"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "command_options": {"errors"},
    "processes": set(),
    "intervals": set(),
    "slices": set(),
    "text": {"errors"},
    "config": {"errors"},
    "spark": {"errors", "conf"},
    "storage": BASE,
    "getting_started": BASE | {"spark", "command_options"},
    "lookup": BASE | {"spark", "storage", "command_options"},
    "sources": BASE,
    "training": BASE | {"spark"},
    "cleaning": BASE | {"spark"} | VOCABULARY,
    "interests": BASE | {"spark"} | VOCABULARY,
    "embedding": BASE | {"spark"},
    "clustering": BASE | {"spark"} | VOCABULARY,
    "recommend": BASE | {"spark", "training"} | VOCABULARY,
    "report": BASE | {"spark"} | VOCABULARY,
    # Fine-tuning trains the models that embedding runs.
    "encoder_training": BASE | {"spark", "training", "embedding"} | VOCABULARY,
    # Tiers are of interests: their features read the catalogue and the rows of user_interests.
    "tiers": BASE | {"spark", "training", "interests"},
    # The back-test puts the compositions of all domain packages together.
    "evaluation": BASE | {"spark", "interests", "tiers", "clustering", "recommend"},
}


def modules_of(name: str) -> list[Path]:
    """List the files of a package or module of the library."""
    return sorted((LIBRARY / name).rglob("*.py")) if (LIBRARY / name).is_dir() else [LIBRARY / f"{name}.py"]


def imports_of(file: Path) -> set[str]:
    """List what a file imports of the library: module paths without the library's name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "interest_tiers":
            path = node.module.split(".")[1:]
            names |= {".".join([*path, alias.name]) for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("interest_tiers.") for alias in node.names if alias.name.startswith("interest_tiers.")}
    return names


def is_allowed(imported: str, allowed: set[str]) -> bool:
    return any(imported == part or imported.startswith(f"{part}.") for part in allowed)


def test_every_package_has_its_rule() -> None:
    found = {path.stem if path.is_file() else path.name for path in LIBRARY.iterdir() if path.name not in ("__pycache__", "__init__.py")}
    assert found - {"jobs", "conf"} == set(ALLOWED) | {"stages"}


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_no_import_goes_upward(name: str) -> None:
    for file in modules_of(name):
        outside = {each for each in imports_of(file) if each != "__version__" and not is_allowed(each, ALLOWED[name] | {name})}
        assert not outside, f"{file.relative_to(REPOSITORY)} imports {sorted(outside)}"


@pytest.mark.parametrize("name", DOMAIN)
def test_domain_packages_look_up_no_session(name: str) -> None:
    for file in modules_of(name):
        text = file.read_text(encoding="utf-8")
        assert "getOrCreate" not in text and "getActiveSession" not in text, file


def test_no_job_imports_a_job_and_each_is_short() -> None:
    files = sorted(JOBS.glob("*.py"))
    assert len(files) > 9
    for file in files:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST_JOB, file
        assert not any(each.startswith("jobs") for each in imports_of(file)), file


def test_no_module_of_the_library_is_long() -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in LIBRARY.rglob("*.py")}
    assert [f"{file.relative_to(LIBRARY)}: {n}" for file, n in lengths.items() if n > LONGEST_MODULE] == []
