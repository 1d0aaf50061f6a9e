"""Every stage, declared once. Commands, the pipeline, plans, the report's list and a table of the docs follow from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from interest_tiers.errors import ConfigError
from interest_tiers.stages.declaration import Option, Stage
from interest_tiers.storage.schemas import (
    CLUSTER_MODELS,
    CLUSTERS,
    DATA_QUALITY,
    FORGOTTEN_USERS,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    INTERESTS,
    ITEM_INTERESTS,
    ITEM_VERSIONS,
    ITEMS,
    METRICS,
    RECOMMENDATIONS,
    RUNS,
    SOURCE_FILES,
    TABLES,
    TEXT_EMBEDDINGS,
    USER_CLUSTERS,
    USER_INTERESTS,
    USER_TIERS,
    USER_VECTORS,
    USERS,
    Table,
)

#: Files that clean takes in one step of a stream, unless the command says so.
FILES_PER_BATCH = 1000


def _function_of(stage: str, name: str) -> Callable[..., Any]:
    """Return a function of a stage's module, which is imported at its first call: help and completion need no Spark."""

    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(import_module(f"interest_tiers.stages.{stage}"), name)(*arguments, **options)

    return call


def _parse_hours(text: str) -> int:
    hours = int(text)
    if hours < 0:
        raise ValueError(f"{text}: a retention is 0 hours or more")
    return hours


#: What training, scoring and the back-test read of the data.
_EVIDENCE: tuple[Table, ...] = (INTERACTIONS, ITEMS, USERS, ITEM_INTERESTS, INTERESTS)

#: The stages of the pipeline, in their order.
STAGES: tuple[Stage, ...] = (
    Stage(
        "clean",
        "read raw files into interactions, items and users; quarantine what cannot be used",
        _function_of("clean", "run"),
        may_read=(FORGOTTEN_USERS,),
        writes=(INTERACTIONS, INTERACTIONS_QUARANTINE, DATA_QUALITY, ITEM_VERSIONS, ITEMS, USERS, SOURCE_FILES),
        sections=("interactions", "items", "users", "behaviours", "values", "noise", "quality"),
        options=(
            Option("full", "read all files, also those that an earlier run read, and replace the tables", in_pipeline=True),
            Option("stream", "take new files in steps, by Structured Streaming, until none is left", excludes="full"),
            Option("files_per_batch", "with --stream: files of one step", int, FILES_PER_BATCH, metavar="N"),
            Option("checkpoints", "with --stream: folder of the stream's checkpoints; default: in the warehouse", str, metavar="DIR"),
        ),
        preflight=_function_of("clean", "preflight"),
    ),
    Stage(
        "embed",
        "embed each distinct text, once per model",
        _function_of("embed", "run"),
        reads=(INTERACTIONS, ITEMS),
        writes=(TEXT_EMBEDDINGS, METRICS),
        sections=("embedding", "interests"),
        preflight=_function_of("embed", "preflight"),
    ),
    Stage(
        "build_interests",
        "find the interest of each item, describe the interests, sum every user's evidence",
        _function_of("build_interests", "run"),
        reads=(INTERACTIONS, ITEMS),
        may_read=(TEXT_EMBEDDINGS,),
        writes=(ITEM_INTERESTS, INTERESTS, USER_INTERESTS),
        sections=("behaviours", "interests", "augmentation", "tiers"),
    ),
    Stage(
        "train_tiers",
        "train the network of tiers on past cutoffs whose horizon is over",
        _function_of("train_tiers", "run"),
        reads=_EVIDENCE,
        may_read=(TEXT_EMBEDDINGS,),
        writes=(METRICS,),
        sections=("behaviours", "interests", "embedding", "tiers"),
        options=(
            Option("search", "train no model: try N settings of the network, or N half-lives of the rule", int, metavar="N"),
        ),
        preflight=_function_of("train_tiers", "preflight"),
    ),
    Stage(
        "assign_tiers",
        "predict core, secondary and marginal interests, by the network or by the rule",
        _function_of("assign_tiers", "run"),
        reads=(*_EVIDENCE, USER_INTERESTS),
        may_read=(TEXT_EMBEDDINGS,),
        writes=(USER_TIERS, METRICS),
        sections=("behaviours", "interests", "embedding", "tiers"),
        options=(
            Option(
                "retrain",
                "auto: train a new network as of this day where tiers drifted further than tiers.drift allows",
                str,
                "never",
                choices=("never", "auto"),
                in_pipeline=True,
            ),
        ),
        preflight=_function_of("assign_tiers", "preflight"),
        follows=("train_tiers",),
    ),
    Stage(
        "cluster_users",
        "compute user vectors, give users clusters of users who are alike, describe the clusters",
        _function_of("cluster_users", "run"),
        reads=(INTERACTIONS, ITEMS, ITEM_INTERESTS, USER_INTERESTS, INTERESTS),
        may_read=(TEXT_EMBEDDINGS, USERS),
        writes=(CLUSTER_MODELS, USER_VECTORS, CLUSTERS, USER_CLUSTERS, METRICS),
        sections=("behaviours", "interests", "embedding", "clustering"),
    ),
    Stage(
        "recommend",
        "rank the items to show each user next, with reasons",
        _function_of("recommend", "run"),
        reads=(INTERACTIONS, ITEMS, ITEM_INTERESTS, USER_INTERESTS, USER_TIERS, USER_CLUSTERS, CLUSTERS, INTERESTS),
        may_read=(TEXT_EMBEDDINGS, USERS),
        writes=(RECOMMENDATIONS,),
        sections=("behaviours", "interests", "embedding", "tiers", "recommend"),
        preflight=_function_of("recommend", "preflight"),
    ),
    Stage(
        "evaluate",
        "back-test tiers, clusters and recommendations against the days held back",
        _function_of("evaluate", "run"),
        reads=(INTERACTIONS, ITEMS, USERS),
        may_read=(ITEM_INTERESTS, TEXT_EMBEDDINGS, USER_TIERS),
        writes=(METRICS,),
        sections=("behaviours", "interests", "augmentation", "embedding", "tiers", "clustering", "recommend", "evaluation"),
        options=(Option("thorough", "also judge rankers without each group of features, and MLlib's ALS; takes minutes"),),
        preflight=_function_of("evaluate", "preflight"),
    ),
    Stage(
        "report",
        "write the report of one day as an HTML page",
        _function_of("report", "run"),
        reads=(
            INTERACTIONS, INTERACTIONS_QUARANTINE, ITEMS, USERS, INTERESTS, USER_INTERESTS, USER_TIERS, USER_VECTORS, CLUSTERS,
            USER_CLUSTERS, RECOMMENDATIONS,
        ),
        may_read=(METRICS, RUNS, DATA_QUALITY, CLUSTER_MODELS),
        options=(
            Option("show_users", "show user ids in the report; default: masked", in_pipeline=True),
            Option("report_to", "path of the report; default: report/index.html of the warehouse", str, metavar="PATH", in_pipeline=True),
            Option("language", "language of the report", str, "en", choices=("en", "zh"), in_pipeline=True),
        ),
        preflight=_function_of("report", "preflight"),
    ),
)  # fmt: skip

#: Commands on a data set that the pipeline does not run.
COMMANDS: tuple[Stage, ...] = (
    Stage(
        "finetune_encoder",
        "fine-tune the language model on what users touched and wrote before as_of",
        _function_of("finetune_encoder", "run"),
        reads=(INTERACTIONS, ITEMS),
        writes=(METRICS,),
        sections=("behaviours", "embedding", "fine_tuning", "tiers"),
        preflight=_function_of("finetune_encoder", "preflight"),
        command=True,
    ),
    Stage(
        "prune_embeddings",
        "remove the vectors that nothing refers to, and join small files",
        _function_of("prune_embeddings", "run"),
        reads=(INTERACTIONS, ITEMS),
        writes=(TEXT_EMBEDDINGS,),
        sections=("embedding",),
        options=(
            Option("other_models", "also remove the vectors of all models but the configured one"),
            Option("dry_run", "count, and remove nothing"),
        ),
        command=True,
    ),
    Stage(
        "forget_users",
        "remove users from every table, from the report and, as far as retention allows, from the past",
        _function_of("forget_users", "run"),
        may_read=TABLES,
        writes=TABLES,
        options=(
            Option("users", "one user id per line, UTF-8; a file, folder or glob of any file system that Spark knows", str, metavar="FILE"),
            Option("vacuum_only", "remove old files of users who were forgotten before", excludes="users"),
            Option(
                "retention_hours",
                "set the tables' retention to this for the vacuum, then back: older versions are lost, and nothing else may run; "
                "default: the tables' own, 7 days unless set",
                _parse_hours,
                metavar="HOURS",
            ),
        ),
        preflight=_function_of("forget_users", "preflight"),
        command=True,
        has_config=False,
    ),
)


def find_stage(name: str) -> Stage:
    """Return the stage or command of that name. Raises KeyError."""
    return {stage.name: stage for stage in (*STAGES, *COMMANDS)}[name]


def select_stages(first: str, last: str) -> tuple[Stage, ...]:
    """Return the stages of the pipeline from first to last. Raises ConfigError where last comes before first."""
    names = [stage.name for stage in STAGES]
    part = STAGES[names.index(first) : names.index(last) + 1]
    if not part:
        raise ConfigError(f"--from {first} --to {last}: {last} comes before {first}. The order is {', '.join(names)}")
    return part


def dependencies_of(stage: Stage) -> tuple[Stage, ...]:
    """Return the earlier stages of the pipeline that must have ended before a stage begins, without those that others of them wait for."""
    earlier = STAGES[: STAGES.index(stage)]
    needed = [each for each in earlier if _feeds(each, stage)]
    implied = {name for each in needed for name in _ancestors(each)}
    return tuple(each for each in needed if each.name not in implied)


def _feeds(earlier: Stage, stage: Stage) -> bool:
    return earlier.name in stage.follows or any(table in (*stage.reads, *stage.may_read) for table in earlier.writes)


def _ancestors(stage: Stage) -> set[str]:
    direct = dependencies_of(stage)
    return {each.name for each in direct}.union(*(_ancestors(each) for each in direct))


def writers_of(table: Table) -> Sequence[Stage]:
    """Return the stages of the pipeline that write a table."""
    return [stage for stage in STAGES if table in stage.writes]
