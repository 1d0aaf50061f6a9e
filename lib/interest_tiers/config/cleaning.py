"""Which rows are plausible, which are noise, and which data the quality gate accepts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from interest_tiers.config.section import Section


class ValueRange(Section):
    """Plausible values of a behaviour, and what happens to the others. Default: any number is plausible."""

    min: float | None = Field(None, description="Smallest plausible value.")
    max: float | None = Field(None, description="Largest plausible value.")
    deviations: float | None = Field(
        None,
        gt=0,
        description="Largest distance from the median of the behaviour's day, in median absolute deviations on a log scale.",
    )
    action: Literal["quarantine", "clip"] = Field(
        "quarantine", description="`quarantine` the row, or `clip` the value; `given_value` then keeps the original."
    )

    @model_validator(mode="after")
    def _bounds_ascend(self) -> ValueRange:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min ({self.min}) must be below max ({self.max})")
        return self


class Bots(Section):
    """Days on which no person acts like this: robots, and accounts that many people share.

    A day is suspect when its events exceed both bounds, or when events follow second after second. Each day is judged by its own rows.
    """

    deviations: float = Field(
        6.0,
        gt=0,
        description="Largest distance of a user's events from the median user of the day, in median absolute deviations on a log scale.",
    )
    min_events: int = Field(200, ge=1, description="Events a day up to which nobody is suspect.")
    max_one_second_steps: int = Field(60, ge=1, description="Largest number of seconds a day that directly follow a second with an event.")
    action: Literal["flag", "cap", "quarantine"] = Field(
        "flag", description="`flag` counts suspect days, `cap` keeps the day's first events up to the bound, `quarantine` keeps none."
    )


class Noise(Section):
    """Events that carry no evidence of a person's interests."""

    bots: Bots | None = Field(None, description="Detection of bots. Default: off; `{}` turns it on with its defaults.")
    repeat_seconds: int | None = Field(
        None,
        ge=1,
        le=86_400,
        description="The same behaviour on the same item within so many seconds of a day is quarantined. Default: off.",
    )


class Quality(Section):
    """Limits of the quality gate. Where the cleaned data exceed one, the run stops with exit code 3."""

    max_quarantine_rate: float = Field(0.3, ge=0, le=1, description="Largest share of rows read that may be quarantined.")
    max_rate_by_reason: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict,
        description='Largest share by quarantine reason, such as `{"user_id: missing": 0.3}`; `*` matches any text.',
    )
    min_rows: int = Field(1000, ge=1, description="Smallest number of clean interactions.")
    min_users: int = Field(100, ge=1, description="Smallest number of users with a clean interaction.")
    min_catalogue_rate: float | None = Field(
        None, ge=0, le=1, description="Smallest share of clean interactions whose item is in the catalogue. Default: none."
    )
    max_age_days: int | None = Field(None, ge=0, description="Largest number of days from the newest event to the day of the run.")
    max_volume_change: float | None = Field(
        None, gt=1, description="Largest factor by which the rows read may differ from those of the previous run."
    )
    max_undecodable_rate: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Largest share of rows or items with U+FFFD (bytes outside the encoding) in an id, behaviour or category.",
    )
