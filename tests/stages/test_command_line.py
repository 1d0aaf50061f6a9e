"""The command line: help, usage errors, completion, and options that follow from the registry. No JVM."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from interest_tiers.stages.command_line import main
from interest_tiers.stages.registry import COMMANDS, STAGES
from interest_tiers.stages.stage_commands import _options


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([command, "--help"]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines[lines.index("Commands:") + 1 :] if line.strip()]
    stages = [stage.name for stage in (*STAGES, *COMMANDS)]
    assert set(listed) >= {"run", "plan", "show", "similar", "cluster", "history", "export_encoder", *stages}
    assert "pipeline" not in listed, "run is its name for people"


@pytest.mark.parametrize("stage", [*STAGES, *COMMANDS], ids=lambda stage: stage.name)
def test_help_of_a_stage_has_its_options(stage: object, capsys: pytest.CaptureFixture[str]) -> None:
    printed = help_of(stage.name, capsys)  # type: ignore[attr-defined]
    for option in stage.options:  # type: ignore[attr-defined]
        assert option.flag in printed
    assert ("--config FILE" in printed) == stage.has_config  # type: ignore[attr-defined]


def test_run_and_pipeline_take_the_same_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert help_of("run", capsys).replace("interest-tiers run", "") == help_of("pipeline", capsys).replace("interest-tiers pipeline", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clena"], "No such command 'clena'. Did you mean 'clean'?"),
        (["clean", "--config", "x.yaml"], "Missing option '--warehouse'"),
        (["clean", "--config", "x.yaml", "--warehouse", "w", "--as-of", "tomorrow"], "'tomorrow' is not a day. Write YYYY-MM-DD"),
        (["run", "--config", "x.yaml", "--warehouse", "w", "--from", "bake"], "'bake' is not one of 'clean', 'embed'"),
        (["assign_tiers", "--config", "x.yaml", "--warehouse", "w", "--retrain", "maybe"], "'maybe' is not one of 'never', 'auto'"),
        (["clean", "--config", "x.yaml", "--warehouse", "w", "--full", "--stream"], "--stream cannot be given with --full"),
        (["forget_users", "--warehouse", "w", "--retention-hours", "-1"], "-1: a retention is 0 hours or more"),
        (["run", "--config", "x.yaml", "--warehouse", "w", "--from", "report", "--to", "clean"], "clean comes before report"),
    ],
)
def test_a_wrong_command_ends_with_code_2_and_one_message(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_options_that_are_not_given_have_their_defaults() -> None:
    given = {"full": True, "stream": False, "files_per_batch": 1000, "checkpoints": None}
    clean = next(stage for stage in STAGES if stage.name == "clean")
    assert _options([clean], given)["clean"] == given


def test_the_shell_completes_commands() -> None:
    environment = {**os.environ, "_INTEREST_TIERS_COMPLETE": "complete_bash", "COMP_WORDS": "interest-tiers cl", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", "import sys; from interest_tiers.stages.command_line import main; sys.exit(main([]))"]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
    assert sorted(completed.split()) == ["clean", "cluster", "cluster_users"]
