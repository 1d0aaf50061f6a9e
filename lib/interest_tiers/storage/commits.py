"""Make Delta commits that parallel commands can survive: retries after a lost race, and counts of one's own commit."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from delta.exceptions import (
    ConcurrentAppendException,
    ConcurrentDeleteDeleteException,
    ConcurrentDeleteReadException,
    ConcurrentTransactionException,
    ConcurrentWriteException,
    DeltaConcurrentModificationException,
    MetadataChangedException,
    ProtocolChangedException,
)
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from interest_tiers.storage.snapshot import newest_commits

#: Starts the commit message of every commit that deletes users; a vacuum looks for it in the history.
REMOVES_USERS = "removes users"

#: How many of the newest commits are searched for one's own; others may have committed since.
COMMITS_SEARCHED = 100

#: What Delta raises to the loser of a race. In Python they are no subclasses of the general one.
CONFLICTS = (
    ConcurrentAppendException,
    ConcurrentDeleteDeleteException,
    ConcurrentDeleteReadException,
    ConcurrentTransactionException,
    ConcurrentWriteException,
    DeltaConcurrentModificationException,
    MetadataChangedException,
    ProtocolChangedException,
)

#: Attempts of a write, and the longest pause before the second; later pauses double.
ATTEMPTS, FIRST_PAUSE_SECONDS = 8, 0.5

log = logging.getLogger(__name__)

T = TypeVar("T")


def retry_conflicts(write: Callable[[], T], what: str) -> T:
    """Run a write, and again while it loses a race against another commit, at most ATTEMPTS times.

    Only for writes that give the same rows when they are repeated on a newer version. A write that lost has changed nothing.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return write()
        except CONFLICTS as error:
            log.info("%s: another command committed first (%s), attempt %d of %d", what, type(error).__name__, attempt, ATTEMPTS)
            # Random, so that two commands do not meet again.
            time.sleep(random.uniform(0.2, 1) * FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))  # noqa: S311
    return write()


@contextmanager
def mark_commits(spark: SparkSession, message: str = "") -> Iterator[str]:
    """Give the commits made meanwhile a message that no other commit has; it starts with the given one."""
    key, mark = "spark.databricks.delta.commitInfo.userMetadata", f"{message} {uuid.uuid4().hex}".strip()
    spark.conf.set(key, mark)
    try:
        yield mark
    finally:
        spark.conf.unset(key)


def count_committed(table: DeltaTable, mark: str, metric: str) -> int:
    """Read a count from the commit with a mark: Delta's own record costs no second scan.

    A write that changes nothing makes no commit; its count is 0.
    """
    found = next((commit for commit in newest_commits(table, COMMITS_SEARCHED) if commit.get("userMetadata") == mark), None)
    return 0 if found is None else int(found.get("operationMetrics", {}).get(metric, 0))
