"""The page: one HTML text with its charts, which needs no network and no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from interest_tiers.report.back_test_plots import draw_comparisons, draw_differences, draw_reliability, draw_trade_offs
from interest_tiers.report.canvas import Picture
from interest_tiers.report.cluster_plots import draw_silhouettes, draw_user_map, draw_user_silhouettes
from interest_tiers.report.cluster_profiles import CHANGES
from interest_tiers.report.comparison import DIRECTIONS, ComparedModels, Comparison
from interest_tiers.report.content import Content
from interest_tiers.report.findings import list_findings
from interest_tiers.report.labels import place_labels
from interest_tiers.report.language import Language, read_catalogue
from interest_tiers.report.naming import calm
from interest_tiers.report.plots import TIER_NAMES, draw_core_interests, draw_flows, draw_tiers
from interest_tiers.report.reason_texts import translate_reason
from interest_tiers.report.rows import REASONS_LIMIT

#: Users of the explorer that are listed at once; the others are behind a click, or a search.
STORIES_OPEN = 8
#: Metrics with a chart; the tables hold all metrics.
DRAWN_FOR_TIERS = ("J", "macro_f1")
DRAWN_FOR_RECOMMENDATIONS = ("ndcg", "recall", "coverage")
#: What is set against accuracy.
ACCURACY, VARIETY = "ndcg", ("coverage", "diversity", "miscalibration")


def render(content: Content, language: Language | None = None) -> str:
    """Render the HTML page, in English unless another language is given. Every text from the tables is escaped."""
    language = language or Language()
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, extensions=["jinja2.ext.i18n"]
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(read_catalogue(language.code), newstyle=True)  # type: ignore[attr-defined]
    environment.filters.update({**language.filters(), "calm": mark_name, "reason": lambda text: translate_reason(text, language)})
    template = environment.from_string(_read("page.html"))
    script = f"\n{_read('page.js')}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template.render(
        content=content,
        language=language,
        findings=list_findings(content, language),
        pictures=draw_pictures(content, language),
        points=place_labels(content.interest_points),
        stories_open=STORIES_OPEN,
        reasons_limit=REASONS_LIMIT,
        tier_names=TIER_NAMES,
        changes=CHANGES,
        directions=DIRECTIONS,
        style=Markup(_read("page.css")),  # noqa: S704 our own file
        script=Markup(script),  # noqa: S704 our own file
        script_digest=digest,
    )


def mark_name(text: str) -> Markup:
    """Set a name in sentence case, with the source's own in a tooltip where it differs."""
    calmed = calm(text)
    return escape(text) if calmed == text else Markup('<span title="{}">{}</span>').format(text, calmed)


def _read(name: str) -> str:
    return files("interest_tiers.report").joinpath(name).read_text(encoding="utf-8")


def draw_pictures(content: Content, language: Language) -> dict[str, Picture | None]:
    """Draw every chart of the page: by name, None where there is nothing to draw."""
    back_test, flows, user_map = content.back_test, content.flows, content.user_map
    return {
        "tiers": draw_tiers(content.tiers, language),
        "flows": draw_flows(flows, language.day(flows.since), language.day(content.as_of), language) if flows and flows.flows else None,
        "core_interests": draw_core_interests(content.core_interests, language) if content.core_interests else None,
        "user_map": draw_user_map(user_map, content.clusters, language) if user_map else None,
        "user_silhouettes": draw_user_silhouettes(user_map, content.clusters, language) if user_map else None,
        "silhouettes": draw_silhouettes(content.silhouettes, language) if content.silhouettes.values else None,
        **(_draw_back_test(back_test, language) if back_test else {}),
    }


def _draw_back_test(back_test: ComparedModels, language: Language) -> dict[str, Picture | None]:
    tiers = [back_test.headline] if back_test.headline else []
    lists = [comparison.keep(lambda model: not _is_ablated(model)) for comparison in back_test.recommendations]
    variants = [comparison.keep(lambda model: not _is_ablated(model)) for comparison in back_test.variants]
    ablated = [c for c in (c.keep(_is_ablated) for c in back_test.recommendations) if c.models]
    [accuracy] = _find_metrics(lists, [ACCURACY])[:1] or [""]
    return {
        "tier_metrics": draw_comparisons(tiers, DRAWN_FOR_TIERS, language) if tiers else None,
        "tier_differences": draw_differences(tiers, "J", language),
        "reliability": draw_reliability(back_test.reliability, language) if back_test.reliability else None,
        "recommendation_metrics": draw_comparisons(lists, _find_metrics(lists, DRAWN_FOR_RECOMMENDATIONS), language),
        "recommendation_differences": draw_differences(lists, accuracy, language),
        "trade_offs": draw_trade_offs(variants, accuracy, _find_metrics(lists, VARIETY), language),
        "ablation": draw_differences(ablated, accuracy, language),
    }


def _is_ablated(model: str) -> bool:
    """Say whether a model is our ranker without some of its features."""
    return model.startswith("without_") and model != "without_ranker"


def _find_metrics(comparisons: Sequence[Comparison], names: Sequence[str]) -> list[str]:
    """Find the metrics of these names at every length of a list, in the order of the names."""
    found = {column.metric for comparison in comparisons for column in comparison.columns}
    return [m for name in names for m in sorted(found) if m.partition("@")[0] == name]
