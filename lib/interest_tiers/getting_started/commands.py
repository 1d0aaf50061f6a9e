"""The commands doctor and init."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from interest_tiers.command_options import JsonOption, end_with_exit_code, print_json
from interest_tiers.errors import ConfigError

PANEL = "Set up"

Config = Annotated[str | None, typer.Option(metavar="FILE", help="Also check this YAML, and look for its files.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="a.b=value", help="Override one key of the config.")]

#: Folder names that say nothing of the data.
GENERIC_FOLDERS = ("data", "raw", "input", "downloads", "tmp", "")


def add_set_up(app: typer.Typer) -> None:
    """Add the commands that prepare a first run."""
    commands: tuple[Callable[..., Any], ...] = (doctor, init)
    for command in commands:
        app.command(rich_help_panel=PANEL)(end_with_exit_code(command))


def doctor(
    config: Config = None,
    overrides: Overrides = None,
    warehouse: Annotated[str | None, typer.Option(metavar="DIR", help="Look at the disk of this folder; default: here.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Check Java, Python, packages, jars, memory, disk, host name and config, and say what to do. Exit code 2 where a run would fail."""
    from interest_tiers.getting_started.doctor import examine

    checks = examine(config, overrides or [], warehouse)
    faults = sum(check.is_fault for check in checks)
    if as_json:
        print_json({"faults": faults, "checks": [asdict(check) for check in checks]})
    else:
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False, soft_wrap=True)
        for check in checks:
            word, style = ("FAULT", "bold red") if check.is_fault else ("note", "yellow") if check.advice else ("ok", "green")
            console.print(Text(f"{word:<6}", style=style) + Text(f"{check.name:<10} {check.found}"))
            if check.advice:
                console.print(Text(f"{'':<17}{check.advice}", style=style))
    return 2 if faults else 0


def init(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files of events, items and users, or folders of them.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="YAML", help="Where to write; default: NAME.yaml here.")] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the data set; default: that of the output, folder or file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at your files (CSV, JSON lines, Parquet) and write a first config, with a comment at every guess."""
    from interest_tiers.config import load_config
    from interest_tiers.getting_started.draft import make_draft
    from interest_tiers.getting_started.file_samples import list_files, sample_files
    from interest_tiers.getting_started.first_config import CHANGE_ME, format_config

    paths = list_files(files)
    chosen = name or (_plain(output.stem) if output is not None else _name_of(files, paths))
    target = output or Path(f"{chosen}.yaml")
    if target.exists() and not force:
        raise ConfigError(f"{target} exists. Give another --output, or --force to replace it")
    text = format_config(make_draft(sample_files(paths)), chosen)
    target.write_text(text, encoding="utf-8")
    load_config(target)
    open_lines = [line.split("#")[0].strip() for line in text.splitlines() if CHANGE_ME in line.split("#")[0]]
    if as_json:
        print_json({"config": target, "name": chosen, "to_change": open_lines})
        return
    print(text)
    print(f"{target} is written.")
    if open_lines:
        print(f"No column looks like what these need; write yours: {'; '.join(open_lines)}")
    print("Check its comments, then see what a run would do, and run it:")
    for command in ("plan", "run "):
        print(f"  interest-tiers {command} --config {target} --warehouse build/{chosen}")


def _name_of(given: Sequence[str], paths: Sequence[Path]) -> str:
    """Name a data set by the folder that was given, else by its first file."""
    folder = paths[0].resolve().parent.name
    is_named = Path(given[0]).is_dir() or paths[0].parent.name != ""
    is_folder = is_named and folder.lower() not in GENERIC_FOLDERS and len({path.parent for path in paths}) == 1
    return _plain(folder if is_folder else paths[0].name.split(".")[0])


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_\-]+", "_", name).strip("_") or "my_data"
