"""What the plots of a page share: axes that suit their values, names that do not overlap, small SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from math import cos, radians, sin
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

WIDE_RANGE: Final = 5.0
"""Values that differ by a larger factor get a logarithmic axis."""
NAME_POINTS: Final = 7.5
NAME_WIDTH: Final = 0.56  # of a letter, in heights
POINT_BOX: Final = 4.0
ANGLES: Final = (0, 180, 40, -40, 140, -140, 90, -90)
DISTANCES: Final = (7.0, 14.0, 22.0, 32.0, 44.0)


class Box(NamedTuple):
    """Left, bottom, right, top, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def within(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )


def suit(panel: Any, which: str, values: Sequence[float]) -> None:
    """An axis, x or y: logarithmic with the ticks 1, 2, 5, 10 … if the values differ much; thousands with a comma."""
    axis = getattr(panel, f"{which}axis")
    if min(values) > 0 and max(values) / min(values) > WIDE_RANGE:
        getattr(panel, f"set_{which}scale")("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def name_points(figure: Figure, panel: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """Write each name beside its point, where neither another name nor a point is; a thin line leads to a far one."""
    figure.draw_without_rendering()  # the layout is known only then
    to_points = 72 / figure.dpi
    spots = [panel.transData.transform((across, up)) * to_points for across, up, _ in points]
    frame = Box(*(edge * to_points for edge in panel.get_window_extent().extents))
    taken = [Box(x - POINT_BOX, y - POINT_BOX, x + POINT_BOX, y + POINT_BOX) for x, y in spots]
    for (across, up, text), (x, y) in zip(points, spots, strict=True):
        width = NAME_WIDTH * NAME_POINTS * len(text)
        places = list(_places(x, y, width))
        right, down, side, box = next(
            (one for one in places if one[3].within(frame) and not any(map(one[3].overlaps, taken))), places[0]
        )
        taken.append(box)
        far = abs(right) + abs(down) > 2 * DISTANCES[0]
        panel.annotate(
            text,
            (across, up),
            xytext=(right, down),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=NAME_POINTS,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#8c959f", "shrinkB": 3} if far else None,
        )


def _places(x: float, y: float, width: float) -> Iterator[tuple[float, float, str, Box]]:
    """Where a name could stand: offset, which side of it is there, and what it covers; the nearest first."""
    high = NAME_POINTS * 0.6
    for distance in DISTANCES:
        for angle in ANGLES:
            right, up = distance * cos(radians(angle)), distance * sin(radians(angle))
            side = "center" if abs(angle) == 90 else "left" if abs(angle) < 90 else "right"
            left = x + right - {"left": 0.0, "center": width / 2, "right": width}[side]
            yield right, up, side, Box(left, y + up - high, left + width, y + up + high)


def svg(figure: Figure, salt: str) -> str:
    """The <svg> element, the same for the same results; a tenth of a point is as exact as a screen can show."""
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # several figures on a page: the ids would be there twice
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "sans-serif", text)
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]).replace("\n", ""), text)
    return re.sub(r"\n\s*", "\n", text)
