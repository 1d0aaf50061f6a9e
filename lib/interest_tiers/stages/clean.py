"""clean: raw files to interactions, items and users; rows that cannot be used go to interactions_quarantine.

A run reads the files that no run read before and adds their rows to the tables. Where that would give other rows than
reading everything (a file has changed, the config cleans in another way), it reads everything and says why.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

from interest_tiers.cleaning.increment import describe_vanished
from interest_tiers.cleaning.quality import measure_quality
from interest_tiers.stages.clean_plan import name_damaged_sources, plan
from interest_tiers.stages.clean_step import newest_stored, require_limits, take
from interest_tiers.stages.clean_stream import FILES_PER_BATCH, run_stream
from interest_tiers.stages.context import StageContext, StageResult, run_command, run_stage, stage_parser


def run(context: StageContext, full: bool = False) -> StageResult:
    """Read what is new in the sources, map their columns, quarantine what cannot be used, and ask the quality gate."""
    with name_damaged_sources(context):
        increment = plan(context, full)
        if increment.files:
            return take(context, increment)
        # No rows came, but the newest events may have become too old for the gate.
        require_limits(context, measure_quality([], context.config.quality, {}, {}, newest_stored(context), context.today))
        return StageResult(0, 0, "; ".join(["nothing new", *describe_vanished(increment)]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line of clean."""
    parser = stage_parser("clean", run.__doc__)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--full", action="store_true", help="read all files, also those that were read before, and replace the tables")
    how.add_argument("--stream", action="store_true", help="take new files step by step, by Structured Streaming, until none is left")
    parser.add_argument("--files-per-batch", type=int, default=FILES_PER_BATCH, metavar="N", help="with --stream: files of one step")
    parser.add_argument("--checkpoints", metavar="DIR", help="with --stream: folder of its checkpoints; default: a folder of the warehouse")
    arguments = parser.parse_args(argv)
    return run_command("clean", arguments, lambda context: run_stage("clean", _stage(arguments), context))


def _stage(arguments: argparse.Namespace) -> Callable[[StageContext], StageResult]:
    if arguments.stream:
        return partial(run_stream, files_per_batch=arguments.files_per_batch, checkpoints=arguments.checkpoints)
    return partial(run, full=arguments.full)
