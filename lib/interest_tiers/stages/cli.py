"""interest-tiers STAGE …: every job in local mode, and show."""

import sys
from collections.abc import Callable, Mapping, Sequence

from interest_tiers.stages import (
    assign_tiers,
    build_interests,
    clean,
    cluster_users,
    embed,
    evaluate,
    export_encoder,
    finetune_encoder,
    forget_users,
    pipeline,
    prune_embeddings,
    recommend,
    report,
    show,
    train_tiers,
)

COMMANDS: Mapping[str, Callable[[Sequence[str] | None], int]] = {
    "pipeline": pipeline.main,
    "show": show.main,
    "clean": clean.main,
    "embed": embed.main,
    "build_interests": build_interests.main,
    "train_tiers": train_tiers.main,
    "assign_tiers": assign_tiers.main,
    "cluster_users": cluster_users.main,
    "recommend": recommend.main,
    "finetune_encoder": finetune_encoder.main,
    "evaluate": evaluate.main,
    "report": report.main,
    "forget_users": forget_users.main,
    "export_encoder": export_encoder.main,
    "prune_embeddings": prune_embeddings.main,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the arguments to the job that the first one names; 2 when there is none of that name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    names = ", ".join(COMMANDS)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: interest-tiers COMMAND …\n\nCOMMAND is one of {names}; interest-tiers COMMAND --help says more.")
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        print(f"error: there is no command {arguments[0]!r}; there are {names}", file=sys.stderr)
        return 2
    return COMMANDS[arguments[0]](arguments[1:])
