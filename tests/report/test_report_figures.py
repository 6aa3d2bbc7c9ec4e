"""Figures and galleries: labels that do not overlap, pictures that are what was given."""

import base64
import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fimo_fast.report import Gallery, GalleryImage, GalleryRow
from fimo_fast.report.agreement import agreement_figure, epoch_ticks
from fimo_fast.report.canvas import fit, measure, new_figure, to_png
from fimo_fast.report.gallery import data_uri, gallery_figure, score_text, to_bytes, value_range
from fimo_fast.report.page import NARROW, PAIR, SINGLE, TRIPLE, WIDE
from fimo_fast.report.results import parse
from fimo_fast.report.style import styles

Make = Callable[..., dict[str, Any]]


def extents(figure: Figure) -> list[tuple[str, Any]]:
    return [(t.get_text(), t.get_window_extent()) for t in figure.texts]


@pytest.mark.parametrize("layout", [WIDE, NARROW, SINGLE, PAIR, TRIPLE])
@pytest.mark.parametrize("close", [0.9, -0.3])
def test_texts_do_not_overlap_and_stay_inside(results: Make, experiment: Make, layout: Any, close: float) -> None:
    """All labels of twelve methods wanted at the same place."""
    many = {f"method {i}": (0.1, close) for i in range(12)} | {"UnrolledDerivative": (0.1, close)}
    raw = [experiment(str(i), title="A long title " * 9, methods=many) for i in range(2)]
    parsed = parse(results(*raw)).experiments
    chosen = styles(m.name for e in parsed for m in e.methods)
    figure = agreement_figure(parsed, chosen, layout)
    width, height = figure.get_size_inches() * figure.dpi
    found = extents(figure)
    assert len(found) > 2 * 2 * 14
    for text, box in found:
        assert box.x0 >= 0, text
        assert box.x1 <= width, text
        assert box.y0 >= -1, text
        assert box.y1 <= height, text
    for (a, box_a), (b, box_b) in itertools.combinations(found, 2):
        # Extents include the space for letters that reach below the line.
        apart_x = box_a.x1 <= box_b.x0 + 0.5 or box_b.x1 <= box_a.x0 + 0.5
        apart_y = box_a.y1 <= box_b.y0 + 2 or box_b.y1 <= box_a.y0 + 2
        assert apart_x or apart_y, (a, b)


def test_values_stand_at_line_ends(results: Make) -> None:
    parsed = parse(results()).experiments
    figure = agreement_figure(parsed, styles(m.name for m in parsed[0].methods), SINGLE)
    texts = [t.get_text() for t in figure.texts]
    for value, name in ((".42", "Grad-Dot"), (".83", "ceiling"), (".93", "own seeds")):
        assert texts[texts.index(name) - 1] == value


@pytest.mark.parametrize(
    ("epochs", "width", "ticks"),
    [
        (range(1, 21), 500, [1, 5, 10, 15, 20]),
        (range(1, 9), 500, list(range(1, 9))),
        (range(1, 501), 500, [1, 100, 200, 300, 400, 500]),
        ([1, 2, 5, 10, 20, 50, 100, 200, 500], 600, [1, 2, 5, 10, 20, 50, 100, 200, 500]),
        ([3], 500, [3]),
    ],
)
def test_epoch_ticks(epochs: Any, width: float, ticks: list[float]) -> None:
    assert epoch_ticks(np.array(list(epochs), dtype=float), width) == ticks


def test_fit_cuts_with_an_ellipsis() -> None:
    figure = new_figure(300, 100)
    cut = fit(figure, "wide words " * 30, 200.0, 9.0)
    assert cut.endswith("…")
    assert 150 < measure(figure, cut, 9.0) <= 201
    assert fit(figure, "short", 200.0, 9.0) == "short"


def test_png_has_two_dots_a_pixel() -> None:
    assert Image.open(io.BytesIO(to_png(new_figure(321, 123)))).size == (642, 246)


def item(image: Any, score: float = 0.1) -> GalleryImage:
    return GalleryImage(np.asarray(image, dtype=float), "3", score, 7)


def test_one_brightness_for_the_whole_gallery() -> None:
    dark, bright = np.full((2, 2), 2.0), np.full((2, 2), 16.0)
    gallery = Gallery([GalleryRow(np.zeros((2, 2)), "1", "1", [item(dark)], [item(bright)])], "")
    low, high = value_range(gallery)
    assert (low, high) == (0.0, 16.0)
    assert to_bytes(dark, low, high).tolist() == [[32, 32], [32, 32]]
    unit = Gallery([GalleryRow(np.full((2, 2), 0.5), "1", "1", [], [])], "")
    assert value_range(unit) == (0.0, 1.0)
    flat = Gallery([GalleryRow(np.full((2, 2), np.nan), "1", "1", [], [])], "")
    assert to_bytes(np.full((2, 2), np.nan), *value_range(flat)).max() == 0


def test_data_uri_holds_the_picture() -> None:
    image = np.random.default_rng(0).random((8, 6, 3))
    uri = data_uri(image, 0.0, 1.0)
    decoded = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert (np.asarray(decoded) == to_bytes(image, 0.0, 1.0)).all()
    large = data_uri(np.zeros((500, 300)), 0.0, 1.0)
    assert Image.open(io.BytesIO(base64.b64decode(large.partition(",")[2]))).size == (96, 160)


def test_gallery_figure_shows_labels_and_scores() -> None:
    row = GalleryRow(np.ones((8, 8)), "3", "8", [item(np.ones((4, 9)), 0.04)], [])
    texts = [t.get_text() for t in gallery_figure(Gallery([row], "")).texts]
    assert {"is 3", "seen as 8", "+0.040", "Most helpful"} <= set(texts)
    assert "Most harmful" not in texts


@pytest.mark.parametrize("shape", [(8,), (8, 8, 4), (0, 8), (1, 8, 8, 3)])
def test_wrong_shapes_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"image: expected shape \[H, W\]"):
        GalleryImage(np.zeros(shape), "", 0.0, 0)
    with pytest.raises(ValueError, match="query_image: expected shape"):
        GalleryRow(np.zeros(shape), "", "", [], [])
    with pytest.raises(ValueError, match="at least one row"):
        Gallery([], "")


def test_score_text() -> None:
    assert score_text(-0.000014) == "−1.4e−05"
    assert score_text(12.3) == "+12"
    assert score_text(np.nan) == "–"
