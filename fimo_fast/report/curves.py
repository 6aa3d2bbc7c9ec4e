"""The contents of one panel: the ceiling, the methods' curves, and their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .canvas import PX, Box, fit, measure, plain, write
from .labels import spread
from .results import Experiment, Floats
from .style import CEILING, PAPER, Dashes, Style, number
from .tables import ranked

LINE = 15.0  # height of a label, px
LEADER = 18.0  # from the end of the axes to the labels, px
GAP = 5.0  # between value and name, px
OWN_DASHES: Dashes = (3.2, 2.0)
# Wide and pale: the best method often lies on the ceiling, and both must be seen.
CEILING_LINE: dict[str, Any] = {
    "linewidth": 5.0,
    "alpha": 0.5,
    "solid_capstyle": "butt",
    "solid_joinstyle": "round",
    "zorder": 2.0,
}


@dataclass(frozen=True)
class Label:
    """A label at the end of a curve.

    Attributes:
        y: last measured value of the curve, in data units.
        x: epoch of that value.
        name: what is written behind the value.
        colour: of the text.
        line: of the leader.
        bold: whether the name is bold.
    """

    y: float
    x: float
    name: str
    colour: str
    line: str
    bold: bool = False


def end_labels(experiment: Experiment, styles: dict[str, Style], short: bool) -> list[Label]:
    """One label for each curve that has a value, lowest rank first, the ceiling on top of ties."""
    labels: list[Label] = []

    def add(curve: Floats, name: str, colour: str, line: str, bold: bool = False) -> None:
        known = np.flatnonzero(np.isfinite(curve))
        if known.size:
            last = known[-1]
            x = float(experiment.epochs[last])
            labels.append(Label(float(curve[last]), x, name, colour, line, bold))

    for method in reversed(ranked(experiment)):
        style = styles[method.name]
        name = style.short if short else style.name
        add(method.cosine, name, style.text, style.line)
    add(experiment.reliability, "ceiling", CEILING, CEILING, bold=True)
    for method in experiment.methods:
        if method.own_cosine is not None:
            style = styles[method.name]
            add(method.own_cosine, "own seeds", style.text, style.line)
    return labels


def label_room(figure: Figure, labels: list[Label], points: float, most: float) -> float:
    """Width of the column right of the axes, at most ``most`` px; longer names are cut."""
    if not labels:
        return LEADER
    names = max(measure(figure, plain(x.name), points, _weight(x)) for x in labels)
    return min(most, LEADER + _values(figure, labels, points) + GAP + names + 4.0)


def draw_curves(axes: Axes, experiment: Experiment, styles: dict[str, Style]) -> None:
    """The ceiling with its interval, then the methods, the best on top."""
    x = experiment.epochs
    single = x.size == 1
    band = experiment.reliability_interval
    if single:
        # One epoch has no line to follow: the ceiling becomes a level to compare with.
        axes.axhspan(band[0, 0], band[0, 1], color=CEILING, alpha=0.14, linewidth=0)
        axes.axhline(experiment.reliability[0], color=CEILING, **CEILING_LINE)
    else:
        axes.fill_between(x, band[:, 0], band[:, 1], color=CEILING, alpha=0.18, linewidth=0)
        axes.plot(x, experiment.reliability, color=CEILING, **CEILING_LINE)
    for rank, method in enumerate(ranked(experiment)):
        style = styles[method.name]
        over = 3.0 - rank / 100
        low, high = np.where(np.isfinite(method.cosine), method.cosine_interval.T, np.nan)
        if single:
            axes.plot([x[0], x[0]], [low[0], high[0]], color=style.line, linewidth=1.6, zorder=over)
        else:
            axes.fill_between(x, low, high, color=style.line, alpha=0.12, linewidth=0, zorder=1.5)
        _line(axes, x, method.cosine, style.line, 2.6 if rank == 0 else 1.9, style.dashes, over)
        if method.own_cosine is not None:
            _line(axes, x, method.own_cosine, style.line, 1.3, OWN_DASHES, 2.5)


def place_labels(figure: Figure, axes: Axes, box: Box, labels: list[Label], points: float, room: float) -> None:
    """Write the labels right of the axes without overlap, each with a leader to its curve."""
    low, high = axes.get_ylim()
    at = [box[1] + (label.y - low) / (high - low) * box[3] for label in labels]
    centres = spread(at, [LINE] * len(labels), box[1] - 4.0, box[1] + box[3] + 6.0)
    start = box[0] + box[2]
    values = _values(figure, labels, points)
    width, height = figure.get_size_inches() * PX
    for label, y, centre in zip(labels, at, centres, strict=True):
        figure.add_artist(
            Line2D(
                np.array([start + 3, start + 6, start + LEADER - 5, start + LEADER - 2]) / width,
                np.array([y, y, centre, centre]) / height,
                color=label.line,
                linewidth=0.8,
                alpha=0.75,
                solid_joinstyle="round",
            )
        )
        if label.x < axes.get_xlim()[1]:
            # The curve ends early: lead the eye from there to the edge.
            edge = axes.get_xlim()[1]
            axes.plot(
                [label.x, edge],
                [label.y] * 2,
                color=label.line,
                linewidth=0.8,
                linestyle=(0, (1, 3)),
            )
        left = start + LEADER
        weight = _weight(label)
        name = fit(figure, label.name, room - LEADER - values - GAP - 2.0, points, weight)
        align = {"verticalalignment": "center_baseline"}
        write(
            figure, left + values, centre, number(label.y), points, label.colour, "bold",
            horizontalalignment="right", **align,
        )  # fmt: skip
        write(figure, left + values + GAP, centre, name, points, label.colour, weight, **align)


def _line(axes: Axes, x: Floats, y: Floats, colour: str, width: float, dashes: Dashes, over: float) -> None:
    axes.plot(
        x,
        y,
        color=colour,
        linewidth=width,
        linestyle=(0, dashes) if dashes else "solid",
        solid_capstyle="round",
        solid_joinstyle="round",
        zorder=over,
    )
    # A value between two missing ones has no line, only a dot; the last one ends the curve.
    known = np.isfinite(np.concatenate([[np.nan], y, [np.nan]]))
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    if known.any():
        alone[np.flatnonzero(known)[-1] - 1] = True
    axes.plot(
        x[alone],
        y[alone],
        linestyle="none",
        marker="o",
        markersize=4.2 + width / 2,
        markerfacecolor=colour,
        markeredgecolor=PAPER,
        markeredgewidth=1.0,
        clip_on=False,
        zorder=over + 1,
    )


def _weight(label: Label) -> str:
    return "bold" if label.bold else "normal"


def _values(figure: Figure, labels: list[Label], points: float) -> float:
    return max((measure(figure, number(x.y), points, "bold") for x in labels), default=0.0)
