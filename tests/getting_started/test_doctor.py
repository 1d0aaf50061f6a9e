"""doctor says what is wrong with the machine and the config, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interest_tiers.errors import ConfigError
from interest_tiers.getting_started.doctor import (
    GIBIBYTE,
    check_config,
    check_disk,
    check_jars,
    check_java,
    check_memory,
    check_packages,
    check_python,
    judge_java,
    parse_size,
)
from interest_tiers.stages.command_line import main

REPOSITORY = Path(__file__).parents[2]


def test_this_machine_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", str(REPOSITORY / "conf" / "complete_journey.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["faults"] == 0
    assert {check["name"] for check in found["checks"]} >= {"Python", "packages", "Java", "jars", "memory", "disk", "host name", "config"}


def test_python_and_java_have_their_versions() -> None:
    assert not check_python((3, 11)).is_fault and not check_python((3, 12)).is_fault and check_python((3, 13)).is_fault
    assert judge_java("java", 'openjdk version "17.0.15" 2025-04-15').found == '"17.0.15" at java'
    assert not judge_java("java", 'openjdk version "17.0.15" 2025-04-15').is_fault
    assert judge_java("java", 'openjdk version "21" 2023-09-19').is_fault
    assert judge_java("java", "nonsense").is_fault
    assert not any(check.is_fault for check in check_packages())


def test_without_java_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_java().is_fault and "apt-get install openjdk-17" in check_java().advice


def test_jars_that_are_not_there_are_a_note(tmp_path: Path) -> None:
    settings = {"spark.jars.packages": "io.delta:delta-spark_2.12:3.3.2", "spark.jars.ivy": str(tmp_path)}
    missing = check_jars(settings)
    assert missing.advice and not missing.is_fault
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "io.delta_delta-spark_2.12-3.3.2.jar").touch()
    assert check_jars(settings).advice == ""


@pytest.mark.parametrize(("text", "size"), [("4g", 4 * GIBIBYTE), ("512m", 512 * 1024**2), ("2G", 2 * GIBIBYTE), ("1024", GIBIBYTE)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_memory_and_disk(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Write a size such as 4g"):
        parse_size("lots")
    assert check_memory({"spark.driver.memory": "4g"}, 4 * GIBIBYTE).is_fault
    assert not check_memory({"spark.driver.memory": "4g"}, 8 * GIBIBYTE).is_fault
    assert str(tmp_path) in check_disk(tmp_path).found


def test_a_config_is_checked_with_its_files(tmp_path: Path) -> None:
    assert [check.is_fault for check in check_config(None, [])] == [False]
    assert check_config(str(tmp_path / "none.yaml"), [])[0].is_fault
    config = str(REPOSITORY / "conf" / "online_retail.yaml")
    checks = check_config(config, [f"locations.online_retail={tmp_path}"])
    assert [check.is_fault for check in checks] == [False, True, True]
    (tmp_path / "transactions.csv.gz").touch()
    assert not any(check.is_fault for check in check_config(config, [f"locations.online_retail={tmp_path}"]))
