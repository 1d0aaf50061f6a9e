"""The page: one HTML text with its charts, which needs no network and no other file."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from interest_tiers.report.comparison import ComparedModels, format_signed
from interest_tiers.report.content import Content
from interest_tiers.report.findings import list_findings
from interest_tiers.report.labels import place_labels
from interest_tiers.report.naming import calm
from interest_tiers.report.numbers import format_decimal, format_measure, format_number, format_percent
from interest_tiers.report.plots import Picture, draw_comparisons, draw_core_interests, draw_silhouettes, draw_tiers, draw_user_map
from interest_tiers.report.rows import REASONS_LIMIT

#: Users of the explorer that are listed at once; the others are behind a click, or a search.
STORIES_OPEN = 8
#: Metrics with a chart; the tables hold all metrics.
DRAWN_FOR_TIERS = ("J", "macro_f1")
DRAWN_FOR_RECOMMENDATIONS = ("ndcg", "recall", "coverage")


def render(content: Content) -> str:
    """Render the HTML page. Every text from the tables is escaped."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters.update(
        number=format_number, decimal=format_decimal, percent=format_percent, measure=format_measure, signed=format_signed, calm=mark_name
    )
    template = environment.from_string(_read("page.html"))
    script = f"\n{_read('page.js')}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template.render(
        content=content,
        findings=list_findings(content),
        pictures=draw_pictures(content),
        points=place_labels(content.interest_points),
        stories_open=STORIES_OPEN,
        reasons_limit=REASONS_LIMIT,
        script=Markup(script),  # noqa: S704 our own file
        script_digest=digest,
    )


def mark_name(text: str) -> Markup:
    """Set a name in sentence case, with the source's own in a tooltip where it differs."""
    calmed = calm(text)
    return escape(text) if calmed == text else Markup('<span title="{}">{}</span>').format(text, calmed)


def _read(name: str) -> str:
    return files("interest_tiers.report").joinpath(name).read_text(encoding="utf-8")


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


def _draw_recommendations(back_test: ComparedModels) -> Picture | None:
    found = {column.metric for comparison in back_test.recommendations for column in comparison.columns}
    metrics = [m for base in DRAWN_FOR_RECOMMENDATIONS for m in sorted(found) if m.partition("@")[0] == base]
    return draw_comparisons(back_test.recommendations, metrics)
