"""The first and the last lines of text files, read on the driver; and what a file is where it is not what its name says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

#: Bytes from the end of a file in which its last line is looked for first, and at most.
FIRST_BYTES, MOST_BYTES = 4096, 4 * 1024 * 1024

#: Characters that do not make a line.
BLANKS = " \t\r\n"

#: First bytes of files that are not text, as they look in any text encoding, with what to do.
_SIGNATURES = {
    "PK\x03\x04": "a zip archive or a workbook; unpack it, or save its sheet as CSV",
    "\x1f": "packed by gzip; give its name the ending .gz",
    "PAR1": "Parquet; set the format to parquet",
    "Obj\x01": "Avro, which Spark reads only with another package; write it as Parquet",
    "ORC": "ORC; write it as Parquet",
    "SQLite format 3": "a SQLite database; export its table as CSV",
}

#: The first line that Excel writes, or wants, where the separator is not that of the country.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


@dataclass(frozen=True)
class FileEnds:
    """The ends of a text file.

    above:     lines above the header, or above the rows where there is no header
    separator: as a line sep=; names it; None without one
    header:    the first line below; None where there is none
    last:      the last line that is not blank; None where there is none, or the file is packed
    """

    above: tuple[str, ...]
    separator: str | None
    header: str | None
    last: str | None
    is_packed: bool


def read_ends(spark: SparkSession, file: str, encoding: str, skip_lines: int = 0, comment: str = "") -> FileEnds:
    """Read the first lines of a text file, unpacked where its name has a codec's suffix; and its last line where it is not packed."""
    jvm: Any = spark._jvm
    hadoop = spark._jsparkSession.sessionState().newHadoopConf()
    target = jvm.org.apache.hadoop.fs.Path(file)
    system = target.getFileSystem(hadoop)
    codec = jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(hadoop).getCodec(target)
    stream = system.open(target)
    try:
        unpacked = stream if codec is None else codec.createInputStream(stream)
        lines = jvm.java.io.BufferedReader(jvm.java.io.InputStreamReader(unpacked, encoding))
        above, separator, header = _read_head(lines, skip_lines, comment)
    finally:
        stream.close()
    last = _read_last_line(jvm, system, target, encoding) if codec is None and header is not None else None
    return FileEnds(tuple(above), separator, header, last, codec is not None)


def recognise(beginning: str) -> str | None:
    """Say what a file is by its first characters; None where it may be text."""
    return next((what for signature, what in _SIGNATURES.items() if beginning.startswith(signature)), None)


def _read_head(lines: Any, skip_lines: int, comment: str) -> tuple[list[str], str | None, str | None]:
    above: list[str] = []
    separator = None
    while (read := lines.readLine()) is not None:
        line = str(read) if above else str(read).removeprefix("\ufeff")
        found = _SEPARATOR_LINE.fullmatch(line.rstrip()) if not above else None
        if found is not None:
            separator = found.group(1)
            above.append(line)
            skip_lines = max(skip_lines, 1)
        elif len(above) < skip_lines:
            above.append(line)
        # As Spark does, blank lines and comments are passed over.
        elif line.strip() and not (comment and line.startswith(comment)):
            return above, separator, line
    return above, separator, None


def _read_last_line(jvm: Any, system: Any, target: Any, encoding: str) -> str | None:
    """Read the last line that is not blank; the end of it where it is longer than MOST_BYTES."""
    length = int(system.getFileStatus(target).getLen())
    stream = system.open(target)
    try:
        wide = re.sub("[-_]", "", encoding.upper())
        width = 4 if wide.startswith("UTF32") else 2 if wide.startswith("UTF16") else 1
        if wide == "UTF16":
            encoding = "UTF-16LE" if bytes(stream.readNBytes(2)) == b"\xff\xfe" else "UTF-16BE"
        size = FIRST_BYTES
        while True:
            start = max(0, length - size)
            stream.seek(start - start % width)
            text = str(jvm.java.lang.String(stream.readAllBytes(), encoding))
            _, newline, last = re.sub("\r\n?", "\n", text).rstrip(BLANKS).rpartition("\n")
            if newline or start == 0 or size >= MOST_BYTES:
                return last.removeprefix("\ufeff") or None
            size *= 32
    finally:
        stream.close()
