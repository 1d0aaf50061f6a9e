"""Faults of Spark's readers as messages that name the path and the damaged file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException

from interest_tiers.errors import ConfigError, short_message

#: What univocity, Spark's parser of CSV, says where a value is longer than the option maxCharsPerColumn.
_TOO_LONG = r"exceeds the maximum number of characters"

#: What PySpark raises for a fault in the JVM: its own classes for some, Py4J's for the rest, such as a failed task.
SPARK_FAULTS = (PySparkException, Py4JJavaError)

#: Characters of one value of CSV above which a file is refused: more likely, a quote was never closed.
LONGEST_VALUE = 4_000_000

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


def too_long_value(error: Exception) -> str | None:
    """Say what is wrong where a value of a CSV file is too long; None for other faults."""
    if re.search(_TOO_LONG, str(error)) is None:
        return None
    longest = re.search(r"your parser settings \((\d+)\)", str(error))
    return (
        f"has a value of more than {int(longest.group(1)) if longest else LONGEST_VALUE:,} characters. Most often a quote is opened there "
        'and never closed: where quotes are plain characters, set options.quote to "". Otherwise raise options.maxCharsPerColumn'
    )


def read_or_config_error(
    path: str, reader_format: str, read: Callable[[], _Read], advice: str = "; correct the path in the config"
) -> _Read:
    """Read, and raise ConfigError with the path where nothing is there or it cannot be read as its format."""
    try:
        return read()
    except SPARK_FAULTS as error:
        reason, damaged = short_message(error), damaged_file(error)
        if "PATH_NOT_FOUND" in reason:
            # A path may have both: a name in brackets, and nothing that fits them as a wildcard.
            hint = "; [ ] are a wildcard for one character, write \\[ and \\] for themselves" if "[" in path else ""
            raise ConfigError(f"{path}: no such file, folder or glob{hint}{advice}") from error
        if (too_long := too_long_value(error)) is not None:
            raise ConfigError(f"{path}: {too_long}") from error
        if "UNABLE_TO_INFER_SCHEMA" in reason:
            raise ConfigError(
                f"{path}: cannot be read as {reader_format}: it holds no such file; correct the path or the format"
            ) from error
        if damaged is not None:
            raise ConfigError(f"{path}: cannot be read as {reader_format}: {damaged} is cut short or damaged") from error
        if isinstance(error, AnalysisException):
            raise ConfigError(f"{path}: cannot be read as {reader_format}: {reason}") from error
        raise
