"""The Pareto picture and the table: error and recall against time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fimo_fast.report.canvas import PX, bare_axes, fit, new_figure, quiet_ticks, to_png, whole, write
from fimo_fast.report.style import CEILING, FONT, GRID, INK, KNOWN, MUTED, PAPER, Dashes

from .measure import TOP, WITHIN, Measurement

LEFT, GAP, KEY = 52.0, 60.0, 216.0  # px: tick labels, between panels, column of the key
WIDTH, HEIGHT = 330.0, 250.0  # of a panel
BOTTOM, BETWEEN, TOP_ROOM = 50.0, 66.0, 92.0
POINTS = 8.8


@dataclass(frozen=True)
class Look:
    """Colour, marker and dashes of a kind; the colours are those that the report has checked for all eyes."""

    colour: str
    marker: str
    dashes: Dashes = ()


_COLOURS = {name: style.line for name, style in KNOWN.items()}
LOOKS = {
    "SRHT": Look(_COLOURS["UnrolledDerivative"], "o"),
    "SJLT, 1 nonzero": Look(_COLOURS["FiniteHorizon"], "^"),
    "SJLT, 4 nonzeros": Look(_COLOURS["InfluenceFunction"], "v"),
    "SJLT to 4k, SRHT": Look(CEILING, "D", (3, 1.4)),
    "Rademacher": Look(_COLOURS["GradDot"], "s"),
    "Gaussian": Look(_COLOURS["GradCos"], "p"),
    "Mask of 8k, SJLT": Look(_COLOURS["UnrolledResponse"], "X", (3, 1.4)),
    "Mask": Look(_COLOURS["TRAK"], "P"),
    "SRHT of the gradient": Look(_COLOURS["UnrolledDerivative"], "o"),
    "SJLT of the gradient": Look(_COLOURS["FiniteHorizon"], "^"),
    "SRHT of both factors": Look(_COLOURS["GradCos"], "p", (3, 1.4)),
    "Rademacher of both factors": Look(_COLOURS["GradDot"], "s", (3, 1.4)),
    "TensorSketch": Look(_COLOURS["TRAK"], "P"),
    "Masks of both factors, SJLT": Look(_COLOURS["UnrolledResponse"], "X", (3, 1.4)),
}


@dataclass(frozen=True)
class Panel:
    """One data set: title, a line of facts, its measurements, and the seconds that reading 1000 gradients takes."""

    title: str
    facts: str
    results: Sequence[Measurement]
    reading: float


def figure(panels: Sequence[Panel]) -> Figure:
    """Error above, recall below, a column for each data set, and the key at the right."""
    width = LEFT + len(panels) * (WIDTH + GAP) - GAP + 24.0 + KEY
    height = BOTTOM + 2 * HEIGHT + BETWEEN + TOP_ROOM
    drawn = new_figure(width, height)
    limits = _time_limits(panels)
    errors = [r.error for panel in panels for r in panel.results]
    for i, panel in enumerate(panels):
        left = LEFT + i * (WIDTH + GAP)
        upper = (left, BOTTOM + HEIGHT + BETWEEN, WIDTH, HEIGHT)
        lower = (left, BOTTOM, WIDTH, HEIGHT)
        above = upper[1] + HEIGHT
        write(drawn, left - 40, above + 66, panel.title, POINTS + 2, INK, "bold")
        for line, fact in enumerate(panel.facts.split("; ")):
            write(
                drawn,
                left - 40,
                above + 50 - 14 * line,
                fit(drawn, fact, WIDTH + 40, POINTS - 1.2),
                POINTS - 1.2,
                MUTED,
            )
        write(drawn, left - 40, above + 12, "Error of inner products, relative to |x| |y|", POINTS, MUTED)
        write(drawn, left - 40, lower[1] + HEIGHT + 12, f"Share of the true top {TOP} found", POINTS, MUTED)
        for box, attribute in ((upper, "error"), (lower, "recall")):
            axes = bare_axes(drawn, box)
            axes.set_xscale("log")
            axes.set_xlim(*limits)
            if attribute == "error":
                axes.set_yscale("log")
                axes.set_ylim(min(errors) / 1.2, max(errors) * 1.2)
            else:
                axes.set_ylim(0, 1)
            _ticks(axes, attribute)
            _curves(axes, panel, attribute)
        _sizes(drawn, axes, panel)
        axes.set_xlabel("time for 1000 gradients", fontsize=POINTS, color=MUTED, fontfamily=FONT, usetex=False)
    _key(drawn, width - KEY, height - TOP_ROOM, panels)
    return drawn


def _time_limits(panels: Sequence[Panel]) -> tuple[float, float]:
    times = [r.seconds for panel in panels for r in panel.results] + [panel.reading for panel in panels]
    return min(times) / 1.4, max(times) * 1.4


def _ticks(axes: Axes, attribute: str) -> None:
    low, high = axes.get_xlim()
    at = [10.0**e for e in range(-6, 5) if low <= 10.0**e <= high]
    axes.set_xticks(at, [_time(t) for t in at])
    axes.set_xticks([], minor=True)
    low, high = axes.get_ylim()
    if attribute == "error":
        levels = [m * 10.0**e for e in range(-5, 5) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    else:
        levels = [0, 0.2, 0.4, 0.6, 0.8, 1]
    axes.set_yticks(levels, [f"{100 * level:g} %" for level in levels])
    axes.set_yticks([], minor=True)
    for level in levels:
        axes.axhline(level, color=GRID, linewidth=0.8, zorder=0)
    for t in at:
        axes.axvline(t, color=GRID, linewidth=0.8, zorder=0)
    quiet_ticks(axes, POINTS - 0.6, MUTED)


def _curves(axes: Axes, panel: Panel, attribute: str) -> None:
    axes.axvline(panel.reading, color=CEILING, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    for kind in dict.fromkeys(r.kind for r in panel.results):
        look, points = LOOKS[kind], [r for r in panel.results if r.kind == kind]
        x, y = ([getattr(r, what) for r in points] for what in ("seconds", attribute))
        sizes = np.linspace(3.6, 6.6, len(points))
        axes.plot(x, y, color=look.colour, linewidth=1.6, linestyle=(0, look.dashes) if look.dashes else "solid")
        for place, size in zip(zip(x, y, strict=True), sizes, strict=True):
            axes.plot(
                *place, marker=look.marker, markersize=size, color=look.colour, markeredgecolor=PAPER,
                markeredgewidth=0.6, clip_on=False, zorder=3,
            )  # fmt: skip


def _sizes(figure: Figure, axes: Axes, panel: Panel) -> None:
    """The sketch sizes beside the points of the slowest kind, which stands apart."""
    slowest = max(panel.results, key=lambda r: r.seconds).kind
    points = [r for r in panel.results if r.kind == slowest]
    for r in points:
        text = f"{'k = ' if r is points[0] else ''}{r.sketch_dim}"
        axes.annotate(
            text, (r.seconds, r.recall), xytext=(5, -5), textcoords="offset points", ha="left", va="top", color=MUTED,
            fontsize=POINTS - 1.6, fontfamily=FONT, annotation_clip=False,
        )  # fmt: skip


def _key(figure: Figure, left: float, top: float, panels: Sequence[Panel]) -> None:
    width, height = figure.get_size_inches() * PX
    kinds = list(dict.fromkeys(r.kind for panel in panels for r in panel.results))
    for i, kind in enumerate(kinds):
        look = LOOKS[kind]
        y = top - 10 - 21 * i
        figure.add_artist(
            Line2D(
                np.array([left, left + 13, left + 26]) / width, np.array([y] * 3) / height, color=look.colour,
                linewidth=1.6, linestyle=(0, look.dashes) if look.dashes else "solid", marker=look.marker,
                markersize=6, markeredgecolor=PAPER, markeredgewidth=0.6, markevery=[1],
            )
        )  # fmt: skip
        write(figure, left + 34, y, kind, POINTS, INK, verticalalignment="center_baseline")
    y = top - 10 - 21 * len(kinds)
    dots = Line2D(np.array([left, left + 26]) / width, np.array([y] * 2) / height, color=CEILING, linewidth=0.9)
    dots.set_linestyle((0, (1, 2)))
    figure.add_artist(dots)
    write(figure, left + 34, y, "reading them once", POINTS, INK, verticalalignment="center_baseline")
    sizes = sorted({r.sketch_dim for panel in panels for r in panel.results})
    note = f"Small to large marks:\nk = {sizes[0]} … {sizes[-1]}"
    write(figure, left, y - 46, note, POINTS, MUTED, linespacing=1.5)


def save(figure: Figure, path: Path, description: str) -> None:
    """As path.png and path.svg, the same bytes for the same numbers."""
    path.with_suffix(".png").write_bytes(to_png(figure))
    with matplotlib.rc_context({"svg.hashsalt": "quality"}):
        figure.savefig(
            path.with_suffix(".svg"), bbox_inches=whole(figure), metadata={"Date": None, "Title": description}
        )


def table(panels: Sequence[Panel]) -> str:
    """All numbers as markdown, one table for each data set."""
    parts = []
    for panel in panels:
        parts += [
            f"**{panel.title}**: {panel.facts}. Reading 1000 gradients once: {_time(panel.reading)}.",
            "",
            "| sketch | k | error / (\\|x\\| \\|y\\|) | error / spread "
            f"| top {TOP} | top {TOP} in {WITHIN} | time for 1000 |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        for r in panel.results:
            parts.append(
                f"| {r.kind} | {r.sketch_dim} | {r.error:.4f} | {r.error_of_spread:.3f} | {r.recall:.2f} "
                f"| {r.recall_within:.2f} | {_time(r.seconds)} |"
            )
        parts.append("")
    return "\n".join(parts)


def _time(seconds: float) -> str:
    """Two digits: ``8.2 ms``, ``120 ms``, ``3.4 s``."""
    value, unit = (seconds, "s") if seconds >= 0.995 else (1e3 * seconds, "ms")
    return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.2g} {unit}"
