"""The most helpful and most harmful training images beside the query images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from .canvas import bare_axes, fit, new_figure, write
from .style import HARMFUL, HELPFUL, INK, MUTED, PAPER

LARGEST = 160  # px; larger images are scaled down in the HTML
CELL = 74.0  # px, picture and gap
PICTURE = 64.0
TEXT = 34.0  # two lines below each picture
GROUP = 22.0  # between query, helpful and harmful


@dataclass(frozen=True, eq=False)
class GalleryImage:
    """A training image and its score for the query of its row.

    Attributes:
        image: [H, W] or [H, W, 3], any float scale.
        label: its label in the training data.
        score: change of the query's loss when this image is removed, in units of the loss.
        index: row in the training data.

    Raises:
        ValueError: the image has another shape.
    """

    image: NDArray[np.floating]
    label: str
    score: float
    index: int

    def __post_init__(self) -> None:
        _check(self.image, "image")


@dataclass(frozen=True, eq=False)
class GalleryRow:
    """A query image with its most helpful and most harmful training images.

    Attributes:
        query_image: [H, W] or [H, W, 3], any float scale.
        query_label: its true label.
        predicted: what the final model says.
        helpful: highest scores, highest first.
        harmful: lowest scores, lowest first.

    Raises:
        ValueError: the image has another shape.
    """

    query_image: NDArray[np.floating]
    query_label: str
    predicted: str
    helpful: Sequence[GalleryImage]
    harmful: Sequence[GalleryImage]

    def __post_init__(self) -> None:
        _check(self.query_image, "query_image")


@dataclass(frozen=True, eq=False)
class Gallery:
    """All rows, and a caption.

    Raises:
        ValueError: there is no row.
    """

    rows: Sequence[GalleryRow]
    caption: str

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("Gallery.rows: expected at least one row, got none")


def value_range(gallery: Gallery) -> tuple[float, float]:
    """The values of black and white: [0, 1] if all images lie within, else their common range.

    One range for the whole gallery, so that a dark image stays darker than a bright one.
    """
    images = [r.query_image for r in gallery.rows]
    images += [x.image for r in gallery.rows for x in (*r.helpful, *r.harmful)]
    finite = [i[np.isfinite(i)] for i in images]
    low = min((float(f.min()) for f in finite if f.size), default=0.0)
    high = max((float(f.max()) for f in finite if f.size), default=1.0)
    if low >= 0.0 and high <= 1.0:
        return 0.0, 1.0
    return (low, high) if high > low else (low, low + 1.0)


def to_bytes(image: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """[H, W] or [H, W, 3] as uint8; not-a-number is black."""
    scaled = np.nan_to_num((np.asarray(image, dtype=np.float64) - low) / (high - low))
    return np.rint(255 * np.clip(scaled, 0.0, 1.0)).astype(np.uint8)


def data_uri(image: NDArray[np.floating], low: float, high: float) -> str:
    """A PNG as a ``data:`` address, at most 160 px on a side."""
    picture = Image.fromarray(to_bytes(image, low, high))
    picture.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def score_text(score: float) -> str:
    """With its sign and two significant digits: ``+0.012``, ``−1.4e−05``."""
    return "–" if np.isnan(score) else f"{score:+#.2g}".rstrip(".").replace("-", "−")


def gallery_figure(gallery: Gallery) -> Figure:
    """One row a query: the query image, its most helpful, its most harmful training images."""
    n_helpful = max(len(r.helpful) for r in gallery.rows)
    n_harmful = max(len(r.harmful) for r in gallery.rows)
    at_helpful = CELL + GROUP
    at_harmful = at_helpful + n_helpful * CELL + (GROUP if n_helpful else 0.0)
    # Never narrower than the two headings need.
    width = 20.0 + max(at_harmful + n_harmful * CELL, at_helpful + 2 * 190.0)
    row = PICTURE + TEXT + 10.0
    top = 46.0
    height = top + row * len(gallery.rows) + 4.0
    figure = new_figure(width, height)
    # One axes in pixels for all pictures: an axes each takes seconds.
    axes = bare_axes(figure, (0.0, 0.0, width, height))
    axes.set_axis_off()
    low, high = value_range(gallery)
    x0 = 10.0
    write(figure, x0, height - 20.0, "Query", 9.0, INK, "bold")
    for at, count, title, below, colour in (
        (at_helpful, n_helpful, "Most helpful", "removing them raises the loss", HELPFUL),
        (at_harmful, n_harmful, "Most harmful", "removing them lowers the loss", HARMFUL),
    ):
        if count:
            write(figure, x0 + at, height - 20.0, title, 9.0, colour, "bold")
            write(figure, x0 + at, height - 35.0, below, 7.6, MUTED)
    for i, r in enumerate(gallery.rows):
        bottom = height - top - (i + 1) * row + TEXT + 10.0
        wrong = r.predicted != r.query_label
        _picture(axes, to_bytes(r.query_image, low, high), x0, bottom, INK)
        below_query = (f"is {r.query_label}", f"seen as {r.predicted}")
        _below(figure, x0, bottom, below_query, (INK, HARMFUL if wrong else MUTED))
        for at, images, colour in (
            (at_helpful, r.helpful, HELPFUL),
            (at_harmful, r.harmful, HARMFUL),
        ):
            for j, item in enumerate(images):
                x = x0 + at + j * CELL
                _picture(axes, to_bytes(item.image, low, high), x, bottom, colour)
                # A label other than the query's is what one looks for: mislabelled examples.
                other = item.label != r.query_label
                lines = (item.label, score_text(item.score))
                _below(figure, x, bottom, lines, (INK, MUTED), "bold" if other else "normal")
    axes.set_xlim(0.0, width)
    axes.set_ylim(0.0, height)
    return figure


def _picture(axes: Axes, pixels: NDArray[np.uint8], x: float, bottom: float, colour: str) -> None:
    # Pictures that are not square keep their shape within the square.
    h, w = pixels.shape[:2]
    side = PICTURE / max(h, w)
    left, low = x + (PICTURE - w * side) / 2, bottom + (PICTURE - h * side) / 2
    axes.imshow(
        pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2),
        extent=(left, left + w * side, low, low + h * side),
        interpolation="nearest" if max(h, w) <= 64 else "antialiased",
        aspect="auto",
    )
    axes.add_patch(Rectangle((x, bottom), PICTURE, PICTURE, fill=False, edgecolor=PAPER, linewidth=3.0))
    axes.add_patch(Rectangle((x, bottom), PICTURE, PICTURE, fill=False, edgecolor=colour, linewidth=1.2))


def _below(
    figure: Figure,
    x: float,
    bottom: float,
    lines: tuple[str, str],
    colours: tuple[str, str],
    weight: str = "normal",
) -> None:
    for i, (text, colour) in enumerate(zip(lines, colours, strict=True)):
        shown = weight if i == 0 else "normal"
        fitted = fit(figure, text, CELL - 4.0, 7.8, shown)
        write(figure, x, bottom - 14.0 - 13.0 * i, fitted, 7.8, colour, shown)


def _check(image: NDArray[np.floating], name: str) -> None:
    shape = np.shape(image)
    if 0 in shape or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
        raise ValueError(f"{name}: expected shape [H, W] or [H, W, 3], got {list(shape)}")
