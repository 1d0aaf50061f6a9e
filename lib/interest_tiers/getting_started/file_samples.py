"""Reads samples of a user's files: CSV, JSON lines and Parquet, packed or not. Nothing here needs Spark."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from interest_tiers.config.shapes import FORMATS, PACKED, UNREADABLE_ENDINGS
from interest_tiers.errors import ConfigError
from interest_tiers.getting_started.words import name_behaviour, split_name

#: Rows at the head that a sample has all of; after them one in STRIDE, of at most MOST_ROWS rows.
HEAD, STRIDE, MOST_ROWS = 2_000, 20, 400_000

#: Lines on which the separator and the header are judged, and bytes on which the encoding is.
JUDGED_LINES, JUDGED_BYTES = 50, 1_000_000

SEPARATORS = (",", ";", "\t", "|")

#: Depth to which fields of structs become columns.
DEEPEST = 3

#: Characters of a cell that a sample keeps.
LONGEST_CELL = 2_000

_OPENERS: dict[str, Callable[[Path], Any]] = {"gz": gzip.open, "bz2": bz2.open}

Row = dict[str, Any]


@dataclass(frozen=True)
class FileSample:
    """A sample of one file, or of several with the same columns.

    paths:    the files. rows: column to cell, a missing cell is None; fields of structs are named a.b
    n_rows:   rows that were counted. is_whole: whether these are all
    explode:  array column whose elements are the rows
    options, skip_lines: what the reader needs
    """

    paths: tuple[Path, ...]
    format: str
    columns: tuple[str, ...]
    rows: list[Row]
    n_rows: int
    is_whole: bool
    options: Mapping[str, str] = field(default_factory=dict)
    skip_lines: int = 0
    explode: str | None = None


def sample_files(paths: Sequence[Path]) -> list[FileSample]:
    """Sample every file; files of one folder and the same columns become one sample, unless their names say different behaviours.

    Raises ConfigError for a file that cannot be read.
    """
    samples: dict[tuple[Any, ...], FileSample] = {}
    for path in paths:
        sample = _sample(path)
        behaviour = name_behaviour(split_name(path.name.split(".")[0]))
        key = (path.parent, behaviour, sample.format, sample.columns, tuple(sample.options.items()))
        known = samples.get(key)
        samples[key] = sample if known is None else _join(known, sample)
    return list(samples.values())


def list_files(given: Sequence[str]) -> list[Path]:
    """List the files that are given, those in folders too. Raises ConfigError where one does not exist, or none is data."""
    found: list[Path] = []
    for name in given:
        path = Path(name)
        if path.is_dir():
            inside = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith((".", "_"))]
            found += [file for file in inside if ending(file) in FORMATS]
        elif path.is_file():
            found.append(path)
        else:
            raise ConfigError(f"{name} does not exist. Give files or folders of this machine")
    if not found:
        inner = [folder.name for name in given if Path(name).is_dir() for folder in sorted(Path(name).iterdir()) if folder.is_dir()]
        advice = f". Folders within are not searched; give one of {', '.join(inner[:5])}" if inner else ""
        raise ConfigError(f"{', '.join(given)}: there is no file that ends in {', '.join(FORMATS)}, packed or not{advice}")
    return list(dict.fromkeys(found))


def ending(path: Path) -> str:
    """Return the ending of a file in lower case, without that of a packed file."""
    parts = path.name.lower().split(".")[1:]
    return next((part for part in reversed(parts) if part not in PACKED), "")


def _join(left: FileSample, right: FileSample) -> FileSample:
    return FileSample(
        (*left.paths, *right.paths), left.format, left.columns, left.rows + right.rows, left.n_rows + right.n_rows,
        left.is_whole and right.is_whole, left.options, left.skip_lines, left.explode,
    )  # fmt: skip


def _sample(path: Path) -> FileSample:
    kind = ending(path)
    if kind in UNREADABLE_ENDINGS:
        raise ConfigError(f"{path} is {UNREADABLE_ENDINGS[kind].format(ending=kind)}")
    read = {"csv": _sample_csv, "json": _sample_json, "parquet": _sample_parquet}[FORMATS.get(kind, "csv")]
    try:
        return read(path)
    except (OSError, UnicodeError, csv.Error, json.JSONDecodeError, EOFError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _open(path: Path) -> IO[bytes]:
    packed = path.suffix.lower().removeprefix(".")
    if packed in PACKED and packed not in _OPENERS:
        raise ConfigError(f"{path}: init cannot look into .{packed} files, which a run reads. Unpack one file, or give .gz")
    return _OPENERS.get(packed, lambda file: file.open("rb"))(path)


def _thin(rows: Iterator[Any]) -> tuple[list[Any], int, bool]:
    """Keep the head and one row in STRIDE; returns the rows, how many were read, and whether these are all."""
    kept, n_rows = [], 0
    for row in islice(rows, MOST_ROWS):
        if n_rows < HEAD or n_rows % STRIDE == 0:
            kept.append(row)
        n_rows += 1
    return kept, n_rows, next(rows, None) is None


def _sample_csv(path: Path) -> FileSample:
    encoding = _guess_encoding(path)
    with _open(path) as file:
        lines = (line.decode(encoding, errors="replace") for line in file)
        head = list(islice(lines, JUDGED_LINES))
    # Excel's own line; the reader knows it too.
    start = 1 if head and head[0].lower().startswith("sep=") else 0
    separator, skipped = _guess_separator(head[start:])
    start += skipped
    with _open(path) as file:
        lines = (line.decode(encoding, errors="replace").replace("\0", "") for line in file)
        parsed = csv.reader(islice(lines, start, None), delimiter=separator)
        first = [cell.strip().removeprefix("\ufeff") for cell in next(parsed, [])]
        has_header = _is_header(first)
        columns = first if has_header else [f"_c{place}" for place in range(len(first))]
        kept, n_rows, is_whole = _thin(parsed)
    rows = [{name: _clean_cell(cell) for name, cell in zip(columns, row, strict=False)} for row in kept if row]
    options = {} if (separator == "," and ending(path) == "csv") or (separator == "\t" and ending(path) == "tsv") else {"sep": separator}
    options |= {} if encoding in ("utf-8", "utf-8-sig") else {"encoding": encoding}
    options |= {} if has_header else {"header": "false"}
    return FileSample((path,), "csv", tuple(columns), rows, n_rows, is_whole, options, skipped)


def _guess_encoding(path: Path) -> str:
    with _open(path) as file:
        head = file.read(JUDGED_BYTES)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    try:
        # The last character may be cut.
        head[: head.rfind(b"\n") + 1 or None].decode("utf-8")
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"


def _guess_separator(lines: Sequence[str]) -> tuple[str, int]:
    """Return the separator with which most lines have the same number of cells, and how many lines stand above those."""

    def judge(separator: str) -> tuple[int, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=separator)]
        common = max(set(widths), key=lambda width: (widths.count(width), width), default=1)
        return (widths.count(common) * min(common - 1, 1), common)

    separator = max(SEPARATORS, key=judge)
    width = judge(separator)[1]
    above = 0
    for line in lines[:10]:
        if len(next(csv.reader([line], delimiter=separator), [])) >= width:
            break
        above += 1
    return separator, above if above < len(lines[:10]) else 0


def _is_header(cells: Sequence[str]) -> bool:
    """Whether a first row names columns: its cells differ, and none is blank, a number or a time."""
    if len(set(cells)) < len(cells):
        return False
    return not any(cell == "" or cell.lstrip("+-")[:1].isdigit() for cell in cells if len(cells) > 1)


def _clean_cell(cell: str) -> str | None:
    stripped = cell.strip()
    return stripped[:LONGEST_CELL] if stripped and stripped.lower() not in ("nan", "null", "none", "na", "n/a", "\\n") else None


def _sample_json(path: Path) -> FileSample:
    with _open(path) as file:
        lines = (text for line in file if (text := line.decode("utf-8-sig", errors="replace").strip()))
        kept, n_rows, is_whole = _thin(lines)
    if kept and kept[0].startswith("["):
        raise ConfigError(
            f"{path} is one JSON array; a run reads one object per line. Convert it: jq -c '.[]' {path.name} > {path.stem}.jsonl"
        )
    objects = [parsed for line in kept if isinstance(parsed := _parse_line(line), dict)]
    if not objects:
        raise ConfigError(f"{path} has no line that is a JSON object; a run reads one object per line")
    return _sample_objects(path, "json", objects, n_rows, is_whole)


def _parse_line(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None  # A run quarantines such a line.


def _sample_parquet(path: Path) -> FileSample:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    batches = (row for batch in file.iter_batches(batch_size=HEAD) for row in batch.to_pylist())
    kept, n_rows, is_whole = _thin(batches)
    return _sample_objects(path, "parquet", kept, n_rows, is_whole)


def _sample_objects(path: Path, kind: str, objects: Sequence[Row], n_rows: int, is_whole: bool) -> FileSample:
    """Flatten structs, and make rows of the elements of the first array of structs."""
    explode = next((name for row in objects for name, cell in row.items() if _is_list_of_structs(cell)), None)
    rows = []
    for row in objects:
        outer = _flatten({name: cell for name, cell in row.items() if name != explode}, "", 1)
        elements = (row.get(explode) or []) if explode else [{}]
        rows += [{**outer, **_flatten(element, f"{explode}." if explode else "", 1)} for element in elements]
    columns = dict.fromkeys(name for row in rows for name in row)
    # Elements are counted in the kept objects only.
    n_elements = round(n_rows * len(rows) / max(len(objects), 1))
    return FileSample((path,), kind, tuple(columns), rows, n_elements, is_whole, explode=explode)


def _is_list_of_structs(cell: Any) -> bool:
    return isinstance(cell, list) and bool(cell) and isinstance(cell[0], dict)


def _flatten(struct: Mapping[str, Any], prefix: str, depth: int) -> Row:
    flat: Row = {}
    for name, cell in struct.items():
        if isinstance(cell, dict) and depth < DEEPEST:
            flat |= _flatten(cell, f"{prefix}{name}.", depth + 1)
        else:
            flat[f"{prefix}{name}"] = _clean_cell(cell) if isinstance(cell, str) else cell
    return flat
