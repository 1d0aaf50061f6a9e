"""Which files a source reads, and what makes rows of them: joins, lists in cells, wide tables, rows to leave out."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from interest_tiers.config.section import Section

#: Formats by the ending of a path, in any case. A path with another ending or none is Parquet, unless it is in OTHER_ENDINGS.
FORMATS = {"csv": "csv", "tsv": "csv", "json": "json", "jsonl": "json", "ndjson": "json", "parquet": "parquet", "pq": "parquet"}

#: Endings of packed files, which Spark's readers unpack.
PACKED = ("gz", "bz2", "zst", "snappy", "lz4", "deflate")

#: Files that no reader of Spark opens, with what to do.
UNREADABLE_ENDINGS = {
    **dict.fromkeys(("zip", "7z", "rar", "tar", "tgz", "xz"), "a {ending} archive, which Spark cannot read; unpack it, or pack it as gz"),
    **dict.fromkeys(("xlsx", "xls", "xlsm", "ods"), "a workbook, which Spark cannot read; save its sheet as CSV"),
}

#: Endings that leave the format open.
OTHER_ENDINGS = ("txt", "dat", "log", "tab", "psv", "xml", "html", "avro", "orc", "feather", "arrow", "sqlite")


class SqlColumn(Section):
    """A column computed from the source's columns."""

    sql: str = Field(description="Spark SQL on the source's columns.")


#: A column of a source by its name (a.b for a field of a struct), or SQL on its columns.
ColumnRef = str | SqlColumn


class Files(Section):
    """Where rows are read from."""

    path: str = Field(
        description="File, glob, folder or Delta table (a folder or `catalog.schema.table`). `{name}` stands for an entry of `locations`."
    )
    format: Literal["parquet", "csv", "json", "delta"] | None = Field(
        None,
        validate_default=True,
        description="Format of the files; JSON has one object per line. Default: by the ending of `path`, else Parquet.",
    )
    options: dict[str, str] = Field(
        default_factory=dict,
        description="Options of Spark's reader, such as `encoding` or `quote`. Unless set here, CSV has a header and quoted line breaks.",
    )
    skip_lines: int = Field(
        0,
        ge=0,
        description="Lines of every CSV file above its header, or above its rows without one. A line `sep=;` needs no setting.",
    )

    @field_validator("path")
    @classmethod
    def _path_can_be_read(cls, path: str) -> str:
        ending = _ending(path)
        if ending in UNREADABLE_ENDINGS:
            raise ValueError(f"it is {UNREADABLE_ENDINGS[ending].format(ending=ending)}")
        return path

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, given: str | None, info: ValidationInfo) -> str | None:
        ending = _ending(info.data.get("path", ""))
        if given is None and ending in OTHER_ENDINGS:
            raise ValueError(f"the ending .{ending} of the path says nothing of the format; set it to csv, json, parquet or delta")
        return given

    @field_validator("options", mode="before")
    @classmethod
    def _options_are_text(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in options.items()}

    @model_validator(mode="after")
    def _lines_are_of_csv(self) -> Files:
        if self.skip_lines and self.reader_format != "csv":
            raise ValueError(f"skip_lines is {self.skip_lines}, and the format is {self.reader_format}; it is for csv")
        return self

    @property
    def reader_format(self) -> str:
        """Return the format as given, or by the ending of the path."""
        return self.format or FORMATS.get(_ending(self.path), "parquet")

    @property
    def reader_options(self) -> dict[str, str]:
        """Return the options as given, with the tabs of .tsv."""
        has_own = any(key.lower() in ("sep", "delimiter") for key in self.options)
        return self.options if has_own or self.reader_format != "csv" or _ending(self.path) != "tsv" else {"sep": "\t", **self.options}


def _ending(path: str) -> str:
    """Return the ending of a path in lower case, without that of a packed file; empty where there is none."""
    found = re.search(rf"\.([A-Za-z0-9]+)(?:\.(?:{'|'.join(PACKED)}))?$", path, re.IGNORECASE)
    return "" if found is None else found.group(1).lower()


class Join(Files):
    """A table whose columns are added to the rows of the source, where the keys are equal: a left join.

    Keys are compared as ids, so that `17850.0` meets `17850`. A row without a match keeps its place, with nulls; such
    rows are counted. A key that several different rows of the joined table have is no match: rows with it are
    quarantined. A later join may use the columns of an earlier one.
    """

    on: dict[str, str] = Field(
        min_length=1, description="Key: a column that both have, a list of them, or a map of the source's columns to the joined table's."
    )
    columns: dict[str, str] | None = Field(
        None,
        min_length=1,
        description="Columns to add: a list, or a map of new names to the joined table's columns. Default: all but the keys.",
    )

    @field_validator("on", "columns", mode="before")
    @classmethod
    def _names_stand_for_themselves(cls, given: Any) -> Any:
        names = [given] if isinstance(given, str) else given
        return {name: name for name in names} if isinstance(names, list) and all(isinstance(n, str) for n in names) else names


class Explode(Section):
    """A list whose elements become rows. A column name alone stands for an array column, whose elements keep its name."""

    sql: str = Field(description="Spark SQL that yields an array, such as `split(genres, '[|]')`.")
    name: str = Field("element", min_length=1, description="Column that holds an element. It may replace a column of the source.")


class Unpivot(Section):
    """A wide table: each of these columns becomes a row of its own, with the column's name and the cell.

    Missing cells (null, blank, NaN) make no row. A source row without any cell left makes none, and is counted as left out.
    """

    columns: list[str] = Field(min_length=1, description="Columns that become rows; `*` matches any text.")
    name: str = Field("name", min_length=1, description="New column that holds the name of the cell's column.")
    value: str = Field("value", min_length=1, description="New column that holds the cell.")
    skip: list[str] = Field(default_factory=list, description="Further cells that make no row, such as `[0]` for flags.")

    @field_validator("columns", "skip", mode="before")
    @classmethod
    def _one_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str | int | float) else given

    @field_validator("skip", mode="before")
    @classmethod
    def _cells_are_texts(cls, given: Any) -> Any:
        if not isinstance(given, list):
            return given
        return [str(cell).lower() if isinstance(cell, bool) else f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in given]

    @model_validator(mode="after")
    def _names_differ(self) -> Unpivot:
        if self.name == self.value:
            raise ValueError(f"name and value are both {self.name!r}; give one another name")
        return self


class Source(Files):
    """Where rows are read from, and what is done with them before columns are mapped, in the order of the keys."""

    file_column: str | None = Field(
        None,
        min_length=1,
        description="Name of a column to add, with the name of a row's file. SQL can use it, and no `_metadata`. Not for Delta.",
    )
    join: list[Join] = Field(default_factory=list, description="Tables to join, one or a list, in order.")
    explode: str | Explode | None = Field(
        None,
        description="Array column, or `{sql: …, name: …}`, whose elements become rows. A row without elements is quarantined.",
    )
    unpivot: Unpivot | None = Field(None, description="Columns that become rows.")
    where: list[str] = Field(
        default_factory=list,
        description="SQL conditions on the rows. A row that fails one, or gives null, is left out and counted; it is no fault.",
    )
    missing: list[str] = Field(
        default_factory=list,
        description="Further words for a missing id, name, text or attribute, such as `(not set)` or `-1`; case does not matter.",
    )

    @field_validator("explode", mode="before")
    @classmethod
    def _a_column_or_sql(cls, given: Any) -> Any:
        if given is not None and not isinstance(given, str | dict | Explode):
            raise ValueError("expected an array column, or {sql: …, name: …}")
        return given

    @field_validator("join", mode="before")
    @classmethod
    def _one_join_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, dict) else given

    @field_validator("where", mode="before")
    @classmethod
    def _one_condition_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @field_validator("missing", mode="before")
    @classmethod
    def _words_are_texts(cls, given: Any) -> Any:
        words = [given] if isinstance(given, str | int) else given
        return [str(word) for word in words] if isinstance(words, list) else words

    @model_validator(mode="after")
    def _files_have_names(self) -> Source:
        if self.file_column is not None and self.reader_format == "delta":
            raise ValueError(f"file_column is {self.file_column!r}, and the files of a Delta table have no names of their own; remove it")
        return self

    @property
    def element(self) -> str | None:
        """Return the column that holds an element of the exploded list; None where nothing is exploded."""
        return self.explode.name if isinstance(self.explode, Explode) else self.explode
