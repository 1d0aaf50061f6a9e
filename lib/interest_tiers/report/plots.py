"""The charts of the report, as SVG images inside the page.

Every draw function takes values of the report's other modules and returns a Picture. Colour-blind readers can distinguish the colours.
Where there are more clusters than colours, the markers differ too.
"""

from __future__ import annotations

import base64
import io
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from interest_tiers.report.clusters import Cluster, SilhouetteChoice, UserMap
from interest_tiers.report.comparison import Comparison, Measure, ModelMeasures
from interest_tiers.report.naming import calm
from interest_tiers.report.tiers import CoreInterest, TierSummary

INK, QUIET, LINE = "#1c2733", "#5a6875", "#d5dce2"
TIER_COLOURS = {"core": "#0b4f79", "secondary": "#56a0cb", "marginal": "#c3d3de"}
OURS, OTHERS = "#0b4f79", "#8796a3"
#: Paul Tol's "muted" scheme without its greys.
CLUSTER_COLOURS = ("#332288", "#cc6677", "#117733", "#ddaa33", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499")
CLUSTER_MARKERS = ("o", "^", "s", "D", "v")
LABEL_LENGTH = 34  # characters
MARGIN_LINE, MARGIN_LINES = 27, 3  # characters in a line in the map's margin, and lines of a name
WIDTH = 10.4  # inches
#: matplotlib measures glyphs in its own font; the browser draws them in the page's font, which is narrower.
PAGE_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a dollar sign
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e8ecef",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": INK,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "svg.fonttype": "none",  # texts stay texts, so every script shows that the reader's machine can show
    "svg.hashsalt": "interest-tiers",
}


@dataclass(frozen=True)
class Picture:
    """An image: its source as a data URI, and what it shows in words."""

    source: str
    alternative: str


def draw_tiers(summary: TierSummary) -> Picture:
    """Draw the share of pairs per tier, and how many interests of each tier a user has."""

    def draw(figure: Figure) -> None:
        shares, held = figure.subplots(1, 2, sharey=True)
        places = np.arange(len(summary.tiers))[::-1]
        colours = [TIER_COLOURS[t.tier] for t in summary.tiers]
        shares.barh(places, [100 * t.share for t in summary.tiers], color=colours, height=0.62)
        for place, tier in zip(places, summary.tiers, strict=True):
            _label_right(shares, 100 * tier.share, place, f"{100 * tier.share:.1f} %")
            held.plot(
                [tier.low_per_user, tier.high_per_user], [place, place], color=TIER_COLOURS[tier.tier], linewidth=7, solid_capstyle="butt"
            )
            held.plot([tier.median_per_user], [place], "o", color="white", markeredgecolor=INK, markersize=8)
            _label_right(
                held,
                max(tier.high_per_user, tier.median_per_user),
                place,
                f"{tier.low_per_user:,} – {tier.median_per_user:,} – {tier.high_per_user:,}",
                9,
            )
        shares.set_yticks(places, [t.tier for t in summary.tiers])
        shares.set(title="Share of the pairs of user and interest", xlim=(0, 108))
        held.set(title="Interests per user", xlim=(0, 1.35 * max(1, *(t.high_per_user for t in summary.tiers))))
        shares.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
        held.set_xlabel("line: 10 % to 90 % of the users, dot: the median user")
        for axes in (shares, held):
            axes.grid(axis="x")
            axes.tick_params(length=0)

    described = "; ".join(
        f"{t.tier}: {100 * t.share:.1f} % of the pairs, {t.median_per_user:,} interests of the median user" for t in summary.tiers
    )
    return _picture(draw, 2.5, f"Bars of the share of pairs per tier and ranges of interests per user. {described}.")


def draw_core_interests(interests: Sequence[CoreInterest]) -> Picture:
    """Draw the users for whom each interest is core, and those for whom it is secondary."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(interests))[::-1]
        core = np.array([i.core_users for i in interests])
        secondary = np.array([i.secondary_users for i in interests])
        axes.barh(places, core, color=TIER_COLOURS["core"], height=0.7, label="core")
        axes.barh(places, secondary, left=core, color=TIER_COLOURS["secondary"], height=0.7, label="secondary")
        for place, interest in zip(places, interests, strict=True):
            _label_right(
                axes, interest.core_users + interest.secondary_users, place, f"{interest.core_users:,} + {interest.secondary_users:,}"
            )
        axes.set_yticks(places, [_label(i.name) for i in interests])
        axes.set(xlabel="users", xlim=(0, 1.14 * max(core + secondary)), ylim=(-0.6, len(interests) - 0.4))
        axes.xaxis.set_major_formatter(_thousands)
        axes.grid(axis="x")
        axes.tick_params(length=0)
        axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))

    first = interests[0]
    alternative = (
        f"Bars of core and secondary users of {len(interests)} interests. Most core users: {first.name} with {first.core_users:,}."
    )
    return _picture(draw, 1.1 + 0.27 * len(interests), alternative)


def draw_user_map(user_map: UserMap, clusters: Sequence[Cluster]) -> Picture:
    """Draw the sampled users in two dimensions; names in the margins, tied to the middle of their cluster."""
    points = np.array(user_map.points)
    owners = np.array(user_map.cluster_ids)
    shown = [c for c in clusters if (owners == c.cluster_id).any()]
    height = max(5.8, 0.46 * (len(shown) // 2 + 1))

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0.24, 0.02, 0.52, 0.96))
        size = float(np.clip(16000 / len(points), 5, 24))
        middles = []
        for place, cluster in enumerate(shown):
            own = points[owners == cluster.cluster_id]
            colour, marker = _cluster_look(place)
            axes.scatter(own[:, 0], own[:, 1], s=size, color=colour, marker=marker, alpha=0.65, linewidths=0, rasterized=True)
            middles.append(np.median(own, axis=0))
        axes.set(xticks=[], yticks=[], facecolor="#fafbfc")
        axes.spines[:].set_visible(False)
        axes.margins(0.04)
        _label_in_margins(axes, shown, np.array(middles))

    sizes = ", ".join(f"{c.name} ({c.size:,} users)" for c in shown[:8])
    return _picture(
        draw, height, f"Map of {len(points):,} users in two dimensions, coloured by cluster. The largest clusters: {sizes}.", layout=None
    )


def draw_silhouettes(choice: SilhouetteChoice) -> Picture:
    """Draw the silhouette over k, the chosen k marked."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        ks, values = zip(*choice.values, strict=True)
        axes.plot(ks, values, color=OTHERS, linewidth=1.5, zorder=1)
        for k, value in choice.values:
            chosen = k == choice.chosen
            axes.plot([k], [value], "o", color=OURS if chosen else OTHERS, markersize=10 if chosen else 6)
            text = f"{value:.3f} chosen" if chosen else f"{value:.3f}"
            axes.annotate(text, (k, value), (0, 10), textcoords="offset points", ha="center", weight="bold" if chosen else "normal")
        reach = max(0.02, max(values) - min(values))
        axes.set(xlabel="k, the number of clusters", ylabel="mean silhouette", ylim=(min(values) - 0.3 * reach, max(values) + 0.4 * reach))
        axes.set_xticks(ks)
        axes.margins(x=0.07)
        axes.grid(axis="y")
        axes.tick_params(length=0)

    values = ", ".join(f"k = {k}: {value:.3f}" for k, value in choice.values)
    chosen = "" if choice.chosen is None else f" Chosen: k = {choice.chosen}."
    return _picture(draw, 2.9, f"Line of the mean silhouette over the number of clusters. {values}.{chosen}")


def draw_comparisons(comparisons: Sequence[Comparison], metrics: Sequence[str]) -> Picture | None:
    """Draw models by metrics as points with 95 % intervals: a row of panels per comparison, a column per metric.

    metrics: such as ``J`` or ``ndcg@10``. Those that no comparison has are left out; None where nothing is left.
    """
    shown = [m for m in metrics if any(m == column.metric for c in comparisons for column in c.columns)]
    if not shown:
        return None
    heights = [1.05 + 0.34 * len(c.models) for c in comparisons]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(comparisons), len(shown), squeeze=False, gridspec_kw={"height_ratios": heights})
        for row, comparison in zip(panels, comparisons, strict=True):
            for position, (axes, metric) in enumerate(zip(row, shown, strict=True)):
                _draw_panel(axes, comparison, metric, with_names=position == 0)

    alternative = " ".join(_describe_comparison(c, shown) for c in comparisons)
    return _picture(draw, sum(heights) + 0.2, alternative)


def _draw_panel(axes: Axes, comparison: Comparison, metric: str, with_names: bool) -> None:
    places = {m.model: len(comparison.models) - 1 - place for place, m in enumerate(comparison.models)}
    position = next((p for p, column in enumerate(comparison.columns) if column.metric == metric), None)
    measured: Sequence[tuple[ModelMeasures, Measure]] = () if position is None else comparison.measured(position)
    for model, measure in measured:
        colour, place = OURS if model is comparison.models[0] else OTHERS, places[model.model]
        if measure.lower is not None and measure.upper is not None:
            axes.plot([measure.lower, measure.upper], [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot([measure.value], [place], "o", color=colour, markersize=6.5)
        axes.annotate(f"{measure.value:.3f}", (measure.value, place), (0, 7), textcoords="offset points", ha="center", fontsize=8.5)
    name = metric if position is None else comparison.columns[position].name
    axes.set_title(f"{name}\n{comparison.cases}" if comparison.cases else name)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_yticks(list(places.values()), [_label(m.name) for m in comparison.models] if with_names else [""] * len(places))
    axes.set_ylim(-0.6, len(places) - 0.25)
    axes.margins(x=0.16)
    axes.grid(axis="both")
    axes.tick_params(length=0)


def _describe_comparison(comparison: Comparison, metrics: Sequence[str]) -> str:
    parts = []
    for position, column in enumerate(comparison.columns):
        if column.metric in metrics:
            parts.append(f"{column.name}: " + ", ".join(f"{m.name} {measure.value:.3f}" for m, measure in comparison.measured(position)))
    return f"Points with intervals{f' for {comparison.cases}' if comparison.cases else ''}. {'; '.join(parts)}."


def _label_in_margins(axes: Axes, clusters: Sequence[Cluster], middles: np.ndarray) -> None:
    """Write half of the names left of the map and half right, each side in the order of height, so that none overlap."""
    by_side = np.argsort(middles[:, 0], kind="stable")
    half = len(clusters) // 2
    low, high = axes.get_ylim()
    for side, members in (("left", by_side[:half]), ("right", by_side[half:])):
        ordered = sorted(members, key=lambda place: -middles[place][1])
        heights = _spread([float((middles[place][1] - low) / (high - low)) for place in ordered], gap=min(0.085, 1 / max(1, len(ordered))))
        for place, at in zip(ordered, heights, strict=True):
            _label_cluster(axes, clusters[place], place, middles[place], side, at)


def _label_cluster(axes: Axes, cluster: Cluster, place: int, middle: np.ndarray, side: str, at: float) -> None:
    colour, marker = _cluster_look(place)
    edge, align = (-0.02, "right") if side == "left" else (1.02, "left")
    line: dict[str, Any] = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.7, "shrinkA": 2, "shrinkB": 3}
    axes.annotate(
        _wrapped(cluster.name),
        (float(middle[0]), float(middle[1])),
        (edge, at),
        textcoords="axes fraction",
        ha=align,
        va="center",
        arrowprops=line,
        annotation_clip=False,
        fontsize=8.5,
    )
    axes.plot(*middle, marker=marker, color=colour, markersize=9, markeredgecolor="white", markeredgewidth=1.4)


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move falling heights between 0 and 1 as little as possible, so that they are at least a gap apart."""
    spread: list[float] = []
    for height in heights:
        spread.append(min(height, 1 - gap / 2, spread[-1] - gap if spread else 1.0))
    floor = gap / 2
    for place in reversed(range(len(spread))):
        spread[place] = max(spread[place], floor)
        floor = spread[place] + gap
    return spread


def _cluster_look(place: int) -> tuple[str, str]:
    """Choose colour and marker of a cluster by its place in the order of size."""
    return CLUSTER_COLOURS[place % len(CLUSTER_COLOURS)], CLUSTER_MARKERS[place // len(CLUSTER_COLOURS) % len(CLUSTER_MARKERS)]


def _label_right(axes: Axes, x: float, y: float, text: str, distance: float = 5) -> None:
    axes.annotate(text, (x, y), (distance, 0), textcoords="offset points", va="center", fontsize=9)


def _label(name: str, length: int = LABEL_LENGTH) -> str:
    """Shorten a name for a chart's margin, and leave out what XML cannot hold."""
    printable = calm("".join(c if c.isprintable() else " " for c in name))
    return printable if len(printable) <= length else f"{printable[: length - 1].rstrip()}…"


def _wrapped(name: str) -> str:
    """Wrap a name in a few short lines; a dot between two parts stays with the first."""
    text = _label(name, MARGIN_LINE * MARGIN_LINES).replace(" · ", "\N{NO-BREAK SPACE}· ")
    return "\n".join(textwrap.wrap(text, MARGIN_LINE, max_lines=MARGIN_LINES, placeholder="…"))


def _thousands(value: float, _: object) -> str:
    return f"{value:,.0f}"


def _picture(
    draw: Callable[[Figure], None], height: float, alternative: str, layout: Literal["constrained"] | None = "constrained"
) -> Picture:
    """Draw a figure of a height in inches, in the report's style."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the browser has the fonts
        figure = Figure(figsize=(WIDTH, height), layout=layout, dpi=150)
        FigureCanvasAgg(figure)
        draw(figure)
        written = io.BytesIO()
        figure.savefig(written, format="svg", metadata={"Date": None}, transparent=True)
    svg = written.getvalue().decode("utf-8").replace("'DejaVu Sans'", PAGE_FONT.replace('"', "'"))
    return Picture(f"data:image/svg+xml;base64,{base64.b64encode(svg.encode('utf-8')).decode('ascii')}", alternative)
