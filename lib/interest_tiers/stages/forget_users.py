"""forget_users: remove users from every table, from the report and, as far as the tables' retention allows, from their past."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from interest_tiers.cleaning.columns import identifier
from interest_tiers.cleaning.forgetting import keys_naming, named_values, user_hash, words_and_fields
from interest_tiers.errors import ConfigError, WarehouseError
from interest_tiers.interests.user_texts import written_texts
from interest_tiers.sources.reading import read_lines
from interest_tiers.spark.session import build_session
from interest_tiers.stages.context import StageResult, add_warehouse_argument, exit_code_of, new_run_id, run_stage
from interest_tiers.storage.retention import VacuumResult
from interest_tiers.storage.schemas import (
    FORGOTTEN_USERS,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    ITEMS,
    TABLES,
    TEXT_EMBEDDINGS,
    USERS,
    Table,
)
from interest_tiers.storage.warehouse import Warehouse

NAME = "forget_users"

#: The tables that hold or name users; the list of users last, so that a run that was cut short still knows whom it knew.
TABLES_OF_USERS = (*(t for t in TABLES if (t.has_users or t.names_users is not None) and t is not USERS), USERS)


@dataclass
class ForgetContext:
    """What the command line says, and what the run record needs. users: a file; None to vacuum only."""

    warehouse: Warehouse
    users: str | None
    retention_hours: int | None
    run_id: str = field(default_factory=new_run_id)
    requested_as_of: date | None = None
    input_versions: dict[str, int] = field(default_factory=dict)
    config_sha256: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Forget the users of a file; returns the exit code."""
    arguments = _parser().parse_args(argv)

    def work() -> None:
        warehouse = Warehouse(build_session(f"interest-tiers {NAME}"), arguments.warehouse)
        if not any(warehouse.exists(table) for table in TABLES_OF_USERS):
            raise WarehouseError(f"--warehouse {arguments.warehouse}: there is no table of users; give the warehouse of a pipeline")
        run_stage(NAME, run, ForgetContext(warehouse, arguments.users, arguments.retention_hours))

    return exit_code_of(work)


def run(context: ForgetContext) -> StageResult:
    """Remove the users of a file from all tables and files, then remove old files, and say what of the past is left."""
    asked, unknown, removed = 0, 0, {}
    tables = [table for table in (*TABLES_OF_USERS, TEXT_EMBEDDINGS) if context.warehouse.exists(table)]
    if context.users is not None:
        users = context.warehouse.stage(f"{NAME}/users", read_user_ids(context.warehouse, context.users))
        asked, unknown = _count(context.warehouse, users, context.users)
        _enter(context.warehouse, users)
        written = context.warehouse.stage(f"{NAME}/written", _texts_of(context.warehouse, users))
        removed = {table.name: forget(context.warehouse, table, users) for table in tables if table is not TEXT_EMBEDDINGS}
        if TEXT_EMBEDDINGS in tables:
            removed[TEXT_EMBEDDINGS.name] = _forget_vectors(context.warehouse, written)
        live_runs = context.warehouse.delete_files_of_users()
        if live_runs:
            print(f"Staging tables of {', '.join(live_runs)} may name these users until the runs end: run forget_users again then.")
    forgotten_at = _last_forgotten_at(context.warehouse)
    vacuumed = [context.warehouse.vacuum(table, forgotten_at, context.retention_hours) for table in tables]
    _print_past(vacuumed, removed)
    return StageResult(asked, sum(removed.values()), _message(context, asked, unknown, removed))


def read_user_ids(warehouse: Warehouse, path: str) -> DataFrame:
    """The ids of a file, one per line: user_id string, as cleaning reads them, each once.

    Raises ConfigError when nothing stands at the path, or what stands there is no text.
    """
    lines = read_lines(warehouse.spark, path, f"--users {path}")
    if not lines.where(F.col("value").contains("\0")).isEmpty():
        raise ConfigError(f"--users {path}: not a text file; give one user id per line, in UTF-8")
    return lines.select(identifier(F.col("value"), StringType()).alias("user_id")).where("user_id IS NOT NULL").distinct()


def forget(warehouse: Warehouse, table: Table, users: DataFrame) -> int:
    """Remove users from one table; returns how many rows. users: user_id string, each once and stored already."""
    warehouse.keep_users_out_of_log(table)
    removed = warehouse.delete_users(table, users) if table.has_users else 0
    if table.names_users is None:
        return removed
    column = table.names_users.column
    names = named_values(F.col(column)) if table is INTERACTIONS_QUARANTINE else words_and_fields(F.col(column))
    ids = F.array_distinct(F.transform(names, lambda name: identifier(name, StringType())))
    rows = warehouse.read(table).where(table.names_users.within)
    keys = warehouse.stage(f"{NAME}/{table.name}", keys_naming(rows, table.key, ids, users))
    if table.schema[column].nullable:
        return removed + warehouse.empty(table, keys, column)
    return removed + warehouse.delete_keys(table, keys)


def _texts_of(warehouse: Warehouse, users: DataFrame) -> DataFrame:
    """What these users wrote: text_hash."""
    if not warehouse.exists(INTERACTIONS):
        return users.select(F.lit("").alias("text_hash")).where(F.lit(False))
    return written_texts(warehouse.read(INTERACTIONS).join(users, "user_id", "left_semi")).select("text_hash")


def _forget_vectors(warehouse: Warehouse, written: DataFrame) -> int:
    """Remove the vectors of texts that only forgotten users wrote, after their rows; returns how many. written: text_hash, stored."""
    vectors = warehouse.read(TEXT_EMBEDDINGS).select(*TEXT_EMBEDDINGS.key).join(written, "text_hash", "left_semi")
    for table, texts_of in ((INTERACTIONS, written_texts), (ITEMS, lambda items: items.where("text_hash IS NOT NULL"))):
        if warehouse.exists(table):
            vectors = vectors.join(texts_of(warehouse.read(table)).select("text_hash").distinct(), "text_hash", "left_anti")
    return warehouse.delete_keys(TEXT_EMBEDDINGS, warehouse.stage(f"{NAME}/vectors", vectors))


def _count(warehouse: Warehouse, users: DataFrame, path: str) -> tuple[int, int]:
    """How many ids were given, and how many of them the table users does not know."""
    asked = users.count()
    if asked == 0:
        raise ConfigError(f"--users {path}: there is no user id in it; give one per line")
    known = users.join(warehouse.read(USERS), "user_id", "left_semi").count() if warehouse.exists(USERS) else 0
    return asked, asked - known


def _enter(warehouse: Warehouse, users: DataFrame) -> None:
    """Note who is forgotten, before any row goes: a clean that runs next must bring nobody back."""
    noted = users.select(user_hash(F.col("user_id")).alias("user_hash"), F.lit(datetime.now(UTC)).alias("forgotten_at"))
    warehouse.insert_missing(FORGOTTEN_USERS, warehouse.stage(f"{NAME}/noted", noted))


def _last_forgotten_at(warehouse: Warehouse) -> datetime | None:
    if not warehouse.exists(FORGOTTEN_USERS):
        return None
    newest = warehouse.read(FORGOTTEN_USERS).agg(F.max("forgotten_at").alias("time")).first()
    return None if newest is None else newest["time"]


def _print_past(vacuumed: Sequence[VacuumResult], removed: Mapping[str, int]) -> None:
    print(f"{'table':<24} {'rows removed':>12}   nothing of them can be read        versions kept")
    for past in vacuumed:
        print(f"{past.table:<24} {removed.get(past.table, 0):>12,}   {_when(past):<32}   from {past.oldest_version:,} on")
    pending = [time for past in vacuumed for time in (past.unreadable_from, past.log_unreadable_from) if _is_ahead(time)]
    if pending:
        last = max(time for time in pending if time is not None)
        print(f"Run forget_users --vacuum-only after {_shown(last)} to remove the last of it.")
    if removed:
        print("The report was removed, since it tells of single users: run the stage report again.")


def _when(past: VacuumResult) -> str:
    if past.unreadable_from is None:
        return "nobody was forgotten"
    data = f"after {_shown(past.unreadable_from)}" if _is_ahead(past.unreadable_from) else "now"
    if past.log_unreadable_from is None or not _is_ahead(past.log_unreadable_from):
        return data
    return f"{data}, log after {_shown(past.log_unreadable_from)}"


def _is_ahead(time: datetime | None) -> bool:
    return time is not None and time.astimezone(UTC) > datetime.now(UTC)


def _shown(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _message(context: ForgetContext, asked: int, unknown: int, removed: Mapping[str, int]) -> str:
    """Counts alone: this text stays, and no user may stand in it."""
    parts = []
    if context.users is not None:
        rows = ", ".join(f"{name} {count:,}" for name, count in removed.items())
        parts.append(f"{asked:,} ids, {unknown:,} of them not in the table users; rows removed: {rows}")
    if context.retention_hours is None:
        parts.append("old files kept as long as each table's retention says")
    else:
        parts.append(f"retention set to {context.retention_hours:,} hours for this vacuum: older versions cannot be read any more")
    return "; ".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"interest-tiers {NAME}", description=__doc__)
    add_warehouse_argument(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--users", metavar="FILE", help="one user id per line, UTF-8; a file, folder or glob of any file system that Spark knows"
    )
    what.add_argument("--vacuum-only", action="store_true", help="remove old files of users who were forgotten before")
    parser.add_argument(
        "--retention-hours",
        type=_hours,
        metavar="HOURS",
        help="set the retention of the tables to this for the vacuum, then back: older versions are lost, and nothing else may run; "
        "default: the tables' own, which is 7 days unless set",
    )
    return parser


def _hours(text: str) -> int:
    hours = int(text)
    if hours < 0:
        raise argparse.ArgumentTypeError(f"{text}: a retention is 0 hours or more")
    return hours
