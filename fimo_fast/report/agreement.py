"""The figure of the report: agreement with the gold standard against epochs of further training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .canvas import Box, bare_axes, fit, new_figure, quiet_ticks, write
from .curves import LINE, draw_curves, end_labels, label_room, place_labels
from .results import Experiment, Floats
from .style import CEILING, FONT, GRID, INK, MUTED, Style, epoch, number, percent

LEFT = 30.0  # tick labels, px
WIDEST = 210.0  # label column, px
STRIP = 34.0  # height of the distance panel, px
STRIP_ABOVE = 46.0  # from the bottom of the panel above, px
Y_CAPTION = "Cosine with the gold standard"
X_CAPTION = "epochs of further training"


@dataclass(frozen=True)
class Layout:
    """Sizes of one variant of the figure.

    Attributes:
        width: of the whole figure, px.
        columns: panels side by side.
        height: of the axes, px, where the labels need no more.
        points: text size.
        short: short method names.
        titles: write the experiments' titles (not needed below a heading).
        distance: draw the distance panel.
    """

    width: float
    columns: int = 1
    height: float = 300.0
    points: float = 8.8
    short: bool = False
    titles: bool = True
    distance: bool = True


def agreement_figure(experiments: Sequence[Experiment], styles: dict[str, Style], layout: Layout) -> Figure:
    """Agreement against epochs, one panel an experiment.

    Args:
        experiments: at least one; panels are filled row by row.
        styles: a style for each method name.
        layout: sizes.

    Returns:
        A figure with an Agg canvas, at 100 dots an inch.
    """
    columns = min(layout.columns, len(experiments))
    n_rows = -(-len(experiments) // columns)
    labels = [end_labels(e, styles, layout.short) for e in experiments]
    height = max([layout.height, *(LINE * len(found) for found in labels)])
    above = 68.0 if layout.titles else 30.0
    distance = layout.distance and any(np.isfinite(e.distance).any() for e in experiments)
    below = 40.0 + (STRIP + STRIP_ABOVE if distance else 0.0)
    row = above + height + below
    figure = new_figure(layout.width, n_rows * row)
    cell = layout.width / columns
    # All panels share scale and size, so heights can be compared across experiments.
    limits = _limits(experiments)
    room = max(label_room(figure, found, layout.points, min(0.5 * cell, WIDEST)) for found in labels)
    for i, (experiment, found) in enumerate(zip(experiments, labels, strict=True)):
        left = (i % columns) * cell
        bottom = (n_rows - 1 - i // columns) * row + below
        box = (left + LEFT, bottom, cell - LEFT - room, height)
        axes = _axes(figure, box, limits, experiment.epochs, layout.points)
        draw_curves(axes, experiment, styles)
        place_labels(figure, axes, box, found, layout.points, room)
        _heading(figure, experiment, left + 4.0, bottom + height, cell - 14.0, layout)
        lowest = axes
        if distance:
            strip = (box[0], bottom - STRIP_ABOVE - STRIP, box[2], STRIP)
            lowest = _distance(figure, strip, axes, experiment, cell - 14.0, layout.points)
        lowest.set_xlabel(X_CAPTION, fontsize=layout.points, color=MUTED, fontfamily=FONT, usetex=False)
    return figure


def _heading(figure: Figure, e: Experiment, x: float, y: float, width: float, layout: Layout) -> None:
    points = layout.points
    facts = f"{e.n_train:,} training examples · {e.left_out:,} left out · {e.seeds:,} seed{'' if e.seeds == 1 else 's'}"
    lines = [(Y_CAPTION, 13.0, points, MUTED, "normal")]
    if layout.titles:
        lines.append((e.title, 49.0, points + 2.0, INK, "bold"))
        lines.append((facts, 33.0, points - 0.4, MUTED, "normal"))
    for text, above, size, colour, weight in lines:
        write(figure, x, y + above, fit(figure, text, width, size, weight), size, colour, weight)


def _limits(experiments: Sequence[Experiment]) -> tuple[float, float]:
    lowest = 0.0
    for e in experiments:
        for curve in (e.reliability, *(m.cosine for m in e.methods)):
            if np.isfinite(curve).any():
                lowest = min(lowest, float(np.nanmin(curve)))
    return lowest - 0.02, 1.02


def _axes(figure: Figure, box: Box, limits: tuple[float, float], epochs: Floats, points: float) -> Axes:
    axes = bare_axes(figure, box)
    ticks = [t / 5 for t in range(-5, 6) if limits[0] <= t / 5 <= limits[1]]
    axes.set_ylim(*limits)
    axes.set_yticks(ticks, [number(t, 1) if t else "0" for t in ticks])
    for t in ticks:
        axes.axhline(t, color=MUTED if t == 0 else GRID, linewidth=0.8, zorder=0)
    if epochs.size == 1:
        axes.set_xlim(epochs[0] - 1.0, epochs[0] + 0.12)
    elif _geometric(epochs):
        axes.set_xscale("log")
        axes.set_xlim(epochs[0] / (epochs[-1] / epochs[0]) ** 0.02, epochs[-1])
    else:
        axes.set_xlim(epochs[0] - 0.02 * (epochs[-1] - epochs[0]), epochs[-1])
    axes.set_xticks([], minor=True)
    at = epoch_ticks(epochs, box[2])
    axes.set_xticks(at, [epoch(t) for t in at])
    quiet_ticks(axes, points - 0.3, MUTED)
    return axes


def _geometric(epochs: Floats) -> bool:
    gaps = np.diff(epochs)
    return bool(gaps.size > 1 and gaps.max() >= 8 * gaps.min() and epochs[0] > 0)


def epoch_ticks(epochs: Floats, width: float) -> list[float]:
    """The first and last epoch and round ones between, some 34 px apart, the outer ones 20 px.

    Args:
        epochs: [E], strictly increasing.
        width: of the axes, px.
    """
    most = max(2, min(8, int(width // 34)))
    if epochs.size <= most and not _geometric(epochs):
        return [float(e) for e in epochs]
    first, last = float(epochs[0]), float(epochs[-1])
    if _geometric(epochs):
        place = np.log(epochs / first) / np.log(last / first) * width
        kept = [0]
        for i in range(1, epochs.size - 1):
            if place[i] - place[kept[-1]] >= 34 and width - place[i] >= 34:
                kept.append(i)
        return [float(epochs[i]) for i in (*kept, epochs.size - 1)]
    scale = 10 ** float(np.floor(np.log10((last - first) / most)))
    steps = [s * scale for s in (1, 2, 5, 10, 20)]
    step = next(s for s in steps if (last - first) / s <= most)
    inner = np.arange(np.ceil(first / step) * step, last, step)
    apart = 20.0 * (last - first) / width
    return [first, *(float(t) for t in inner if min(t - first, last - t) >= apart), last]


def _distance(figure: Figure, box: Box, above: Axes, e: Experiment, width: float, points: float) -> Axes:
    """The distance that the parameters have moved; far away, no method that linearises at the start can hold."""
    axes = bare_axes(figure, box)
    axes.set_xscale(above.get_xscale())
    axes.set_xlim(above.get_xlim())
    known = np.isfinite(e.distance)
    top = float(e.distance[known].max()) if known.any() else 0.0
    axes.set_ylim(0.0, 1.12 * top if top > 0 else 1.0)
    axes.set_yticks([])
    axes.set_xticks([], minor=True)
    at = epoch_ticks(e.epochs, box[2])
    axes.set_xticks(at, [epoch(t) for t in at])
    quiet_ticks(axes, points - 0.3, MUTED)
    axes.axhline(0.0, color=MUTED, linewidth=0.8, zorder=0)
    if e.epochs.size == 1:
        axes.plot(e.epochs, e.distance, "o", color=CEILING, markersize=5, clip_on=False)
    else:
        axes.fill_between(e.epochs, 0.0, e.distance, color=CEILING, alpha=0.14, linewidth=0)
        axes.plot(e.epochs, e.distance, color=CEILING, linewidth=1.3)
    caption = "Distance moved, relative to the parameters’ norm"
    caption = fit(figure, caption, width, points - 0.3)
    write(figure, box[0] - LEFT + 4.0, box[1] + STRIP + 8.0, caption, points - 0.3, MUTED)
    if known.any():
        last = float(e.distance[known][-1])
        y = box[1] + STRIP * last / axes.get_ylim()[1]
        text = percent(last)
        write(
            figure,
            box[0] + box[2] + 8.0,
            y,
            text,
            points,
            CEILING,
            "bold",
            verticalalignment="center_baseline",
        )
    return axes
