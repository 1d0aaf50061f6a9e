"""What a reader reads: everything behind a path, or some files of it; and files that go into one call of Spark's reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.errors import ConfigError
from interest_tiers.sources.files import escape_wildcards, folders_of, list_files

#: Headers and footers that are read at the same time.
PARALLEL_READS = 16

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Location:
    """Where rows are read from.

    options:     of Spark's reader, defaults included
    files:       only these of the files behind the path; None for all
    skip_lines:  lines above the header of every CSV file
    file_column: a column to add, with the name of the file; None for none
    """

    spark: SparkSession
    path: str
    options: Mapping[str, str]
    files: list[str] | None = None
    skip_lines: int = 0
    file_column: str | None = None

    @cached_property
    def every_file(self) -> list[str]:
        """List the files. Raises ConfigError where there are none."""
        if self.files is not None:
            return self.files
        listed = list_files(self.spark, self.path, "binaryFile", self.options).select("path").orderBy("path").collect()
        if not listed:
            raise ConfigError(f"{self.path}: the file has no header and no rows")
        return [row["path"] for row in listed]

    @property
    def parts(self) -> list[tuple[list[str], dict[str, str]]]:
        """Return the arguments of Spark's reader: paths, and the options that go with them."""
        return [([self.path], dict(self.options))] if self.files is None else self.parts_of(self.files)

    def parts_of(self, files: Sequence[str]) -> list[tuple[list[str], dict[str, str]]]:
        """Return the arguments for some files; folders below the path, such as day=2024-01-01, stay columns."""
        folders = folders_of(self.spark, self.path)
        above = [next((folder for folder in folders if file.startswith(f"{folder}/")), None) for file in files]
        has_own = any(key.lower() == "basepath" for key in self.options)
        bases = [{} if folder is None or has_own else {"basePath": folder} for folder in dict.fromkeys(above)]
        groups = group_files(files, [str(folder) for folder in above])
        return [(escape_wildcards(group), {**self.options, **base}) for group, base in zip(groups, bases, strict=True)]

    def option(self, *names: str, default: str = "") -> str:
        """Return an option of the reader by any of its names. As in Spark, their case does not matter, and the last one counts."""
        wanted = {name.lower() for name in names}
        return next((value for key, value in reversed(list(self.options.items())) if key.lower() in wanted), default)

    def name_files(self, rows: DataFrame) -> DataFrame:
        """Add the column with the name of the file, to rows as Spark's reader gives them."""
        if self.file_column is None:
            return rows
        if self.file_column.lower() in (name.lower() for name in rows.columns):
            raise ConfigError(f"file_column is {self.file_column!r}: {self.path} has a column of that name; choose another")
        # Spark writes the name as in a URL, where a plus is a plus.
        name = F.url_decode(F.replace(F.col("_metadata.file_name"), F.lit("+"), F.lit("%2B")))
        return rows.select("*", name.alias(self.file_column))


def group_files(files: Sequence[str], kinds: Sequence[str]) -> list[list[str]]:
    """Group files of the same kind, in the order in which the kinds come up."""
    groups: dict[str, list[str]] = {}
    for file, kind in zip(files, kinds, strict=True):
        groups.setdefault(kind, []).append(file)
    return list(groups.values())


def read_in_parallel(read: Callable[[str], _Read], files: Sequence[str]) -> list[_Read]:
    """Apply a function to files, some at the same time."""
    with ThreadPoolExecutor(PARALLEL_READS) as threads:
        return list(threads.map(read, files))
