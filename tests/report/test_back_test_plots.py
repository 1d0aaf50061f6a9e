"""The charts of the back-test keep their titles apart."""

from __future__ import annotations

from itertools import pairwise

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interest_tiers.report import back_test_plots
from interest_tiers.report.canvas import STYLE, WIDTH, Picture
from interest_tiers.report.comparison import compare
from interest_tiers.report.language import Language

METRICS = ("ndcg@10", "recall@10", "coverage@10")


@pytest.mark.parametrize("n_metrics", [1, 2, 3])
def test_titles_of_neighbours_do_not_overlap(monkeypatch: pytest.MonkeyPatch, n_metrics: int) -> None:
    figures: list[Figure] = []

    def draw_in_figure(draw, height: float, alternative: str) -> Picture:  # type: ignore[no-untyped-def]
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(WIDTH, height), layout="constrained")
            FigureCanvasAgg(figure)
            draw(figure)
            figure.draw_without_rendering()
        figures.append(figure)
        return Picture("", alternative)

    monkeypatch.setattr(back_test_plots, "draw_picture", draw_in_figure)
    rows = [
        {"metric": metric, "slice": f"model={model}", "value": value, "lower": value - 0.01, "upper": value + 0.01}
        for metric in METRICS
        for model, value in (("cluster_popularity", 0.108), ("user_popularity", 0.093))
    ]
    cases = "items new to the user, by clusters alone: most active third"
    back_test_plots.draw_comparisons([compare(cases, rows)], METRICS[:n_metrics], Language("en"))
    panels = [axes._left_title for axes in figures[0].axes]  # type: ignore[attr-defined]
    assert len(panels) == n_metrics
    assert all(" ".join(title.get_text().split("\n")[1:]) == cases for title in panels)
    extents = [title.get_window_extent() for title in panels]
    assert all(left.x1 < right.x0 for left, right in pairwise(extents))
    assert extents[-1].x1 < figures[0].bbox.x1
