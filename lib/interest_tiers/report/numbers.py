"""Numbers as people write them."""

from __future__ import annotations

#: Shown for a missing value.
MISSING = "–"


def format_number(value: float | None) -> str:
    """Format ``1,234``, or a dash."""
    return MISSING if value is None else f"{value:,.0f}"


def format_decimal(value: float | None, places: int = 3) -> str:
    """Format ``0.524``, or a dash."""
    return MISSING if value is None else f"{value:,.{places}f}"


def format_percent(value: float | None, places: int = 1) -> str:
    """Format a share as ``12.2 %`` with a blank that does not break, or a dash."""
    return MISSING if value is None else f"{100 * value:.{places}f}\N{NO-BREAK SPACE}%"


def format_signed(value: float, places: int = 3) -> str:
    """Format a number with its sign, such as ``+0.045``."""
    return f"{value:+,.{places}f}".replace("-", "\N{MINUS SIGN}")


def format_measure(value: float | None, unit: str) -> str:
    """Format a measure of data quality in a unit without words (see quality.Check)."""
    if value is None:
        return MISSING
    if unit == "share":
        return format_percent(value)
    if unit == "factor":
        return f"{value:,.2f}\N{NO-BREAK SPACE}×"
    return format_number(value) if unit == "count" else f"{value:,.6g}"
