"""Commands that run stages: run (pipeline is its contract's name), plan, every stage, and the commands on a data set."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from interest_tiers.command_options import end_with_exit_code, parse_by, parse_day, print_json, print_marked
from interest_tiers.errors import ConfigError
from interest_tiers.stages.declaration import Option, Stage
from interest_tiers.stages.logs import FORMATS, set_up_logging
from interest_tiers.stages.registry import COMMANDS, STAGES, select_stages
from interest_tiers.stages.results import StageResult

if TYPE_CHECKING:
    from interest_tiers.stages.context import RunContext, StageContext

LOG = logging.getLogger("interest_tiers")

RUN, ONE_STAGE, MAINTAIN = "Run", "Run one stage", "Maintain"

Given = Mapping[str, Any]


def add_run_commands(app: typer.Typer) -> None:
    """Add run, pipeline and plan."""
    in_pipeline = [option for stage in STAGES for option in stage.options if option.in_pipeline]
    whole = [*_data_parameters(), *_run_parameters(), *_part_parameters(), _switch("dry_run", "Show what the run would do; run nothing.")]
    for name, is_hidden in (("run", False), ("pipeline", True)):
        _add(app, name, "Run the stages in order, from --from to --to.", RUN, [*whole, *_parameters(in_pipeline)], _run_pipeline, is_hidden)
    _add(
        app,
        "plan",
        "Show what a run would read, replace and need. Exit code 2 where it would stop.",
        RUN,
        [*_data_parameters(), *_part_parameters(), _switch("json", "Print JSON."), *_parameters(in_pipeline)],
        _print_plan,
    )


def add_stage_commands(app: typer.Typer) -> None:
    """Add a command per stage, and the commands on a data set."""
    for stage in (*STAGES, *COMMANDS):
        parameters = [*_data_parameters(stage.has_config), *_run_parameters(), *_parameters(stage.options)]
        summary = f"{stage.summary[0].upper()}{stage.summary[1:]}."
        _add(app, stage.name, summary, MAINTAIN if stage.command else ONE_STAGE, parameters, _runner_of(stage))
    app.command("export_encoder", rich_help_panel=MAINTAIN)(end_with_exit_code(export_encoder))


def export_encoder(
    target: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="New folder, for embedding.model; the same folder name keeps the stored vectors.")
    ],
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="A model folder or package; default: embedding.model's.")
    ] = None,
    calibration_texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For int8 by openvino: some hundreds of texts like those to embed, one a line, all known before the cutoff.",
        ),
    ] = None,
) -> None:
    """Copy a language model and add the graphs of the backends openvino and sparknlp."""
    from interest_tiers.config import Embedding
    from interest_tiers.stages.export_encoder import export_model

    set_up_logging(FORMATS[0])
    export_model(model or Embedding().model, target, calibration_texts)


def _add(
    app: typer.Typer,
    name: str,
    summary: str,
    panel: str,
    parameters: Sequence[Parameter],
    run: Callable[[Given], int],
    is_hidden: bool = False,
) -> None:
    def command(**given: Any) -> int:
        set_up_logging(given.get("log_format", FORMATS[0]))
        return run(given)

    # Typer reads the options of a command from the signature of its function.
    command.__signature__ = Signature(list(parameters))  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command(name, help=summary, rich_help_panel=panel, hidden=is_hidden)(end_with_exit_code(command))


def _data_parameters(has_config: bool = True) -> list[Parameter]:
    parameters = [_parameter("warehouse", str, Parameter.empty, "A folder, or catalog.schema.", metavar="DIR")]
    if has_config:
        parameters += [
            _parameter("config", str, Parameter.empty, "The YAML of one data set.", metavar="FILE"),
            _parameter(
                "as_of",
                Any,
                None,
                "See only what happened before this day; default: the day after the newest event.",
                metavar="YYYY-MM-DD",
                parser=parse_day,
            ),
            _parameter("set", list[str], [], "Override one key of the config.", metavar="a.b=value"),
        ]
    return parameters


def _run_parameters() -> list[Parameter]:
    return [
        _switch("wait", "Wait for another writer of the same day; default: stop."),
        _parameter("log_format", Literal["text", "json"], FORMATS[0], "json is for machines."),
        _switch("json", "Print what was done as JSON, once, at the end."),
    ]


def _part_parameters() -> list[Parameter]:
    names = tuple(stage.name for stage in STAGES)
    kind: Any = Literal[names]
    return [
        _parameter("first", kind, names[0], f"The first stage: one of {', '.join(names)}.", flag="--from", metavar="STAGE"),
        _parameter("last", kind, names[-1], "The last stage to run.", flag="--to", metavar="STAGE"),
    ]


def _parameters(options: Sequence[Option]) -> list[Parameter]:
    return [_parameter_of(option) for option in options]


def _parameter_of(option: Option) -> Parameter:
    text = f"{option.help[0].upper()}{option.help[1:]}."
    if option.kind is None:
        return _switch(option.name, text)
    if option.choices is not None:
        return _parameter(option.name, Literal[option.choices], option.default, text)
    if option.kind in (int, str):
        return _parameter(
            option.name, option.kind if option.default is not None else option.kind | None, option.default, text, metavar=option.metavar
        )
    return _parameter(option.name, Any, option.default, text, metavar=option.metavar, parser=parse_by(option.kind))


def _switch(name: str, text: str) -> Parameter:
    return _parameter(name, bool, False, text)


def _parameter(name: str, kind: Any, default: Any, text: str, flag: str | None = None, **details: Any) -> Parameter:
    declared = typer.Option(flag or "--" + name.replace("_", "-"), help=text, show_default=default not in (None, False, []), **details)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared])


def _options(stages: Sequence[Stage], given: Given) -> dict[str, dict[str, Any]]:
    """Return the options of every stage, by name; those that the command does not have keep their defaults."""
    for stage in stages:
        for option in stage.options:
            if option.excludes and given.get(option.name) and given.get(option.excludes):
                raise ConfigError(f"{option.flag} cannot be given with --{option.excludes.replace('_', '-')}")
    return {stage.name: {option.name: given[option.name] for option in stage.options if option.name in given} for stage in stages}


def _open_warehouse(given: Given, name: str) -> RunContext:
    from interest_tiers.spark.session import build_session
    from interest_tiers.stages.context import RunContext
    from interest_tiers.storage.warehouse import Warehouse

    return RunContext(Warehouse(build_session(f"interest-tiers {name}"), given["warehouse"]))


def _open(given: Given, name: str) -> StageContext:
    """Load the config, then start Spark: a mistake in the config costs no time."""
    from interest_tiers.config import load_config

    config = load_config(given["config"], given["set"])
    from interest_tiers.spark.session import build_session
    from interest_tiers.stages.context import StageContext
    from interest_tiers.storage.warehouse import Warehouse

    spark = build_session(f"interest-tiers {name} {config.name}")
    return StageContext(Warehouse(spark, given["warehouse"]), given["as_of"], config=config)


def _runner_of(stage: Stage) -> Callable[[Given], int]:
    def run(given: Given) -> int:
        start, options = time.monotonic(), _options((stage,), given)
        context = _open(given, stage.name) if stage.has_config else _open_warehouse(given, stage.name)
        results = _check_and_run((stage,), context, options, given)
        if given["json"]:
            _print_results(context, results, time.monotonic() - start)
        return 0

    return run


def _run_pipeline(given: Given) -> int:
    stages = select_stages(given["first"], given["last"])
    if given["dry_run"]:
        return _print_plan(given)
    start, options = time.monotonic(), _options(stages, given)
    context = _open(given, "pipeline")
    results = _check_and_run(stages, context, options, given)
    if context.config.retention_days is not None:
        expired = context.warehouse.expire_days(context.config.retention_days, context.as_of)
        LOG.info("rows of expired days removed: %s", ", ".join(f"{name} {rows:,}" for name, rows in expired.items()) or "none")
    seconds = time.monotonic() - start
    if given["json"]:
        _print_results(context, results, seconds)
    else:
        _print_summary(context, results, seconds)
    return 0


def _check_and_run(
    stages: Sequence[Stage], context: RunContext, options: Mapping[str, Mapping[str, Any]], given: Given
) -> dict[str, StageResult]:
    from interest_tiers.stages.plan import check
    from interest_tiers.stages.runner import run_stages

    for leftover in context.warehouse.remove_expired_staging():
        LOG.info("removed %s, staging tables of a run that died", leftover)
    try:
        for note in check(stages, context, options):
            LOG.info("%s", note)
        return run_stages(stages, context, options, given["wait"], quiet=given["json"])
    finally:
        context.warehouse.clear_stage()


def _print_plan(given: Given) -> int:
    from interest_tiers.stages.plan import format_plan, make_plan

    stages = select_stages(given["first"], given["last"])
    options = _options(stages, given)
    context = _open(given, "plan")
    plan = make_plan(stages, context, options)
    if given["json"]:
        print(json.dumps(plan.to_json(), indent=2))
    else:
        print_marked(format_plan(plan, context), {"  MISSING": "red", "  STOPS": "red", "  note": "yellow", "ready": "green"})
    return 2 if plan.faults else 0


def _print_results(context: RunContext, results: Mapping[str, StageResult], seconds: float) -> None:
    stages = {name: {"rows_in": result.rows_in, "rows_out": result.rows_out, "message": result.message} for name, result in results.items()}
    print_json(
        {
            "run_id": context.run_id,
            "as_of": context.known_as_of,
            "warehouse": context.warehouse.location,
            "seconds": round(seconds, 1),
            "stages": stages,
        }
    )


def _print_summary(context: StageContext, results: Mapping[str, StageResult], seconds: float) -> None:
    print(f"\n{'stage':<16} {'rows in':>12} {'rows out':>12}")
    for name, result in results.items():
        print(f"{name:<16} {result.rows_in:>12,} {result.rows_out:>12,}")
    print(f"\n{context.config.name}, as of {context.as_of}, {seconds:.0f} s, run {context.run_id}")
    print(f"warehouse  {context.warehouse.location}")
    if "report" in results:
        print(f"report     {results['report'].message}")
