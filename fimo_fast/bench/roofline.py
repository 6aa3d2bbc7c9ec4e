"""The roofline figure: operations a second of each case against its operations a byte."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..report.canvas import PX, bare_axes, fit, new_figure, quiet_ticks, to_png, write
from ..report.style import CEILING, FONT, GRID, INK, MUTED, PAPER
from .table import floor_name, flops, machine_line

COLOURS = {
    "project": "#2b4fe0",
    "outer_dot": "#b3260a",
    "outer_norm2": "#ad7d08",
    "outer_project": "#8510a8",
    "rows_project": "#c2417c",
    "topk": "#417263",
    "scores": "#0c96ea",
}

_WIDTH = 1180.0
_LINE = 19.0  # of the list, px
_HEAD, _FOOT = 64.0, 72.0
_LEFT, _PLOT = 74.0, 600.0
_MARK = 9.0  # radius of a numbered mark, px

Point = tuple[float, float]


def draw(results: Mapping[str, Any]) -> bytes:
    """A PNG: the peak rates as a roofline, a numbered mark for each case that has a floor, and the list of them.

    Raises:
        ValueError: no case has a floor.
    """
    cases = [case for case in results["cases"] if case["bound"] != "call"]
    if not cases:
        raise ValueError("expected at least one case with a floor; the cost of a call has no place in a roofline")
    groups = list(dict.fromkeys(case["operation"] for case in cases))
    height = max(520.0, _HEAD + _FOOT + _LINE * (len(cases) + 2 * len(groups)))
    figure = new_figure(_WIDTH, height)
    axes = bare_axes(figure, (_LEFT, _FOOT, _PLOT, height - _HEAD - _FOOT))
    points = [(case["operations"] / case["moved_bytes"], case["operations"] / case["seconds"] / 1e9) for case in cases]
    _peaks(axes, results, points)
    _marks(figure, axes, cases, points)
    _list(figure, cases, height)
    machine = results["machine"]
    write(
        figure, _LEFT, height - 30, fit(figure, machine_line(results), _WIDTH - 2 * _LEFT, 13, "bold"), 13, INK, "bold"
    )
    under = f"torch {machine['torch']}, fimo_fast {machine['fimo_fast']}, {machine['date']}"
    write(figure, _LEFT, height - 48, under, 9, MUTED)
    return to_png(figure)


def _peaks(axes: Axes, results: Mapping[str, Any], points: Sequence[Point]) -> None:
    read, sgemm = results["peaks"]["read"] / 1e9, results["peaks"]["SGEMM"] / 1e9
    # Beside SGEMM those products that some case is held against.
    held = {case["product"] for case in results["cases"] if case["bound"] == "sgemm"} | {"SGEMM"}
    products = {name: rate / 1e9 for name, rate in results["peaks"].items() if name in held}
    highest = max(products.values())
    ridge = sgemm / read
    low = min(0.5 * min(x for x, _ in points), 0.25 * ridge)
    high = max(3.0 * max(x for x, _ in points), 16 * highest / read)
    bottom = min(0.4 * min(y for _, y in points), 0.5 * low * read)
    top = 2.5 * max(highest, *(y for _, y in points))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(bottom, top)
    axes.grid(True, which="major", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.plot([low, highest / read], [low * read, highest], color=CEILING, linewidth=2.0, zorder=2)
    for rate in products.values():
        axes.plot([rate / read, high], [rate, rate], color=CEILING, linewidth=2.0, zorder=2)
    quiet_ticks(axes, 9, MUTED)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    words: dict[str, Any] = {"fontsize": 9.5, "color": MUTED, "fontfamily": FONT}
    axes.set_xlabel("operations for each byte that must be moved", **words)
    axes.set_ylabel("Gop/s (a multiply-add is two)", **words)
    # Along the slope, as it is drawn.
    box = axes.get_window_extent()
    rise = box.height / math.log(top / bottom)
    run = box.width / math.log(high / low)
    at = math.sqrt(low * ridge)
    bold: dict[str, Any] = {"fontsize": 9.5, "color": CEILING, "fontfamily": FONT, "fontweight": "bold"}
    axes.annotate(
        f"reading {read:.3g} GB/s", (at, at * read), xytext=(-6, 6), textcoords="offset points", ha="center",
        va="bottom", rotation=math.degrees(math.atan2(rise, run)), rotation_mode="anchor", **bold,
    )  # fmt: skip
    for name, rate in products.items():
        axes.annotate(
            f"{name} {flops(rate * 1e9)}", (rate / read, rate), xytext=(4, 6), textcoords="offset points", ha="left",
            **bold,
        )  # fmt: skip


def _marks(figure: Figure, axes: Axes, cases: Sequence[Mapping[str, Any]], points: Sequence[Point]) -> None:
    """A dot where the case is and its number in a disc beside it, where there is room."""
    dots = [tuple(axes.transData.transform(point) * PX / figure.dpi) for point in points]
    discs: list[Point] = []
    for x, y in dots:
        discs.append(min(_places(x, y), key=lambda place: _crowding(place, (x, y), dots, discs)))
    width, height = figure.get_size_inches() * PX
    for number, (case, dot, disc) in enumerate(zip(cases, dots, discs, strict=True), 1):
        colour = COLOURS.get(case["operation"], INK)
        paper = axes.transData.inverted()
        (x0, y0), (x1, y1) = (paper.transform((x * figure.dpi / PX, y * figure.dpi / PX)) for x, y in (dot, disc))
        axes.plot([x0, x1], [y0, y1], color=colour, linewidth=0.9, zorder=3)
        axes.plot([x0], [y0], "o", color=colour, markersize=4.5, markeredgecolor=PAPER, markeredgewidth=0.6, zorder=4)
        axes.plot([x1], [y1], "o", color=colour, markersize=2 * _MARK * 72 / PX, zorder=5, clip_on=False)
        figure.text(
            disc[0] / width, disc[1] / height, str(number), fontsize=8, color=PAPER, fontfamily=FONT, fontweight="bold",
            ha="center", va="center_baseline",
        )  # fmt: skip


def _places(x: float, y: float) -> list[Point]:
    """Where a disc may go: around its dot, below the roofline first."""
    angles = (-0.5, -0.25, -0.75, 0.0, -1.0, 0.25, 0.75, 0.5, -0.375, -0.625, -0.125, -0.875)
    radii = (1.9, 2.9, 4.1, 5.5, 7.1)
    return [
        (x + r * _MARK * math.cos(math.pi * a), y + r * _MARK * math.sin(math.pi * a)) for r in radii for a in angles
    ]


def _crowding(place: Point, dot: Point, dots: Sequence[Point], discs: Sequence[Point]) -> float:
    """How much a disc at ``place`` covers others; the distance to its own dot breaks ties."""
    overlap = sum(max(0.0, 2 * _MARK + 2 - math.dist(place, other)) for other in discs)
    overlap += sum(max(0.0, _MARK + 4 - math.dist(place, other)) for other in dots)
    return overlap + 0.01 * math.dist(place, dot)


def _list(figure: Figure, cases: Sequence[Mapping[str, Any]], height: float) -> None:
    left, right = _LEFT + _PLOT + 40, _WIDTH - 24
    y = height - _HEAD - 4
    write(figure, right, y, "of floor", 9, MUTED, ha="right")
    operation = ""
    for number, case in enumerate(cases, 1):
        colour = COLOURS.get(case["operation"], INK)
        if case["operation"] != operation:
            operation = case["operation"]
            y -= _LINE if number > 1 else 0
            write(figure, left, y, operation, 10, colour, "bold")
            y -= _LINE
        write(figure, left + 16, y, str(number), 9, colour, "bold", ha="right")
        write(figure, left + 26, y, fit(figure, f"{case['name']}, {case['dtype']}", right - left - 120, 9), 9, INK)
        write(figure, right, y, f"{case['of_floor']:.2f} {floor_name(case)}", 9, INK, ha="right")
        y -= _LINE
