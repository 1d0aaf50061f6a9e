"""Where rows come from, and which column holds what. What is plausible in them is in cleaning.py."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Literal
from zoneinfo import available_timezones

from pydantic import Field, ValidationInfo, field_validator, model_validator

from interest_tiers.config.section import Section, suggest

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

#: Column in which Spark's reader of CSV and JSON keeps a row that it could not parse; null otherwise.
UNREADABLE = "_corrupt_record"

#: Names in tables for the items' source, the users' source, and all sources together.
RESERVED_SOURCE_NAMES = ITEMS_SOURCE, USERS_SOURCE, ALL_SOURCES = ("items", "users", "all")


class Source(Section):
    """Where rows are read from, and how."""

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
    file_column: str | None = Field(
        None,
        min_length=1,
        description="Name of a column to add, with the name of a row's file. SQL can use it, and no `_metadata`. Not for Delta.",
    )
    explode: str | None = Field(
        None,
        description="Array column whose elements become rows; `array.field` then names a field. A row with an empty array is quarantined.",
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
    def _keys_fit_the_format(self) -> Source:
        if self.skip_lines and self.reader_format != "csv":
            raise ValueError(f"skip_lines is {self.skip_lines}, and the format is {self.reader_format}; it is for csv")
        if self.file_column is not None and self.reader_format == "delta":
            raise ValueError(f"file_column is {self.file_column!r}, and the files of a Delta table have no names of their own; remove it")
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


class SqlColumn(Section):
    """A column computed from the source's columns."""

    sql: str = Field(description="Spark SQL on the source's columns.")


#: A column of a source by its name (a.b for a field of a struct), or SQL on its columns.
ColumnRef = str | SqlColumn


class OccurredAt(Section):
    """When an event happened. A column name alone is short for `{column: NAME}`.

    Implausible times are quarantined. So are epoch 0, and numbers that are plausible only in another unit; the reason says which.
    """

    column: str = Field(description="Column with the time.")
    unit: Literal["s", "ms", "us", "auto"] | None = Field(
        None, description="Unit of numbers since 1970-01-01 UTC; `auto` decides for each number by its size. Default: `s`."
    )
    format: list[str] | None = Field(
        None, description="Spark datetime patterns of texts, one or a list tried in order; `iso` is ISO 8601. Default: `iso`."
    )
    timezone: str = Field("UTC", description="IANA time zone of times that carry none.")
    earliest: date = Field(date(1990, 1, 1), description="First plausible day.")
    latest: date | None = Field(None, description="Day from which on times are implausible. Default: two days after the day of the run.")

    @field_validator("format", mode="before")
    @classmethod
    def _one_format_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, timezone: str) -> str:
        if timezone not in available_timezones():
            raise ValueError(f"not a time zone of the IANA database{suggest(timezone, available_timezones())}")
        return timezone


class Behaviour(Section):
    """What the user did. Set exactly one key. A column name alone is short for `{column: NAME}`."""

    literal: str | None = Field(None, description="The same behaviour for every row.")
    column: str | None = Field(None, description="Column that names the behaviour.")
    sql: str | None = Field(None, description="Spark SQL that yields the behaviour.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Behaviour:
        if sum(given is not None for given in (self.literal, self.column, self.sql)) != 1:
            raise ValueError("give one of literal, column and sql")
        return self


class InteractionColumns(Section):
    """Which columns of the source make an interaction.

    Ids are kept as text: `17850.0` becomes `17850`, and leading zeros stay. Blank, `null`, `nan` and `none` count as missing.
    """

    user_id: ColumnRef = Field(description="Who acted.")
    item_id: ColumnRef = Field(description="The item acted on.")
    occurred_at: OccurredAt = Field(description="When it happened.")
    behaviour: Behaviour = Field(description="What the user did.")
    value: ColumnRef | None = Field(None, description="Amount, price or rating.")
    text: ColumnRef | None = Field(None, description="What the user wrote.")

    @field_validator("occurred_at", "behaviour", mode="before")
    @classmethod
    def _plain_name_is_a_column(cls, given: Any) -> Any:
        return {"column": given} if isinstance(given, str) else given


class InteractionSource(Source):
    """Who did what to which item, and when: one source, or a list of sources that become one stream.

    Files of a source may be compressed, and may differ in their columns, the order of columns, and types.
    JSON numbers keep their digits. A line that cannot be read is quarantined whole.
    """

    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_\-]+$",
        description="Name of the source in `data_quality` and the quarantine. Default: `interactions`, with its position in a list.",
    )
    columns: InteractionColumns = Field(description="Which column holds what.")
    keep: list[str] = Field(
        default_factory=list,
        description="SQL conditions on the source's columns. A row that fails one is quarantined, with the condition as its reason.",
    )
    max_quarantine_rate: float | None = Field(
        None, ge=0, le=1, description="Largest share of quarantined rows of this source. Default: `quality.max_quarantine_rate`."
    )


class ItemColumns(Section):
    """Which columns of the source make an item."""

    item_id: ColumnRef = Field(description="The item's id, as in the interactions.")
    text: list[ColumnRef] = Field(
        default_factory=list,
        description="One column or a list. Each is normalised, and they are joined by a blank; missing ones are skipped. Default: no text.",
    )
    category: ColumnRef | None = Field(None, description="The item's category; required where `interests.source` is `category`.")

    @field_validator("text", mode="before")
    @classmethod
    def _one_column_is_a_list(cls, given: Any) -> Any:
        return given if isinstance(given, list) else [] if given is None else [given]


class ItemSource(Source):
    """The item catalogue, which may be the events themselves. An item with several texts gets the most frequent one."""

    columns: ItemColumns = Field(description="Which column holds what.")
    drop_categories: list[str] = Field(
        default_factory=list, description="Categories to leave out; `*` matches any text. Interactions with their items are quarantined."
    )


class UserColumns(Section):
    """Which column names the user. Every other column is stored as an attribute."""

    user_id: ColumnRef = Field(description="The user's id, as in the interactions.")


class UserSource(Source):
    """Attributes of users, such as demographics. `show` prints them; `tiers.attributes` makes some of them features."""

    columns: UserColumns = Field(description="Which column holds what.")


class ValueScale(Section):
    """How a value (a rating, an amount) scales the weight of its behaviour."""

    low: float = Field(description="Values up to this one count `weight_at_low`.")
    high: float = Field(description="Values from this one on count the full weight.")
    weight_at_low: float = Field(0.0, ge=-1000, le=1000, description="Weight of low values.")
    scale: Literal["linear", "log"] = Field(
        "linear", description="Interpolation between `low` and `high`. `log` is for amounts, and needs both above 0."
    )

    @model_validator(mode="after")
    def _bounds_fit(self) -> ValueScale:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low is {self.low}; with scale log it must be above 0")
        return self


class BehaviourWeight(Section):
    """How much one day of a behaviour counts as evidence of an interest. A number alone is short for `{weight: NUMBER}`.

    A negative weight (a return, a dislike) is evidence against the interest.
    A behaviour that is not named, or has the word `quarantine` for a weight, is quarantined.
    """

    weight: float = Field(ge=-1000, le=1000, description="Weight of one day; not 0.")
    value: ValueScale | None = Field(None, description="Scales the weight by the value. An event without a value counts the full weight.")

    @field_validator("weight")
    @classmethod
    def _weight_is_not_zero(cls, weight: float) -> float:
        if weight == 0:
            raise ValueError("a weight of 0 has no effect; remove the behaviour, or write quarantine")
        return weight
