"""Colours: distinct to all eyes, readable, the same in each figure."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from fimo_fast.report import style
from fimo_fast.report.style import KNOWN

# Machado, Oliveira, Fernandes 2009, full severity, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_LMS = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
TO_LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def linear(colour: str) -> NDArray[np.float64]:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def oklab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array(TO_LAB) @ np.cbrt(np.maximum(0, np.array(TO_LMS) @ rgb))


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (a, b))
    return high / low


@pytest.mark.parametrize("vision", VISION)
def test_known_colours_are_distinct(vision: str) -> None:
    dark = style.dark_theme(())
    for theme in (
        [*(s.line for s in KNOWN.values()), style.CEILING],
        [*(s.dark for s in KNOWN.values()), dark[style.CEILING]],
    ):
        seen = [oklab(np.array(VISION[vision]) @ linear(c)) for c in theme]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 0.11


def test_contrast() -> None:
    everything = style.styles([*KNOWN, *(f"m{i}" for i in range(8))]).values()
    dark = style.dark_theme(everything)
    for s in everything:
        assert contrast(s.line, style.PAPER) >= 3.0
        assert contrast(s.text, style.PAPER) >= 4.5
        assert contrast(s.dark, dark[style.PAPER]) >= 4.4
    for grey in (style.INK, style.MUTED, style.CEILING):
        assert contrast(grey, style.PAPER) >= 4.5
        assert contrast(dark[grey], dark[style.PAPER]) >= 4.5


def test_unknown_methods_are_stable_and_distinct() -> None:
    names = [f"method {i}" for i in range(24)]
    chosen = style.styles(names)
    assert chosen == style.styles(reversed([*names, *names]))
    assert len({(s.line, s.dashes) for s in chosen.values()}) == len(names)
    assert style.styles(["EKFAC"])["EKFAC"] == style.styles(["EKFAC", *KNOWN])["EKFAC"]
    assert len(style.styles([f"method {i}" for i in range(100)])) == 100


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LayerInfluence", "Layer influence"),
        ("LastLayerInfluence", "Last layer influence"),
        ("TRAKEnsemble", "TRAK ensemble"),
        ("DampedEKFAC", "Damped EKFAC"),
        ("Top10Mean", "Top10 mean"),
        ("EKFAC", "EKFAC"),
        ("TracIn", "TracIn"),
        ("a method, in words", "a method, in words"),
        ("snake_case", "snake_case"),
        ("", ""),
    ],
)
def test_a_method_without_an_entry_is_written_in_words(name: str, text: str) -> None:
    assert (style.styles([name])[name].name, style.styles([name])[name].short) == (text, text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.954, ".95"), (0.999, "1.00"), (-0.07, "−.07"), (-0.001, ".00"), (np.nan, "–"), (0, ".00")],
)
def test_number(value: float, text: str) -> None:
    assert style.number(value) == text
