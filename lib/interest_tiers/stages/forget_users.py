"""forget_users: removes users from every table, from the report and, as far as the tables' retention allows, from their past."""

from collections.abc import Mapping
from datetime import UTC, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.cleaning.forgetting import (
    extract_values,
    extract_words,
    find_keys_naming,
    read_ids,
    select_unused_vectors,
    user_hash,
    user_ids_in,
)
from interest_tiers.errors import ConfigError, WarehouseError
from interest_tiers.interests.user_texts import select_written_texts
from interest_tiers.sources.files import read_lines
from interest_tiers.stages.context import RunContext
from interest_tiers.stages.forget_report import describe_past
from interest_tiers.stages.results import StageResult
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

#: The tables that hold or name users. The list of users comes last: a run after one that was killed still finds who is known.
TABLES_OF_USERS = (*(t for t in TABLES if (t.has_users or t.names_users is not None) and t is not USERS), USERS)


def preflight(context: RunContext, users: str | None = None, vacuum_only: bool = False, retention_hours: int | None = None) -> list[str]:
    """Check the options, and that the warehouse has tables; a folder that has none stays as it is."""
    if (users is None) != vacuum_only:
        raise ConfigError("give one of --users FILE and --vacuum-only")
    if not any(context.warehouse.exists(table) for table in TABLES_OF_USERS):
        raise WarehouseError(f"--warehouse {context.warehouse.location}: there is no table of users; give the warehouse of a pipeline")
    return []


def run(context: RunContext, users: str | None = None, vacuum_only: bool = False, retention_hours: int | None = None) -> StageResult:
    """Remove the users of a file from all tables and files, vacuum the tables, and print what older versions still hold."""
    given, unknown, removed = 0, 0, {}
    tables = [table for table in (*TABLES_OF_USERS, TEXT_EMBEDDINGS) if context.warehouse.exists(table)]
    if users is not None:
        forgotten = context.warehouse.stage(f"{NAME}/users", read_user_ids(context.warehouse, users))
        given, unknown = _count(context.warehouse, forgotten, users)
        _note_forgotten(context.warehouse, forgotten)
        written = context.warehouse.stage(f"{NAME}/written", _texts_of(context.warehouse, forgotten))
        removed = {table.name: forget(context.warehouse, table, forgotten) for table in tables if table is not TEXT_EMBEDDINGS}
        if TEXT_EMBEDDINGS in tables:
            removed[TEXT_EMBEDDINGS.name] = _forget_vectors(context.warehouse, written)
        live_runs = context.warehouse.delete_files_of_users()
        if live_runs:
            print(f"Staging tables of {', '.join(live_runs)} may name these users until the runs end: run forget_users again then.")
    forgotten_at = _last_forgotten_at(context.warehouse)
    vacuumed = [context.warehouse.vacuum(table, forgotten_at, retention_hours) for table in tables]
    print("\n".join(describe_past(vacuumed, removed)))
    return StageResult(given, sum(removed.values()), _message(users is not None, retention_hours, given, unknown, removed))


def read_user_ids(warehouse: Warehouse, path: str) -> DataFrame:
    """Read the ids of a file, one per line, as cleaning reads them.

    Returns: (user_id string), one row per id.
    Raises ConfigError when the path does not exist or is no text.
    """
    lines = read_lines(warehouse.spark, path, f"--users {path}")
    if not lines.where(F.col("value").contains("\0")).isEmpty():
        raise ConfigError(f"--users {path}: not a text file; give one user id per line, in UTF-8")
    return read_ids(lines)


def forget(warehouse: Warehouse, table: Table, users: DataFrame) -> int:
    """Remove users from one table; returns the number of rows. users: (user_id string), one row per user, staged."""
    warehouse.keep_users_out_of_log(table)
    removed = warehouse.delete_users(table, users) if table.has_users else 0
    if table.names_users is None:
        return removed
    column = table.names_users.column
    names = extract_values(F.col(column)) if table is INTERACTIONS_QUARANTINE else extract_words(F.col(column))
    rows = warehouse.read(table).where(table.names_users.within)
    keys = warehouse.stage(f"{NAME}/{table.name}", find_keys_naming(rows, table.key, user_ids_in(names), users))
    if table.schema[column].nullable:
        return removed + warehouse.empty(table, keys, column)
    return removed + warehouse.delete_keys(table, keys)


def _texts_of(warehouse: Warehouse, users: DataFrame) -> DataFrame:
    """Find what these users wrote. Returns: (text_hash)."""
    if not warehouse.exists(INTERACTIONS):
        return users.select(F.lit("").alias("text_hash")).where(F.lit(False))
    return select_written_texts(warehouse.read(INTERACTIONS).join(users, "user_id", "left_semi")).select("text_hash")


def _forget_vectors(warehouse: Warehouse, written: DataFrame) -> int:
    """Remove the vectors of texts that only forgotten users wrote, after their rows; returns how many. written: (text_hash), staged."""
    used = []
    if warehouse.exists(INTERACTIONS):
        used.append(select_written_texts(warehouse.read(INTERACTIONS)))
    if warehouse.exists(ITEMS):
        used.append(warehouse.read(ITEMS).where("text_hash IS NOT NULL"))
    vectors = select_unused_vectors(warehouse.read(TEXT_EMBEDDINGS).select(*TEXT_EMBEDDINGS.key), written, used)
    return warehouse.delete_keys(TEXT_EMBEDDINGS, warehouse.stage(f"{NAME}/vectors", vectors))


def _count(warehouse: Warehouse, users: DataFrame, path: str) -> tuple[int, int]:
    """Count the ids, and those that the table users does not know."""
    given = users.count()
    if given == 0:
        raise ConfigError(f"--users {path}: the file has no user id; give one per line")
    known = users.join(warehouse.read(USERS), "user_id", "left_semi").count() if warehouse.exists(USERS) else 0
    return given, given - known


def _note_forgotten(warehouse: Warehouse, users: DataFrame) -> None:
    """Note who is forgotten, before any row goes, so that the next clean brings nobody back."""
    noted = users.select(user_hash(F.col("user_id")).alias("user_hash"), F.lit(datetime.now(UTC)).alias("forgotten_at"))
    warehouse.insert_missing(FORGOTTEN_USERS, warehouse.stage(f"{NAME}/noted", noted))


def _last_forgotten_at(warehouse: Warehouse) -> datetime | None:
    if not warehouse.exists(FORGOTTEN_USERS):
        return None
    newest = warehouse.read(FORGOTTEN_USERS).agg(F.max("forgotten_at").alias("time")).first()
    return None if newest is None else newest["time"]


def _message(has_users: bool, retention_hours: int | None, given: int, unknown: int, removed: Mapping[str, int]) -> str:
    """Describe the run by counts alone: the run record stays, and must name no user."""
    parts = []
    if has_users:
        rows = ", ".join(f"{name} {count:,}" for name, count in removed.items())
        parts.append(f"{given:,} ids, {unknown:,} of them not in the table users; rows removed: {rows}")
    if retention_hours is None:
        parts.append("old files kept as long as each table's retention says")
    else:
        parts.append(f"retention set to {retention_hours:,} hours for this vacuum: older versions cannot be read any more")
    return "; ".join(parts)
