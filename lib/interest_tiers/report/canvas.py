"""What the charts of the report share: colours, style, labels, and how a figure becomes an image inside the page."""

from __future__ import annotations

import base64
import io
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interest_tiers.report.naming import calm

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


def label_right(axes: Axes, x: float, y: float, text: str, distance: float = 5) -> None:
    axes.annotate(text, (x, y), (distance, 0), textcoords="offset points", va="center", fontsize=9)


def shorten(text: str, length: int = LABEL_LENGTH) -> str:
    """Shorten a text for a chart's margin, and leave out what XML cannot hold."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable if len(printable) <= length else f"{printable[: length - 1].rstrip()}…"


def shorten_name(name: str, length: int = LABEL_LENGTH) -> str:
    """Set a name of an interest or a cluster in sentence case, and shorten it."""
    return shorten(calm(name), length)


def choose_look(place: int) -> tuple[str, str]:
    """Choose colour and marker by a place in an order; neighbours differ in both or in colour."""
    return CLUSTER_COLOURS[place % len(CLUSTER_COLOURS)], CLUSTER_MARKERS[place // len(CLUSTER_COLOURS) % len(CLUSTER_MARKERS)]


def wrap_name(name: str) -> str:
    """Wrap a name in a few short lines; a dot between two parts stays with the first."""
    text = shorten_name(name, MARGIN_LINE * MARGIN_LINES).replace(" · ", "\N{NO-BREAK SPACE}· ")
    return "\n".join(textwrap.wrap(text, MARGIN_LINE, max_lines=MARGIN_LINES, placeholder="…"))


def format_thousands(value: float, _: object) -> str:
    return f"{value:,.0f}"


def draw_picture(
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
