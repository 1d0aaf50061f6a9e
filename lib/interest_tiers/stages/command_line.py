"""The command interest-tiers: runs stages, and looks up users and clusters. Commands of stages follow from the registry."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from interest_tiers.getting_started.commands import add_set_up
from interest_tiers.lookup.commands import add_lookups

#: Commands that need no stage, and start at once.
QUICK_COMMANDS = ("show", "similar", "cluster", "history", "doctor", "init")

SUMMARY = "Predict which interests are core to each user, who is alike, and what to show next."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit code."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        build_app(given[0] if given else None)(given, prog_name="interest-tiers")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def run_task() -> None:
    """Run a command as a task of a platform that calls an entry point and ignores exit codes. Raises RuntimeError where it failed."""
    code = main()
    if code:
        raise RuntimeError(f"interest-tiers {' '.join(sys.argv[1:2])} ended with exit code {code}; the message stands above")


def build_app(command: str | None = None) -> typer.Typer:
    """Build the command line with every command; of a quick command alone, without those of stages."""
    # Boxes wrap long messages, which programs read: a person's terminal alone has them.
    is_terminal = sys.stdout.isatty() and sys.stderr.isatty()
    app = typer.Typer(
        help=SUMMARY,
        rich_markup_mode="rich" if is_terminal else None,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    # Without a callback typer makes a lone command the whole application.
    app.callback()(lambda: None)
    if command in QUICK_COMMANDS:
        add_lookups(app)
        add_set_up(app)
        return app
    from interest_tiers.stages.stage_commands import add_run_commands, add_stage_commands

    # Help lists them in this order.
    add_run_commands(app)
    add_lookups(app)
    add_set_up(app)
    add_stage_commands(app)
    return app
