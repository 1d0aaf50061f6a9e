"""What commands share on the command line: options, days, and how an error ends a command."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any, TypeVar

import typer

from interest_tiers.errors import ConfigError, InterestTiersError

Function = TypeVar("Function", bound=Callable[..., Any])

#: Packages that a platform brings, or the extra spark.
OF_SPARK = ("delta", "py4j", "pyspark")


def parse_day(text: str) -> date:
    """Read a day as YYYY-MM-DD. Raises typer.BadParameter."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a day. Write YYYY-MM-DD") from error


def parse_by(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser whose ValueError becomes a message about the option."""

    def parse(text: str) -> Any:
        try:
            return kind(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parse


def end_with_exit_code(command: Function) -> Function:
    """Make a command end as the contract says: an error of this project is one message and its exit code."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            code = command(*arguments, **options)
        except InterestTiersError as error:
            notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
            print(f"error: {error}{notes}", file=sys.stderr, flush=True)
            raise typer.Exit(error.exit_code) from error
        except ModuleNotFoundError as error:
            if error.name not in OF_SPARK:
                raise
            print(f"error: {error.name} is not installed. Without a platform's Spark: pip install 'interest-tiers[spark]'", file=sys.stderr)
            raise typer.Exit(ConfigError.exit_code) from error
        raise typer.Exit(code or 0)

    return run  # type: ignore[return-value]


def print_json(found: Mapping[str, Any]) -> None:
    """Print plain data as JSON; days are texts."""
    print(json.dumps(found, indent=2, ensure_ascii=False, default=str))


def print_marked(text: str, styles: Mapping[str, str]) -> None:
    """Print a text; on a terminal, lines that begin with a word of styles have its style."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for line in text.split("\n"):
        console.print(Text(line, style=next((style for start, style in styles.items() if line.startswith(start)), "")))


WarehouseOption = Annotated[str, typer.Option("--warehouse", metavar="DIR", help="A folder, or catalog.schema.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
