"""The style of all figures and tables: method names, colours in light and dark, numbers.

The colours of the methods in ``KNOWN``, and the grey of the ceiling, can be told apart with protanopia, deuteranopia
and tritanopia (OKLab distance at least .11 after Machado et al. 2009, in both themes;
``tests/report/test_report_style.py``). Labels of pale lines have a darker tone, so that text has a contrast of 4.5 on
white.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

INK = "#1f2430"
MUTED = "#5b6472"
GRID = "#e4e7eb"
CEILING = "#4b5563"
PAPER = "#ffffff"
HELPFUL = "#2b4fe0"
HARMFUL = "#b3260a"

FONT = "DejaVu Sans"  # ships with matplotlib: the same picture on every machine

Dashes = tuple[float, ...]


@dataclass(frozen=True)
class Style:
    """How one method is written and drawn.

    Attributes:
        name: the name in full.
        short: the name where space is scarce.
        line, text: colours on white, ``#rrggbb``.
        dark: colour of line and text on the dark background.
        dashes: on/off lengths in line widths; empty for a solid line.
    """

    name: str
    short: str
    line: str
    text: str
    dark: str
    dashes: Dashes = ()


KNOWN = {
    "UnrolledDerivative": Style("Unrolled derivative", "Unrolled", "#b3260a", "#b3260a", "#e8672a"),
    "UnrolledResponse": Style("Unrolled response", "Response", "#2a0d05", "#2a0d05", "#ffffff"),
    "FiniteHorizon": Style("Finite horizon", "Horizon", "#2b4fe0", "#2b4fe0", "#4f78ff"),
    "InfluenceFunction": Style("Influence function", "Influence", "#0c96ea", "#0a72b4", "#35b4ff"),
    "GradDot": Style("Grad-Dot", "Grad-Dot", "#5d9484", "#417263", "#86b09a"),
    "GradCos": Style("Grad-Cos", "Grad-Cos", "#8510a8", "#8510a8", "#9a6cb0"),
    "TRAK": Style("TRAK", "TRAK", "#ad7d08", "#8a6205", "#f7bd45"),
}

# Methods without an entry in KNOWN: (on white, on dark). Dashes tell them apart from the known ones, and from each
# other once the colours repeat.
_FALLBACK = (
    ("#2f6b2f", "#6fbf6f"),
    ("#c2377f", "#ee82b4"),
    ("#6b4a2b", "#c39a72"),
    ("#00747f", "#3fc4cf"),
    ("#b35c00", "#ff9f45"),
    ("#5056a0", "#a3a8ee"),
    ("#8a1f4b", "#dc6f9b"),
    ("#567300", "#a9c94a"),
)
_DASHES: tuple[Dashes, ...] = ((5, 1.4), (1.6, 1.2), (6, 1.4, 1.4, 1.4), (3, 1.4))

_GREYS_DARK = {
    INK: "#e8ebf0",
    MUTED: "#a3acba",
    GRID: "#2d333d",
    CEILING: "#d0d5dc",
    PAPER: "#14171c",
}


def styles(names: Iterable[str]) -> dict[str, Style]:
    """A style for each method name, the same in every figure of a report.

    A method needs no entry in ``KNOWN``: others are written as the words of their name, with a colour chosen by its
    checksum. They keep the colour from one report to the next, unless two of them claim the same one.

    Args:
        names: all methods of all experiments, in any order, with repetitions.
    """
    wanted = set(names)
    chosen = {name: KNOWN[name] for name in wanted & KNOWN.keys()}
    slots = len(_FALLBACK) * len(_DASHES)
    taken: set[int] = set()
    for name in sorted(wanted - KNOWN.keys()):
        start = zlib.crc32(name.encode()) % len(_FALLBACK)
        probes = ((start + i) % len(_FALLBACK) + len(_FALLBACK) * (i // len(_FALLBACK)) for i in range(slots))
        slot = next((p for p in probes if p not in taken), start)
        taken.add(slot)
        line, dark = _FALLBACK[slot % len(_FALLBACK)]
        # Neighbouring colours get other dashes, too.
        dashes = _DASHES[(slot + slot // len(_FALLBACK)) % len(_DASHES)]
        chosen[name] = Style(readable(name), readable(name), line, line, dark, dashes)
    return chosen


def readable(name: str) -> str:
    """The words of a class name: ``LayerInfluence`` → ``Layer influence``, ``TRAKEnsemble`` → ``TRAK ensemble``.

    Names that are no CamelCase, or have a part of one or two letters (``TracIn``), stay as they are.
    """
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+[0-9]*", name)
    if "".join(words) != name or min(map(len, words), default=0) < 3:
        return name
    return " ".join([words[0], *(word if word.isupper() else word.lower() for word in words[1:])])


def dark_theme(chosen: Iterable[Style]) -> dict[str, str]:
    """Each colour used on white, mapped to its colour on the dark background."""
    theme = dict(_GREYS_DARK)
    for style in (*KNOWN.values(), *chosen):
        theme[style.line] = theme[style.text] = style.dark
    return theme


def number(value: float, digits: int = 2) -> str:
    """An agreement: ``.95``, ``1.00``, ``−.07``; ``–`` for NaN."""
    if math.isnan(value):
        return "–"
    text = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0.") else text)


def interval(low: float, high: float) -> str:
    """``.93 to .97``; empty for NaN."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{number(low)} to {number(high)}"


def percent(fraction: float) -> str:
    """``99 %``, with a narrow no-break space; ``–`` for NaN."""
    if math.isnan(fraction):
        return "–"
    value = 100 * fraction
    digits = 1 if 0 < abs(value) < 9.95 else 0
    return f"{value:.{digits}f}\u202f%".replace("-", "−")


def seconds(value: float) -> str:
    """Two significant digits below 100 s, whole seconds above; ``–`` for NaN."""
    if math.isnan(value):
        return "–"
    if value >= 9.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.095 else f"{value:.2g}"


def epoch(value: float) -> str:
    """``20``, or ``0.5`` for fractions of an epoch."""
    return f"{value:g}"
