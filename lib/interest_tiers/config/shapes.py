"""Which files a source reads, and what makes rows of them: joins, lists in cells, wide tables, rows to leave out."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from interest_tiers.config.section import Section


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
        None, description="Format of the files; JSON has one object per line. Default: by the ending of `path`, else Parquet."
    )
    options: dict[str, str] = Field(
        default_factory=dict,
        description="Options of Spark's reader, such as `sep` or `encoding`. Unless set here, CSV has a header and quoted line breaks.",
    )

    @field_validator("options", mode="before")
    @classmethod
    def _options_are_text(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in options.items()}

    @property
    def reader_format(self) -> str:
        """Return the format as given, or by the ending of the path."""
        if self.format is not None:
            return self.format
        ending = re.search(r"\.(csv|tsv|json|jsonl|ndjson)(\.\w+)?$", self.path)
        if ending is None:
            return "parquet"
        return "csv" if ending.group(1) in ("csv", "tsv") else "json"


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

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_key(cls, given: Any) -> Any:
        # To YAML 1.1, an unquoted on is true.
        return {"on" if key is True else key: value for key, value in given.items()} if isinstance(given, dict) else given

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

    @property
    def element(self) -> str | None:
        """Return the column that holds an element of the exploded list; None where nothing is exploded."""
        return self.explode.name if isinstance(self.explode, Explode) else self.explode
