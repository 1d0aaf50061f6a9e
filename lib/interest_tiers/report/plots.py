"""The charts of tiers. Every draw function takes values of the report's other modules and returns a Picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interest_tiers.config import TIERS
from interest_tiers.report.canvas import INK, TIER_COLOURS, Picture, draw_picture, format_thousands, label_right, shorten_name
from interest_tiers.report.flows import ABSENT, Flows
from interest_tiers.report.language import N_, Language
from interest_tiers.report.tiers import CoreInterest, TierSummary

#: Names of the tiers in charts and tables.
TIER_NAMES = {"core": N_("core"), "secondary": N_("secondary"), "marginal": N_("marginal"), ABSENT: N_("no tier")}

#: Width of a bar of the flows, and the gap between two blocks of it, as shares of the chart.
BAR, GAP = 0.035, 0.03


def draw_tiers(summary: TierSummary, language: Language) -> Picture:
    """Draw the share of pairs per tier, and how many interests of each tier a user has."""

    def draw(figure: Figure) -> None:
        shares, held = figure.subplots(1, 2, sharey=True)
        places = np.arange(len(summary.tiers))[::-1]
        colours = [TIER_COLOURS[t.tier] for t in summary.tiers]
        shares.barh(places, [100 * t.share for t in summary.tiers], color=colours, height=0.62)
        for place, tier in zip(places, summary.tiers, strict=True):
            label_right(shares, 100 * tier.share, place, language.percent(tier.share))
            held.plot(
                [tier.low_per_user, tier.high_per_user], [place, place], color=TIER_COLOURS[tier.tier], linewidth=7, solid_capstyle="butt"
            )
            held.plot([tier.median_per_user], [place], "o", color="white", markeredgecolor=INK, markersize=8)
            label_right(
                held,
                max(tier.high_per_user, tier.median_per_user),
                place,
                f"{tier.low_per_user:,} – {tier.median_per_user:,} – {tier.high_per_user:,}",
                9,
            )
        shares.set_yticks(places, [language.translate(TIER_NAMES[t.tier]) for t in summary.tiers])
        shares.set(title=language.gettext("Share of the pairs of user and interest"), xlim=(0, 108))
        held.set(title=language.gettext("Interests per user"), xlim=(0, 1.35 * max(1, *(t.high_per_user for t in summary.tiers))))
        shares.xaxis.set_major_formatter(lambda value, _: language.percent(value / 100, 0))
        held.set_xlabel(language.gettext("line: 10 %% to 90 %% of the users, dot: the median user"))
        for axes in (shares, held):
            axes.grid(axis="x")
            axes.tick_params(length=0)

    described = "; ".join(
        language.gettext(
            "%(tier)s: %(share)s of the pairs, %(median)s interests of the median user",
            tier=language.translate(TIER_NAMES[t.tier]),
            share=language.percent(t.share),
            median=language.number(t.median_per_user),
        )
        for t in summary.tiers
    )
    alternative = language.gettext("Bars of the share of pairs per tier and ranges of interests per user. %(tiers)s.", tiers=described)
    return draw_picture(draw, 2.5, alternative)


def draw_core_interests(interests: Sequence[CoreInterest], language: Language) -> Picture:
    """Draw the users for whom each interest is core, and those for whom it is secondary."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(interests))[::-1]
        core = np.array([i.core_users for i in interests])
        secondary = np.array([i.secondary_users for i in interests])
        axes.barh(places, core, color=TIER_COLOURS["core"], height=0.7, label=language.translate(TIER_NAMES["core"]))
        axes.barh(
            places, secondary, left=core, color=TIER_COLOURS["secondary"], height=0.7, label=language.translate(TIER_NAMES["secondary"])
        )
        for place, interest in zip(places, interests, strict=True):
            label_right(
                axes, interest.core_users + interest.secondary_users, place, f"{interest.core_users:,} + {interest.secondary_users:,}"
            )
        axes.set_yticks(places, [shorten_name(i.name) for i in interests])
        axes.set(xlabel=language.gettext("users"), xlim=(0, 1.14 * max(core + secondary)), ylim=(-0.6, len(interests) - 0.4))
        axes.xaxis.set_major_formatter(format_thousands)
        axes.grid(axis="x")
        axes.tick_params(length=0)
        axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))

    alternative = language.gettext(
        "Bars of core and secondary users of %(count)s interests. Most core users: %(name)s with %(users)s.",
        count=len(interests),
        name=interests[0].name,
        users=language.number(interests[0].core_users),
    )
    return draw_picture(draw, 1.1 + 0.27 * len(interests), alternative)


def draw_flows(flows: Flows, since: str, today: str, language: Language) -> Picture:
    """Draw how pairs moved between tiers: a bar of the earlier day, a bar of now, and bands between them.

    since, today: the days as people write them
    """
    tiers = (*TIERS, ABSENT)
    counts = np.zeros((len(tiers), len(tiers)))
    for flow in flows.flows:
        counts[tiers.index(flow.before)] = np.array(flow.shares) * flow.pairs
    counts /= max(1.0, counts.sum())

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        tops = [_stack(counts.sum(axis=1)), _stack(counts.sum(axis=0))]
        for place, tier in enumerate(tiers):
            for side, share in ((0, counts.sum(axis=1)[place]), (1, counts.sum(axis=0)[place])):
                if share:
                    _draw_block(axes, side, tops[side][place], share, tier, language)
        starts, ends = tops[0].copy(), tops[1].copy()
        for before, tier in enumerate(tiers):
            for after in range(len(tiers)):
                _draw_band(axes, starts[before], ends[after], counts[before, after], TIER_COLOURS.get(tier, "#e4e8eb"))
                starts[before] -= counts[before, after]
                ends[after] -= counts[before, after]
        for at, align, title in ((0.0, "left", since), (1.0, "right", today)):
            axes.text(at, 1 + (len(tiers) - 1) * GAP + 0.03, title, ha=align, weight="bold")
        axes.set(xlim=(-0.24, 1.24), ylim=(-0.02, 1 + (len(tiers) - 1) * GAP + 0.1))
        axes.axis("off")

    described = "; ".join(
        language.gettext(
            "%(tier)s: %(share)s stayed",
            tier=language.translate(TIER_NAMES[flow.before]),
            share=language.percent(flow.shares[tiers.index(flow.before)]),
        )
        for flow in flows.flows
        if flow.before != ABSENT
    )
    return draw_picture(
        draw,
        4.2,
        language.gettext("Bands between the tiers of %(since)s and of %(day)s. %(tiers)s.", since=since, day=today, tiers=described),
    )


def _stack(shares: np.ndarray) -> np.ndarray:
    """Find the top of every block, the first at the top of the chart."""
    heights = shares + GAP
    return 1 + (len(shares) - 1) * GAP - np.concatenate([[0.0], np.cumsum(heights)[:-1]])


def _draw_block(axes: Axes, side: int, top: float, share: float, tier: str, language: Language) -> None:
    left = 0.0 if side == 0 else 1 - BAR
    axes.fill_between([left, left + BAR], top - share, top, color=TIER_COLOURS.get(tier, "#e4e8eb"), linewidth=0)
    text = f"{language.translate(TIER_NAMES[tier])}  {language.percent(share)}"
    axes.text(-0.015 if side == 0 else 1.015, top - share / 2, text, ha="right" if side == 0 else "left", va="center")


def _draw_band(axes: Axes, start: float, end: float, share: float, colour: str) -> None:
    """Draw a band from a height on the left to one on the right, both its upper edge."""
    if share <= 0:
        return
    along = np.linspace(0, 1, 40)
    upper = start + (end - start) * (3 * along**2 - 2 * along**3)
    axes.fill_between(BAR + (1 - 2 * BAR) * along, upper - share, upper, color=colour, alpha=0.5, linewidth=0)
