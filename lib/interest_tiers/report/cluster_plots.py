"""The charts of clusters: a map of users, the silhouette of every k, and the silhouettes of users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interest_tiers.report.canvas import (
    INK,
    OTHERS,
    OURS,
    QUIET,
    Picture,
    choose_look,
    draw_picture,
    shorten_name,
    wrap_name,
)
from interest_tiers.report.clusters import Cluster, SilhouetteChoice, UserMap
from interest_tiers.report.language import Language

#: Clusters with a block of their own in the silhouette plot, and white space between two, as a share of the users.
SILHOUETTE_CLUSTERS, SILHOUETTE_GAP = 40, 0.015


def draw_user_map(user_map: UserMap, clusters: Sequence[Cluster], language: Language) -> Picture:
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
            colour, marker = choose_look(place)
            axes.scatter(own[:, 0], own[:, 1], s=size, color=colour, marker=marker, alpha=0.65, linewidths=0, rasterized=True)
            middles.append(np.median(own, axis=0))
        axes.set(xticks=[], yticks=[], facecolor="#fafbfc")
        axes.spines[:].set_visible(False)
        axes.margins(0.04)
        _label_in_margins(axes, shown, np.array(middles))

    sizes = ", ".join(
        language.gettext("%(name)s (%(users)s users)", name=cluster.name, users=language.number(cluster.size)) for cluster in shown[:8]
    )
    alternative = language.gettext(
        "Map of %(users)s users in two dimensions, coloured by cluster. The largest clusters: %(clusters)s.",
        users=language.number(len(points)),
        clusters=sizes,
    )
    return draw_picture(draw, height, alternative, layout=None)


def draw_user_silhouettes(user_map: UserMap, clusters: Sequence[Cluster], language: Language) -> Picture | None:
    """Draw the silhouette of every sampled user, by cluster and sorted; None where no user has one."""
    values = np.array([np.nan if value is None else value for value in user_map.silhouettes], dtype=np.float64)
    if np.isnan(values).all():
        return None
    owners = np.array(user_map.cluster_ids)
    of_clusters = [(place, c, np.sort(values[(owners == c.cluster_id) & ~np.isnan(values)])) for place, c in enumerate(clusters)]
    shown = [each for each in of_clusters if len(each[2])][:SILHOUETTE_CLUSTERS]
    total = sum(len(own) for _, _, own in shown)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        top, ticks = 0.0, []
        for place, _, own in shown:
            heights = top - np.arange(len(own))[::-1]
            axes.fill_betweenx(heights, 0, own, color=choose_look(place)[0], alpha=0.85, linewidth=0, step="mid", rasterized=True)
            ticks.append(float(heights.mean()))
            top -= len(own) + SILHOUETTE_GAP * total
        mean = float(np.nanmean(values))
        axes.axvline(mean, color=INK, linestyle="--", linewidth=1.2)
        axes.annotate(
            language.gettext("mean %(mean)s", mean=language.decimal(mean)), (mean, 0.02 * total), ha="center", annotation_clip=False
        )
        axes.set_yticks(ticks, [shorten_name(cluster.name) for _, cluster, _ in shown])
        axes.set(
            xlabel=language.gettext("silhouette of the user"), ylim=(top, 0.01 * total), xlim=(min(-0.05, float(np.nanmin(values))), 1)
        )
        axes.grid(axis="x")
        axes.tick_params(length=0)

    below = language.percent(float((values < 0).sum() / total), 0)
    alternative = language.gettext(
        "Silhouettes of %(users)s users, sorted within each of %(clusters)s clusters. Below 0: %(below)s.",
        users=language.number(total),
        clusters=len(shown),
        below=below,
    )
    return draw_picture(draw, max(3.4, 1.0 + 0.42 * len(shown)), alternative)


def draw_silhouettes(choice: SilhouetteChoice, language: Language) -> Picture:
    """Draw the silhouette over k, the chosen k marked."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        ks, values = zip(*choice.values, strict=True)
        axes.plot(ks, values, color=OTHERS, linewidth=1.5, zorder=1)
        for k, value in choice.values:
            chosen = k == choice.chosen
            axes.plot([k], [value], "o", color=OURS if chosen else OTHERS, markersize=10 if chosen else 6)
            text = language.gettext("%(value)s chosen", value=language.decimal(value)) if chosen else language.decimal(value)
            axes.annotate(text, (k, value), (0, 10), textcoords="offset points", ha="center", weight="bold" if chosen else "normal")
        reach = max(0.02, max(values) - min(values))
        axes.set(
            xlabel=language.gettext("k, the number of clusters"),
            ylabel=language.gettext("mean silhouette"),
            ylim=(min(values) - 0.3 * reach, max(values) + 0.4 * reach),
        )
        axes.set_xticks(ks)
        axes.margins(x=0.07)
        axes.grid(axis="y")
        axes.tick_params(length=0)

    values = ", ".join(f"k = {k}: {value:.3f}" for k, value in choice.values)
    chosen = "" if choice.chosen is None else language.gettext("Chosen: k = %(k)s.", k=choice.chosen)
    alternative = language.gettext("Line of the mean silhouette over the number of clusters. %(values)s.", values=values)
    return draw_picture(draw, 2.9, f"{alternative} {chosen}".strip())


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
    colour, marker = choose_look(place)
    edge, align = (-0.02, "right") if side == "left" else (1.02, "left")
    line: dict[str, Any] = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.7, "shrinkA": 2, "shrinkB": 3}
    axes.annotate(
        wrap_name(cluster.name),
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
