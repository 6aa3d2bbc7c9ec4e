"""Drawing in pixels: explicit figures, measured text, axes at exact places.

One pixel is 1/100 inch. Nothing here reads or changes pyplot's state or lets the user's rcParams
through, and text is never parsed as mathematics, as titles and method names may hold any character.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from .style import FONT, PAPER

PX = 100  # pixels an inch
Box = tuple[float, float, float, float]  # left, bottom, width, height, in px


def new_figure(width: float, height: float) -> Figure:
    """An empty figure with an Agg canvas, ``width`` x ``height`` px."""
    figure = Figure(
        figsize=(width / PX, height / PX),
        dpi=PX,
        facecolor=PAPER,
        layout="none",  # type: ignore[arg-type]  # accepted, but not in matplotlib's stubs
    )
    FigureCanvasAgg(figure)
    return figure


def whole(figure: Figure) -> Bbox:
    """The area to save: all of the figure, even if rcParams have ``savefig.bbox: tight``."""
    return Bbox.from_bounds(0.0, 0.0, *figure.get_size_inches())


def to_png(figure: Figure) -> bytes:
    """The figure with two dots a pixel: sharp on dense screens."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=2 * PX, facecolor=PAPER, transparent=False,
        bbox_inches=whole(figure),
    )  # fmt: skip
    return buffer.getvalue()


def bare_axes(figure: Figure, box: Box) -> Axes:
    """Axes at an exact place, without frame, grid or background."""
    width, height = figure.get_size_inches() * PX
    axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height), facecolor="none")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def quiet_ticks(axes: Axes, points: float, colour: str) -> None:
    """Tick labels without tick marks."""
    axes.tick_params(axis="both", which="both", length=0, labelsize=points, labelcolor=colour)
    axes.tick_params(axis="both", which="both", pad=5)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_fontfamily(FONT)
        text.set_usetex(False)


def plain(text: str) -> str:
    """The text on one line, without control characters, at most 400 characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:400]


def measure(figure: Figure, text: str, points: float, weight: str = "normal") -> float:
    """Upper limit for the width of a text in px: at other resolutions it differs by 1 to 2 %."""
    # Ten times as large, so that rounding to whole pixels does not add up over the letters.
    large = Text(
        0,
        0,
        text,
        fontsize=10 * points,
        fontweight=weight,
        fontfamily=FONT,
        parse_math=False,
        usetex=False,
    )
    large.set_figure(figure)
    return 1.02 * large.get_window_extent(dpi=PX).width / 10


def fit(figure: Figure, text: str, width: float, points: float, weight: str = "normal") -> str:
    """The text on one line, cut with an ellipsis if it is wider than ``width`` px."""
    text = plain(text)
    if measure(figure, text, points, weight) <= width:
        return text
    # Each measurement lays out the text, so the cut is found by bisection.
    cut = bisect_right(range(len(text)), width, key=lambda n: measure(figure, text[:n] + "…", points, weight))
    return text[: max(0, cut - 1)].rstrip() + "…"


def write(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    points: float,
    colour: str,
    weight: str = "normal",
    **more: Any,
) -> None:
    """Text at a place in px, counted from the lower left corner of the figure."""
    width, height = figure.get_size_inches() * PX
    figure.text(
        x / width,
        y / height,
        text,
        fontsize=points,
        color=colour,
        fontweight=weight,
        fontfamily=FONT,
        parse_math=False,
        usetex=False,
        **more,
    )
