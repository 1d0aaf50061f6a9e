"""pipeline: every stage in one session, or the part --from STAGE --to STAGE."""

import time
from collections.abc import Mapping, Sequence
from functools import partial

from interest_tiers.errors import ConfigError
from interest_tiers.stages import assign_tiers, build_interests, clean, cluster_users, embed, evaluate, recommend, report, train_tiers
from interest_tiers.stages.context import Stage, StageContext, StageResult, run_command, run_stage, stage_parser

STAGES: Mapping[str, Stage] = {
    "clean": clean.run,
    "embed": embed.run,
    "build_interests": build_interests.run,
    "train_tiers": train_tiers.run,
    "assign_tiers": assign_tiers.run,
    "cluster_users": cluster_users.run,
    "recommend": recommend.run,
    "evaluate": evaluate.run,
    "report": report.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages from --from to --to, one after the other; the first that fails ends it."""
    parser = stage_parser("pipeline", __doc__)
    parser.add_argument("--from", choices=STAGES, default="clean", metavar="STAGE", dest="first", help=f"one of {', '.join(STAGES)}")
    parser.add_argument("--to", choices=STAGES, default="report", metavar="STAGE", dest="last", help="the last stage to run")
    parser.add_argument("--full", action="store_true", help="clean reads all files, also those that were read before")
    assign_tiers.add_retrain_argument(parser)
    arguments = parser.parse_args(argv)
    stages = STAGES | {
        "clean": partial(clean.run, full=arguments.full),
        "assign_tiers": partial(assign_tiers.run, retrain=arguments.retrain),
    }
    return run_command("pipeline", arguments, lambda context: _run(context, stages, part_of_stages(arguments.first, arguments.last)))


def part_of_stages(first: str, last: str) -> list[str]:
    """The stages from first to last. Raises ConfigError when last comes before first."""
    names = list(STAGES)
    part = names[names.index(first) : names.index(last) + 1]
    if not part:
        raise ConfigError(f"--from {first} --to {last}: {last} comes before {first}; the order is {', '.join(names)}")
    return part


def _run(context: StageContext, stages: Mapping[str, Stage], names: Sequence[str]) -> None:
    start = time.monotonic()
    results = {name: run_stage(name, stages[name], context) for name in names}
    _print_summary(context, results, time.monotonic() - start)


def _print_summary(context: StageContext, results: Mapping[str, StageResult], seconds: float) -> None:
    print(f"\n{'stage':<16} {'rows in':>12} {'rows out':>12}")
    for name, result in results.items():
        print(f"{name:<16} {result.rows_in:>12,} {result.rows_out:>12,}")
    print(f"\n{context.config.name}, as of {context.as_of}, {seconds:.0f} s, run {context.run_id}")
    print(f"warehouse  {context.warehouse.location}")
    if "report" in results:
        print(f"report     {results['report'].message}")
