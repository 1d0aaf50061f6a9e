"""The charts of the back-test: models with intervals, paired differences, reliability, and what accuracy costs in variety."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from interest_tiers.config import TIERS
from interest_tiers.report.canvas import INK, LINE, OTHERS, OURS, QUIET, Picture, choose_look, draw_picture, shorten
from interest_tiers.report.comparison import SETTINGS, VARIANT, Comparison, Difference, Measure, ModelMeasures
from interest_tiers.report.language import Language
from interest_tiers.report.plots import TIER_NAMES
from interest_tiers.report.reliability import ReliabilityBin

#: Height of a row of models, and of what a panel has around them, in inches.
ROW, FRAME = 0.34, 1.05

#: Characters in a line of a panel's title, over all panels of a row.
TITLE_LENGTH = 84

#: Lines of the settings of a trade-off.
LINE_STYLES = ("-", "--", ":", "-.")

#: Models from which a comparison has a chart of accuracy and variety.
TRADE_OFF_MODELS = 3


def draw_comparisons(comparisons: Sequence[Comparison], metrics: Sequence[str], language: Language) -> Picture | None:
    """Draw models by metrics as points with 95 % intervals: a row of panels per comparison, a column per metric.

    metrics: such as ``J`` or ``ndcg@10``. Those that no comparison has are left out; None where nothing is left.
    """
    shown = [m for m in metrics if any(m == column.metric for c in comparisons for column in c.columns)]
    if not shown:
        return None
    heights = [FRAME + ROW * len(c.models) for c in comparisons]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(comparisons), len(shown), squeeze=False, gridspec_kw={"height_ratios": heights})
        for row, comparison in zip(panels, comparisons, strict=True):
            for position, (axes, metric) in enumerate(zip(row, shown, strict=True)):
                _draw_panel(axes, comparison, metric, position == 0, TITLE_LENGTH // len(shown), language)

    alternative = " ".join(_describe_comparison(c, shown, language) for c in comparisons)
    return draw_picture(draw, sum(heights) + 0.2, alternative)


def draw_differences(comparisons: Sequence[Comparison], metric: str, language: Language) -> Picture | None:
    """Draw the paired differences of one metric from the reference with 95 % intervals, a panel per comparison.

    None where no comparison has any.
    """
    found = [(c, position, listed) for c in comparisons for position, listed in [_list_differences(c, metric)] if listed]
    if not found:
        return None
    heights = [FRAME + ROW * len(listed) for _, _, listed in found]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(found), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights})
        for axes, (comparison, position, listed) in zip(panels[:, 0], found, strict=True):
            _draw_differences(axes, comparison, position, listed, language)

    alternative = " ".join(
        language.gettext(
            "Paired differences of %(metric)s from %(reference)s%(cases)s. %(models)s.",
            metric=language.name_metric(c.columns[position].name),
            reference=language.translate(c.reference_name),
            cases=_in_cases(c, language),
            models="; ".join(
                f"{language.translate(model.name)} {language.signed(d.value)} [{language.signed(d.lower)}, {language.signed(d.upper)}]"
                for model, d in listed
            ),
        )
        for c, position, listed in found
    )
    return draw_picture(draw, sum(heights) + 0.2, alternative)


def draw_trade_offs(comparisons: Sequence[Comparison], accuracy: str, others: Sequence[str], language: Language) -> Picture | None:
    """Draw every model by its accuracy and by each of other metrics; None where no comparison has enough models with both.

    Variants of our model are lines from it: each setting is a way to trade one for the other.

    accuracy, others: metrics such as ``ndcg@10``
    """
    shown = [m for m in others if any(c.find(accuracy) is not None and c.find(m) is not None for c in comparisons)]
    enough = [c for c in comparisons if len(c.models) >= TRADE_OFF_MODELS]
    rows = [c for c in enough if c.find(accuracy) is not None and any(c.find(m) is not None for m in shown)]
    if not rows:
        return None

    models = list(dict.fromkeys(model.model for c in rows for model in c.models if not VARIANT.fullmatch(model.model)))

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(rows), len(shown), squeeze=False)
        for row, comparison in zip(panels, rows, strict=True):
            for axes, metric in zip(row, shown, strict=True):
                _draw_trade_off(axes, comparison, accuracy, metric, models, language)
            # The first panel has every model; some have no measure of the last one.
            row[-1].legend(*row[0].get_legend_handles_labels(), frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8.5)

    alternative = " ".join(
        language.gettext(
            "Points of models by accuracy and variety%(cases)s. %(models)s.",
            cases=_in_cases(c, language),
            models=_describe_points(c, [accuracy, *shown], language),
        )
        for c in rows
    )  # fmt: skip
    return draw_picture(draw, 3.9 * len(rows), alternative)


def draw_reliability(bins: Sequence[ReliabilityBin], language: Language) -> Picture:
    """Draw how often each tier came against its mean probability, a panel per tier; a point grows with its pairs."""
    most = max(each.pairs for each in bins)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(TIERS), sharey=True)
        for axes, tier in zip(panels, TIERS, strict=True):
            own = [each for each in bins if each.tier == tier]
            axes.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1)
            predicted, observed = [each.predicted for each in own], [each.observed for each in own]
            axes.plot(predicted, observed, color=OURS, linewidth=1.3)
            axes.scatter(
                predicted, observed, s=[12 + 150 * each.pairs / most for each in own], color=OURS, alpha=0.8, linewidths=0, zorder=3
            )
            axes.set(
                title=language.translate(TIER_NAMES[tier]),
                xlabel=language.gettext("mean probability"),
                xlim=(-0.03, 1.03),
                ylim=(-0.03, 1.03),
            )
            axes.set_aspect("equal")
            axes.grid()
            axes.tick_params(length=0)
        panels[0].set_ylabel(language.gettext("share that had the tier"))

    described = "; ".join(
        f"{language.translate(TIER_NAMES[tier])}: "
        + ", ".join(f"{each.predicted:.2f} → {each.observed:.2f}" for each in bins if each.tier == tier)
        for tier in TIERS
    )
    return draw_picture(
        draw, 4.0, language.gettext("Reliability of the probabilities, predicted and observed share by bin. %(tiers)s.", tiers=described)
    )


def _draw_panel(axes: Axes, comparison: Comparison, metric: str, with_names: bool, title_length: int, language: Language) -> None:
    places = {m.model: len(comparison.models) - 1 - place for place, m in enumerate(comparison.models)}
    position = comparison.find(metric)
    measured: Sequence[tuple[ModelMeasures, Measure]] = () if position is None else comparison.measured(position)
    for model, measure in measured:
        colour, place = OURS if model is comparison.models[0] else OTHERS, places[model.model]
        if measure.lower is not None and measure.upper is not None:
            axes.plot([measure.lower, measure.upper], [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot([measure.value], [place], "o", color=colour, markersize=6.5)
        axes.annotate(f"{measure.value:.3f}", (measure.value, place), (0, 7), textcoords="offset points", ha="center", fontsize=8.5)
    name = language.name_metric(metric if position is None else comparison.columns[position].name)
    cases = textwrap.fill(language.name_cases(comparison.cases), title_length) if comparison.cases else ""
    axes.set_title(f"{name}\n{cases}".rstrip())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    names = [shorten(language.translate(m.name)) for m in comparison.models]
    axes.set_yticks(list(places.values()), names if with_names else [""] * len(places))
    axes.set_ylim(-0.6, len(places) - 0.25)
    axes.margins(x=0.16)
    axes.grid(axis="both")
    axes.tick_params(length=0)


def _list_differences(comparison: Comparison, metric: str) -> tuple[int, list[tuple[ModelMeasures, Difference]]]:
    """List the models that have a difference of a metric, the nearest to the reference first."""
    position = comparison.find(metric)
    if position is None:
        return -1, []
    found = [(model, difference) for model in comparison.models if (difference := model.differences[position]) is not None]
    return position, sorted(found, key=lambda pair: abs(pair[1].value))


def _draw_differences(
    axes: Axes, comparison: Comparison, position: int, listed: Sequence[tuple[ModelMeasures, Difference]], language: Language
) -> None:
    axes.axvline(0, color=INK, linewidth=1)
    for place, (_, difference) in enumerate(reversed(listed)):
        axes.plot([difference.lower, difference.upper], [place, place], color=OTHERS, linewidth=2.4, solid_capstyle="round")
        is_shown = difference.lower > 0 or difference.upper < 0
        axes.plot([difference.value], [place], "o", color=OTHERS, markerfacecolor=OTHERS if is_shown else "white", markersize=6.5)
        axes.annotate(
            language.signed(difference.value), (difference.value, place), (0, 7), textcoords="offset points", ha="center", fontsize=8.5
        )
    axes.set_yticks(range(len(listed)), [shorten(language.translate(model.name)) for model, _ in reversed(listed)])
    title = language.gettext(
        "%(metric)s: model minus %(reference)s",
        metric=language.name_metric(comparison.columns[position].name),
        reference=language.translate(comparison.reference_name),
    )
    axes.set_title(f"{title}{_in_cases(comparison, language)}")
    axes.set_ylim(-0.6, len(listed) - 0.25)
    axes.margins(x=0.08)
    axes.grid(axis="x")
    axes.tick_params(length=0, labelbottom=True)


def _draw_trade_off(axes: Axes, comparison: Comparison, accuracy: str, metric: str, models: Sequence[str], language: Language) -> None:
    """Draw the models of one comparison. models: of all comparisons, which decide on colours."""
    x, y = comparison.find(accuracy), comparison.find(metric)
    axes.set_title(language.name_cases(comparison.cases))
    axes.grid()
    axes.tick_params(length=0)
    if x is None or y is None:
        axes.axis("off")
        return
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for place, model in enumerate(comparison.models):
        across, up, is_ours = model.measures[x], model.measures[y], place == 0
        if across is None or up is None:
            continue
        variant = VARIANT.fullmatch(model.model)
        if variant is not None:
            lines.setdefault(variant["setting"], []).append((float(variant["value"]), across.value, up.value))
        else:
            colour, marker = choose_look(models.index(model.model))
            edge = INK if is_ours else "white"
            size = 11 if is_ours else 8
            name = shorten(language.translate(model.name))
            axes.plot([across.value], [up.value], marker, color=colour, markersize=size, markeredgecolor=edge, label=name)
    across, up = (comparison.models[0].measures[position] for position in (x, y))
    start = [] if across is None or up is None else [(0.0, across.value, up.value)]
    for (setting, points), style in zip(sorted(lines.items()), itertools.cycle(LINE_STYLES), strict=False):
        # Without exploration, lists of a given diversity are not the configured ones.
        places = sorted(([] if setting == "diverse_exploration" else start) + [point for point in points if point[0] > 0])
        name = f"{language.translate(SETTINGS[setting])} \N{RIGHTWARDS ARROW} {places[-1][0]:g}"
        axes.plot([p[1] for p in places], [p[2] for p in places], style, color=INK, linewidth=1, marker=".", zorder=1, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set(xlabel=language.name_metric(comparison.columns[x].name), ylabel=language.name_metric(comparison.columns[y].name))
    axes.margins(0.1)
    axes.spines[:].set_color(LINE)


def _describe_points(comparison: Comparison, metrics: Sequence[str], language: Language) -> str:
    positions = [position for m in metrics if (position := comparison.find(m)) is not None]
    names = [language.name_metric(comparison.columns[position].name) for position in positions]
    return "; ".join(
        f"{language.translate(model.name)} "
        + ", ".join(f"{name} {m.value:.3f}" for name, p in zip(names, positions, strict=True) if (m := model.measures[p]) is not None)
        for model in comparison.models
    )


def _describe_comparison(comparison: Comparison, metrics: Sequence[str], language: Language) -> str:
    parts = []
    for position, column in enumerate(comparison.columns):
        if column.metric in metrics:
            measured = ", ".join(f"{language.translate(m.name)} {measure.value:.3f}" for m, measure in comparison.measured(position))
            parts.append(f"{language.name_metric(column.name)}: {measured}")
    return language.gettext("Points with intervals%(cases)s. %(metrics)s.", cases=_in_cases(comparison, language), metrics="; ".join(parts))


def _in_cases(comparison: Comparison, language: Language) -> str:
    return f", {language.name_cases(comparison.cases)}" if comparison.cases else ""
