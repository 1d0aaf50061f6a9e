"""The page: one HTML text with its charts, which needs no network and no other file."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from interest_tiers.report.comparison import ComparedModels, format_signed
from interest_tiers.report.content import Content
from interest_tiers.report.plots import Picture, draw_comparisons, draw_core_interests, draw_silhouettes, draw_tiers, draw_user_map
from interest_tiers.report.rows import REASONS_LIMIT

#: Shown for a missing value.
MISSING = "–"
#: Metrics with a chart; the tables hold all metrics.
DRAWN_FOR_TIERS = ("J", "macro_f1")
DRAWN_FOR_RECOMMENDATIONS = ("ndcg", "recall", "coverage")


def render(content: Content) -> str:
    """Render the HTML page. Every text from the tables is escaped."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters.update(
        number=format_number, decimal=format_decimal, percent=format_percent, measure=format_measure, signed=format_signed
    )
    template = environment.from_string(files("interest_tiers.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(content=content, pictures=draw_pictures(content), reasons_limit=REASONS_LIMIT)


def draw_pictures(content: Content) -> dict[str, Picture | None]:
    """Draw every chart of the page: by name, None where there is nothing to draw."""
    back_test = content.back_test
    tiers = None if back_test is None else back_test.headline
    return {
        "tiers": draw_tiers(content.tiers),
        "core_interests": draw_core_interests(content.core_interests) if content.core_interests else None,
        "user_map": draw_user_map(content.user_map, content.clusters) if content.user_map else None,
        "silhouettes": draw_silhouettes(content.silhouettes) if content.silhouettes.values else None,
        "tier_metrics": draw_comparisons([tiers], DRAWN_FOR_TIERS) if tiers else None,
        "recommendation_metrics": _draw_recommendations(back_test) if back_test else None,
    }


def format_number(value: float | None) -> str:
    """Format ``1,234``, or a dash."""
    return MISSING if value is None else f"{value:,.0f}"


def format_decimal(value: float | None, places: int = 3) -> str:
    """Format ``0.524``, or a dash."""
    return MISSING if value is None else f"{value:,.{places}f}"


def format_percent(value: float | None, places: int = 1) -> str:
    """Format a share as ``12.2 %`` with a blank that does not break, or a dash."""
    return MISSING if value is None else f"{100 * value:.{places}f}\N{NO-BREAK SPACE}%"


def format_measure(value: float | None, unit: str) -> str:
    """Format a measure of data quality in its unit (see quality.Check)."""
    if value is None:
        return MISSING
    if unit == "share":
        return format_percent(value)
    if unit == "factor":
        return f"{value:,.2f}\N{NO-BREAK SPACE}×"
    if unit == "days":
        return f"{value:,.0f}\N{NO-BREAK SPACE}{'day' if value == 1 else 'days'}"
    return format_number(value) if unit == "count" else f"{value:,.6g}"


def _draw_recommendations(back_test: ComparedModels) -> Picture | None:
    found = {column.metric for comparison in back_test.recommendations for column in comparison.columns}
    metrics = [m for base in DRAWN_FOR_RECOMMENDATIONS for m in sorted(found) if m.partition("@")[0] == base]
    return draw_comparisons(back_test.recommendations, metrics)
