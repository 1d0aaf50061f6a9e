"""The languages of the report: messages, numbers and days.

Messages are English in the code. ``locale/LANGUAGE/LC_MESSAGES/report.po`` has the other languages; `make messages` updates it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

from interest_tiers.report import numbers

#: The first is the language of the messages in the code.
LANGUAGES = ("en", "zh")

#: The value of the attribute lang of the page.
TAGS = {"en": "en", "zh": "zh-Hans"}


def N_(message: str) -> str:  # noqa: N802 the name that tools of gettext look for
    """Mark a message that is translated where it is shown."""
    return message


@cache
def read_catalogue(code: str) -> NullTranslations:
    """Read the messages of a language."""
    if code == LANGUAGES[0]:
        return NullTranslations()
    file = files("interest_tiers.report").joinpath("locale", code, "LC_MESSAGES", "report.po")
    compiled = io.BytesIO()
    with file.open("rb") as source:
        write_mo(compiled, read_po(source, locale=code))
    compiled.seek(0)
    return Translations(compiled)


@dataclass(frozen=True)
class Language:
    """Messages, numbers and days in one of LANGUAGES. Digits are grouped alike in all of them."""

    code: str = LANGUAGES[0]

    @property
    def tag(self) -> str:
        """The value of the attribute lang."""
        return TAGS[self.code]

    def gettext(self, message: str, /, **values: object) -> str:
        """Translate a message, then put the values in."""
        return read_catalogue(self.code).gettext(message) % values

    def ngettext(self, singular: str, plural: str, n: float, /, **values: object) -> str:
        """Translate a message with a number n, which the message may show as %(n)s, then put the values in."""
        return read_catalogue(self.code).ngettext(singular, plural, round(n)) % {"n": self.number(n), **values}

    def translate(self, text: str | None) -> str:
        """Translate a text that holds no values; a text without a translation stays as it is."""
        return read_catalogue(self.code).gettext(text) if text else ""

    def name_metric(self, name: str) -> str:
        """Translate a name such as ``Recall@10``."""
        base, at, k = name.partition("@")
        return f"{self.translate(base)}{at}{k}"

    def name_cases(self, cases: str) -> str:
        """Translate the name of a part of the cases, such as ``all items`` or ``all items: most active third``."""
        key, colon, value = cases.partition(": ")
        return f"{self.translate(key)}{colon}{self.translate(value)}" if colon else self.translate(cases)

    def number(self, value: float | None) -> str:
        return numbers.format_number(value)

    def decimal(self, value: float | None, places: int = 3) -> str:
        return numbers.format_decimal(value, places)

    def signed(self, value: float, places: int = 3) -> str:
        return numbers.format_signed(value, places)

    def percent(self, value: float | None, places: int = 1) -> str:
        """Format a share: ``12.2 %``, in Chinese ``12.2%``."""
        formatted = numbers.format_percent(value, places)
        return formatted.replace("\N{NO-BREAK SPACE}", "") if self.code == "zh" else formatted

    def measure(self, value: float | None, unit: str) -> str:
        """Format a measure of data quality in its unit (see quality.Check)."""
        if value is not None and unit == "days":
            return self.ngettext("%(n)s\N{NO-BREAK SPACE}day", "%(n)s\N{NO-BREAK SPACE}days", value)
        return self.percent(value) if unit == "share" else numbers.format_measure(value, unit)

    def day(self, value: date) -> str:
        """Format a day: ``2018-01-02``, in Chinese ``2018年1月2日``."""
        return value.isoformat() if self.code == "en" else format_date(value, "long", locale=self.code)

    def filters(self) -> Mapping[str, Callable[..., Any]]:
        """List what a template may use as filters."""
        return {
            "number": self.number,
            "decimal": self.decimal,
            "percent": self.percent,
            "signed": self.signed,
            "measure": self.measure,
            "day": self.day,
            "translate": self.translate,
            "metric": self.name_metric,
            "cases": self.name_cases,
        }
