"""The files behind a path: which there are, what state each is in, which folders hold them. No rows are read here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.sources.delta import delta_folder, delta_state
from interest_tiers.sources.faults import read_or_config_error

#: Spark's columns of a file. The content is read only where it is selected.
BINARY_FILE = "path string, modificationTime timestamp, length bigint, content binary"

#: Reader options that choose among the files of a folder.
CHOOSING_OPTIONS = ("recursivefilelookup", "pathglobfilter", "modifiedafter", "modifiedbefore")


def list_files(spark: SparkSession, path: str, reader_format: str, options: Mapping[str, str]) -> DataFrame:
    """List the files behind a path. A Delta table is one entry, whose state is its version.

    Returns: (path string, state string), one row per file; the state of a file differs when the file does.
    Raises ConfigError when the path does not exist.
    """
    if reader_format == "delta":
        return delta_state(spark, path)
    files = read_or_config_error(path, "binaryFile", lambda: spark.read.options(**_choosing(options)).format("binaryFile").load(path))
    return files.select("path", file_state().alias("state"))


def file_state() -> Column:
    """Write the state of a file from Spark's columns length and modificationTime."""
    changed = F.date_format("modificationTime", "yyyy-MM-dd'T'HH:mm:ss.SSS")
    return F.concat("length", F.lit(" bytes, "), changed)


def watch_files(spark: SparkSession, path: str, options: Mapping[str, str], files_per_batch: int) -> DataFrame:
    """Stream the list of files behind a path, without their content.

    Returns: (path string, state string), as list_files.
    """
    reader = spark.readStream.options(**_choosing(options), maxFilesPerTrigger=str(files_per_batch)).schema(BINARY_FILE)
    files = read_or_config_error(path, "binaryFile", lambda: reader.format("binaryFile").load(path))
    return files.select("path", file_state().alias("state"))


def read_lines(spark: SparkSession, path: str, called: str) -> DataFrame:
    """Read the lines of text files. called: the path as messages name it.

    Returns: (value string), one row per line. Raises ConfigError when the path does not exist or is no text.
    """
    return read_or_config_error(called, "text", lambda: spark.read.text(path), advice="")


def is_behind(spark: SparkSession, file: str, path: str, reader_format: str, options: Mapping[str, str]) -> bool:
    """Whether a file that Spark named in an error belongs to the source at a path."""
    name = _plain(file)
    if reader_format == "delta":
        return name.startswith(f"{_plain(delta_folder(spark, path))}/")
    listed = list_files(spark, path, reader_format, options)
    # Spark encodes the path in some messages and not in others.
    last = name.rpartition("/")[2]
    return any(_plain(row["path"]) == name for row in listed.where(F.col("path").endswith(last)).select("path").collect())


def folders_of(spark: SparkSession, path: str) -> list[str]:
    """Return the folders that a path names, wildcards resolved."""
    jvm: Any = spark._jvm
    target = jvm.org.apache.hadoop.fs.Path(path)
    found = target.getFileSystem(_hadoop_conf(spark)).globStatus(target)
    return [str(status.getPath().toString()) for status in found or () if status.isDirectory()]


def first_file(spark: SparkSession, path: str) -> str | None:
    """Find one file behind a path, without a Spark job; None where there is none. Names that begin with _ or . are hidden, as to Spark."""
    jvm: Any = spark._jvm
    target = jvm.org.apache.hadoop.fs.Path(path)
    system = target.getFileSystem(_hadoop_conf(spark))
    for status in system.globStatus(target) or ():
        if not status.isDirectory():
            return str(status.getPath().toString())
        # Listed by and by: a folder may hold any number of files and folders.
        listings = [system.listStatusIterator(status.getPath())]
        while listings:
            if not listings[-1].hasNext():
                listings.pop()
                continue
            found = listings[-1].next()
            if str(found.getPath().getName()).startswith(("_", ".")):
                continue
            if not found.isDirectory():
                return str(found.getPath().toString())
            listings.append(system.listStatusIterator(found.getPath()))
    return None


def first_bytes(spark: SparkSession, file: str, n_bytes: int) -> bytes:
    """Read the first bytes of a file as they are stored."""
    jvm: Any = spark._jvm
    target = jvm.org.apache.hadoop.fs.Path(file)
    stream = target.getFileSystem(_hadoop_conf(spark)).open(target)
    try:
        return bytes(stream.readNBytes(n_bytes))
    finally:
        stream.close()


def escape_wildcards(files: Sequence[str]) -> list[str]:
    """Escape the characters that Spark would take for wildcards."""
    return [re.sub(r"([\[\]{}*?\\])", r"\\\1", file) for file in files]


def _choosing(options: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in options.items() if k.lower() in CHOOSING_OPTIONS}


def _plain(path: str) -> str:
    """A path without what differs between Spark's spellings of it: file:///a%20b, file:/a b."""
    return re.sub(r"^([a-z0-9]+:)/+", r"\1/", unquote(path)).removeprefix("file:").rstrip("/")


def _hadoop_conf(spark: SparkSession) -> Any:
    return spark._jsparkSession.sessionState().newHadoopConf()
