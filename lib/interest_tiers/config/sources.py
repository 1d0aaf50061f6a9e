"""Which column of a source holds what. How rows are read and shaped is in shapes.py, what is plausible in cleaning.py."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from interest_tiers.config.section import Section, suggest
from interest_tiers.config.shapes import ColumnRef, Source, SqlColumn

#: Column in which Spark's reader of CSV and JSON keeps a row that it could not parse; null otherwise.
UNREADABLE = "_corrupt_record"

#: Names in tables for the items' source, the users' source, and all sources together.
RESERVED_SOURCE_NAMES = ITEMS_SOURCE, USERS_SOURCE, ALL_SOURCES = ("items", "users", "all")


class OccurredAt(Section):
    """When an event happened. Set one of column, sql and literal. A column name alone is short for `{column: NAME}`.

    Data without times have a literal day. Where all events lie on one day, every item counts as evidence (docs/method.md).

    Implausible times are quarantined. So are epoch 0, and numbers that are plausible only in another unit; the reason says which.
    """

    column: str | None = Field(None, description="Column with the time.")
    sql: str | None = Field(None, description="Spark SQL that yields the time, such as `concat(date, ' ', time)`.")
    literal: date | None = Field(None, description="The same day for every row, for data without times.")
    unit: Literal["s", "ms", "us", "auto"] | None = Field(
        None, description="Unit of numbers since 1970-01-01 UTC; `auto` decides for each number by its size. Default: `s`."
    )
    format: list[str] | None = Field(
        None,
        description="Spark datetime patterns of texts, one or a list tried in order; `iso` is ISO 8601. `EEE` reads an English day name. "
        "Default: `iso`.",
    )
    timezone: str = Field("UTC", description="IANA time zone of times that carry none.")
    earliest: date = Field(date(1990, 1, 1), description="First plausible day.")
    latest: date | None = Field(None, description="Day from which on times are implausible. Default: two days after the day of the run.")

    @field_validator("format", mode="before")
    @classmethod
    def _one_format_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_of_them(self) -> OccurredAt:
        if sum(given is not None for given in (self.column, self.sql, self.literal)) != 1:
            raise ValueError("give one of column, sql and literal")
        return self

    @property
    def ref(self) -> ColumnRef | None:
        """Return where the time comes from; None for a literal."""
        return SqlColumn(sql=self.sql) if self.sql is not None else self.column

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

    Ids are kept as text: `17850.0` becomes `17850`, and leading zeros stay. Blank, `null`, `nan`, `none` and the like count as missing.
    """

    user_id: ColumnRef = Field(description="Who acted.")
    item_id: ColumnRef = Field(description="The item acted on.")
    occurred_at: OccurredAt = Field(description="When it happened.")
    behaviour: Behaviour = Field(description="What the user did.")
    value: ColumnRef | None = Field(None, description="Amount, price or rating.")
    text: ColumnRef | None = Field(None, description="What the user wrote.")
    event_id: ColumnRef | None = Field(
        None,
        description="The source's own id of the event. Rows that agree in it and in the columns named here are copies of one event.",
    )

    @field_validator("occurred_at", "behaviour", mode="before")
    @classmethod
    def _plain_name_is_a_column(cls, given: Any) -> Any:
        return {"column": given} if isinstance(given, str) else given


class InteractionSource(Source):
    """Who did what to which item, and when: one source, or a list of sources that become one stream.

    Files of a source may be compressed, and may differ in their columns, the order of columns, and types.
    Whole JSON numbers keep their digits. A line that cannot be read is quarantined whole,
    and so are the lines after a quote that nothing closes.
    """

    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_\-]+$",
        description="Name of the source in `data_quality` and the quarantine. Default: `interactions`, with its position in a list.",
    )
    columns: InteractionColumns = Field(description="Which column holds what.")
    keep: list[str] = Field(
        default_factory=list,
        description="SQL conditions on the rows. A row that fails one is quarantined, with the condition as its reason.",
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
    """The item catalogue, which may be the events themselves.

    An item with several texts or categories gets the most frequent one of each, of equally frequent ones the first by alphabet.
    How many items have several is counted.
    """

    columns: ItemColumns = Field(description="Which column holds what.")
    drop_categories: list[str] = Field(
        default_factory=list,
        description="Categories to leave out, by their normal form; `*` matches any text. Interactions with their items are quarantined.",
    )


class UserColumns(Section):
    """Which columns name and describe the user."""

    user_id: ColumnRef = Field(description="The user's id, as in the interactions.")
    attributes: dict[str, ColumnRef] | None = Field(
        None, description="Columns to store: a list, or a map of attributes to columns; `[]` is none. Default: every other column."
    )

    @field_validator("attributes", mode="before")
    @classmethod
    def _names_stand_for_themselves(cls, given: Any) -> Any:
        return {name: name for name in given} if isinstance(given, list) and all(isinstance(n, str) for n in given) else given


class UserSource(Source):
    """Attributes of users, such as demographics. `show` prints them; `tiers.attributes` makes some of them features.

    Values have the normal form of names: entities decoded, one kind of blank; words for missing are left out.
    """

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
