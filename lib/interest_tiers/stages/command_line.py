"""The command line: a command per stage, pipeline, plan, and the commands that need no config. It follows from the registry."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from interest_tiers.config import load_config
from interest_tiers.errors import InterestTiersError
from interest_tiers.spark.session import build_session
from interest_tiers.stages import export_encoder, show
from interest_tiers.stages.context import RunContext, StageContext
from interest_tiers.stages.declaration import Option, Stage
from interest_tiers.stages.logs import FORMATS, set_up_logging
from interest_tiers.stages.plan import check, format_plan, make_plan
from interest_tiers.stages.registry import COMMANDS, STAGES, select_stages
from interest_tiers.stages.results import StageResult
from interest_tiers.stages.runner import run_stages
from interest_tiers.storage.warehouse import Warehouse

LOG = logging.getLogger("interest_tiers")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit code."""
    arguments = build_parser().parse_args(argv)
    set_up_logging(getattr(arguments, "log_format", FORMATS[0]))
    try:
        return arguments.command(arguments)
    except InterestTiersError as error:
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        print(f"error: {error}{notes}", file=sys.stderr, flush=True)
        return error.exit_code


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of every command."""
    parser = argparse.ArgumentParser(prog="interest-tiers", description="Interest tiers, user clusters and recommendations.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    pipeline = commands.add_parser("pipeline", help="run the stages in order", description="Run the stages from --from to --to.")
    _add_run_arguments(pipeline)
    _add_part_arguments(pipeline)
    pipeline.add_argument("--dry-run", action="store_true", help="say what the run would read, replace and need; run nothing")
    _add_options(pipeline, [option for stage in STAGES for option in stage.options if option.in_pipeline])
    pipeline.set_defaults(command=_run_pipeline)
    plan = commands.add_parser(
        "plan", help="say what a run would do", description="Say what a run would read, replace and need. Exit code 2 where it would stop."
    )
    _add_data_arguments(plan)
    _add_part_arguments(plan)
    _add_options(plan, [option for stage in STAGES for option in stage.options if option.in_pipeline])
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    plan.set_defaults(command=_print_plan)
    for stage in (*STAGES, *COMMANDS):
        own = commands.add_parser(stage.name, help=stage.summary, description=f"{stage.summary[0].upper()}{stage.summary[1:]}.")
        _add_run_arguments(own, stage.has_config)
        _add_options(own, stage.options)
        own.set_defaults(command=_run_stages, stages=(stage,))
    for module in (show, export_encoder):
        module.add_command(commands)
    return parser


def _add_data_arguments(parser: argparse.ArgumentParser, has_config: bool = True) -> None:
    parser.add_argument("--warehouse", required=True, metavar="DIR", help="a folder, or catalog.schema")
    if not has_config:
        return
    parser.add_argument("--config", required=True, metavar="FILE", help="the YAML of one data set")
    parser.add_argument(
        "--as-of",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="see only what happened before this day; default: the day after the newest event",
    )
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", dest="overrides", help="override one key of the config")


def _add_run_arguments(parser: argparse.ArgumentParser, has_config: bool = True) -> None:
    _add_data_arguments(parser, has_config)
    parser.add_argument("--wait", action="store_true", help="wait for another writer of the same day; default: stop")
    parser.add_argument("--log-format", choices=FORMATS, default=FORMATS[0], help="json is for machines")


def _add_part_arguments(parser: argparse.ArgumentParser) -> None:
    names = [stage.name for stage in STAGES]
    parser.add_argument("--from", choices=names, default=names[0], metavar="STAGE", dest="first", help=f"one of {', '.join(names)}")
    parser.add_argument("--to", choices=names, default=names[-1], metavar="STAGE", dest="last", help="the last stage to run")


def _add_options(parser: argparse.ArgumentParser, options: Sequence[Option]) -> None:
    groups: dict[str, Any] = {}
    for option in options:
        if option.excludes:
            groups[option.name] = groups[option.excludes] = parser.add_mutually_exclusive_group()
    for option in options:
        target = groups.get(option.name, parser)
        if option.kind is None:
            target.add_argument(option.flag, action="store_true", help=option.help)
        else:
            target.add_argument(
                option.flag, type=option.kind, default=option.default, choices=option.choices, metavar=option.metavar, help=option.help
            )


def _options(stages: Sequence[Stage], arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the options of every stage, by name; those that the command does not have keep their defaults."""
    given = vars(arguments)
    return {stage.name: {option.name: given[option.name] for option in stage.options if option.name in given} for stage in stages}


def _open_warehouse(arguments: argparse.Namespace, name: str) -> RunContext:
    return RunContext(Warehouse(build_session(f"interest-tiers {name}"), arguments.warehouse))


def _open(arguments: argparse.Namespace, name: str) -> StageContext:
    """Load the config, then start Spark: a mistake in the config costs no time."""
    config = load_config(arguments.config, arguments.overrides)
    spark = build_session(f"interest-tiers {name} {config.name}")
    return StageContext(Warehouse(spark, arguments.warehouse), arguments.as_of, config=config)


def _run_stages(arguments: argparse.Namespace) -> int:
    stages: tuple[Stage, ...] = arguments.stages
    name, options = stages[0].name, _options(stages, arguments)
    context = _open(arguments, name) if stages[0].has_config else _open_warehouse(arguments, name)
    _check_and_run(stages, context, options, arguments.wait)
    return 0


def _run_pipeline(arguments: argparse.Namespace) -> int:
    stages = select_stages(arguments.first, arguments.last)
    if arguments.dry_run:
        return _print_plan(arguments)
    start = time.monotonic()
    context, options = _open(arguments, "pipeline"), _options(stages, arguments)
    results = _check_and_run(stages, context, options, arguments.wait)
    if context.config.retention_days is not None:
        expired = context.warehouse.expire_days(context.config.retention_days, context.as_of)
        LOG.info("rows of expired days removed: %s", ", ".join(f"{name} {rows:,}" for name, rows in expired.items()) or "none")
    _print_summary(context, results, time.monotonic() - start)
    return 0


def _check_and_run(
    stages: Sequence[Stage], context: RunContext, options: Mapping[str, Mapping[str, Any]], wait: bool
) -> dict[str, StageResult]:
    for leftover in context.warehouse.remove_expired_staging():
        LOG.info("removed %s, staging tables of a run that died", leftover)
    try:
        for note in check(stages, context, options):
            LOG.info("%s", note)
        return run_stages(stages, context, options, wait)
    finally:
        context.warehouse.clear_stage()


def _print_plan(arguments: argparse.Namespace) -> int:
    stages = select_stages(arguments.first, arguments.last)
    context = _open(arguments, "plan")
    plan = make_plan(stages, context, _options(stages, arguments))
    print(json.dumps(plan.to_json(), indent=2) if getattr(arguments, "json", False) else format_plan(plan, context))
    return 2 if plan.faults else 0


def _print_summary(context: StageContext, results: Mapping[str, StageResult], seconds: float) -> None:
    print(f"\n{'stage':<16} {'rows in':>12} {'rows out':>12}")
    for name, result in results.items():
        print(f"{name:<16} {result.rows_in:>12,} {result.rows_out:>12,}")
    print(f"\n{context.config.name}, as of {context.as_of}, {seconds:.0f} s, run {context.run_id}")
    print(f"warehouse  {context.warehouse.location}")
    if "report" in results:
        print(f"report     {results['report'].message}")
