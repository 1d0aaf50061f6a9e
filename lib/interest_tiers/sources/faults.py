"""Faults of Spark's readers as messages that name the path and the damaged file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException

from interest_tiers.errors import ConfigError, short_message

#: What PySpark raises for a fault in the JVM: its own classes for some, Py4J's for the rest, such as a failed task.
SPARK_FAULTS = (PySparkException, Py4JJavaError)

#: Stands for the damaged file where Spark does not name it, as with packed files that end too early.
PACKED_FILE = "a packed file"

_NAMES_A_FILE = (
    r"(?:Encountered error while reading file|Could not read footer for file:?|FAILED_READ_FILE\S*)\s+(?:FileStatus\{path=)?([^\s;]+)"
)

_Read = TypeVar("_Read")


def damaged_file(error: Exception) -> str | None:
    """Return the file that a failed job could not read, PACKED_FILE where Spark does not name it, None for other faults."""
    found = re.search(_NAMES_A_FILE, str(error))
    if found is not None:
        return found.group(1).rstrip(".")
    return PACKED_FILE if "EOFException: Unexpected end of input stream" in str(error) else None


def read_or_config_error(
    path: str, reader_format: str, read: Callable[[], _Read], advice: str = "; correct the path in the config"
) -> _Read:
    """Read, and raise ConfigError with the path where nothing is there or it cannot be read as its format."""
    try:
        return read()
    except SPARK_FAULTS as error:
        reason, damaged = short_message(error), damaged_file(error)
        if "PATH_NOT_FOUND" in reason:
            raise ConfigError(f"{path}: no such file, folder or glob{advice}") from error
        if damaged is not None:
            raise ConfigError(f"{path}: cannot be read as {reader_format}: {damaged} is cut short or damaged") from error
        if isinstance(error, AnalysisException):
            raise ConfigError(f"{path}: cannot be read as {reader_format}: {reason}") from error
        raise
