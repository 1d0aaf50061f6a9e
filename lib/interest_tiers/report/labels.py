"""Places the names of the largest interests on their map, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interest_tiers.report.interest_map import InterestPoint
from interest_tiers.report.naming import calm

#: Size of the map in its own units, its margin, and the smallest and largest radius.
WIDTH, HEIGHT, MARGIN, RADII = 1000, 560, 30, (4.0, 15.0)

#: Names tried, characters of one, and its size in the map's units.
NAMES, LONGEST_NAME, LETTER, LINE = 60, 28, 8.2, 18


@dataclass(frozen=True)
class PlacedPoint:
    """A circle of the map; label is empty where there is no room for it. at: where the label starts."""

    point: InterestPoint
    x: float
    y: float
    radius: float
    label: str
    at: float


def place_labels(points: Sequence[InterestPoint]) -> tuple[PlacedPoint, ...]:
    """Size the circles by users, and name the largest where there is room. points: most users first."""
    most = max((point.n_users for point in points), default=1)
    taken: list[tuple[float, float, float, float]] = []
    placed = []
    for place, point in enumerate(points):
        x, y = MARGIN + point.x * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - point.y * (HEIGHT - 2 * MARGIN)
        radius = RADII[0] + (RADII[1] - RADII[0]) * (point.n_users / most) ** 0.5
        name = calm(point.name)
        label = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1].rstrip()}…"
        width = LETTER * len(label)
        at = x + radius + 4 if x + radius + 4 + width < WIDTH else x - radius - 4 - width
        box = (at, y - LINE / 2, at + width, y + LINE / 2)
        fits = place < NAMES and not any(_overlap(box, other) for other in taken)
        if fits:
            taken.append(box)
        placed.append(PlacedPoint(point, round(x, 1), round(y, 1), round(radius, 1), label if fits else "", round(at, 1)))
    return tuple(placed)


def _overlap(left: tuple[float, float, float, float], right: tuple[float, float, float, float]) -> bool:
    return left[0] < right[2] and right[0] < left[2] and left[1] < right[3] and right[1] < left[3]
