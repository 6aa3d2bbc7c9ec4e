"""Figures as SVG inside an HTML page.

matplotlib's SVG is made for separate files: its ids are random and repeat between figures, and its colours are fixed.
Here ids are numbered with a prefix. So the same results give the same bytes, and figures do not use each other's
glyphs. Colours become CSS variables, so that the page can change them on a dark background.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree as ET

from matplotlib.figure import Figure

from .canvas import whole

_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline_svg(figure: Figure, prefix: str, description: str, colours: Iterable[str]) -> str:
    """An ``<svg>`` element without prolog, metadata or style sheet.

    Args:
        figure: drawn at any size; the element scales with its width.
        prefix: of all ids, distinct for each figure of a page.
        description: the picture in words, for those who cannot see it.
        colours: ``#rrggbb`` colours to become ``var(--c-rrggbb)``.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, bbox_inches=whole(figure))
    root = ET.fromstring(buffer.getvalue())
    replaced = set(colours)
    ids = {old: f"{prefix}-{i}" for i, old in enumerate(_referenced(root))}
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {_local(key): value for key, value in element.attrib.items()}
        element.attrib.clear()
        for key, value in attributes.items():
            if key == "id":
                if value in ids:
                    element.set("id", ids[value])
            elif key == "href":
                element.set("href", "#" + ids[value.removeprefix("#")])
            else:
                renamed = _REFERENCE.sub(lambda m: f"url(#{ids[m[1]]})", value)
                element.set(key, _variables(renamed, replaced) if key == "style" else renamed)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", description)
    return ET.tostring(root, encoding="unicode")


def css_variables(theme: Mapping[str, str]) -> tuple[str, str]:
    """Declarations of the variables, for the light and for the dark background.

    Args:
        theme: colour on white → colour on the dark background, both ``#rrggbb``.
    """
    light = " ".join(f"--c-{colour[1:]}: {colour};" for colour in sorted(theme))
    dark = " ".join(f"--c-{colour[1:]}: {theme[colour]};" for colour in sorted(theme))
    return light, dark


def _variables(style: str, replaced: set[str]) -> str:
    return _COLOUR.sub(lambda m: f"var(--c-{m[0][1:]})" if m[0] in replaced else m[0], style)


def _referenced(root: ET.Element) -> list[str]:
    """Ids that something refers to, in the order of first use."""
    found: dict[str, None] = {}
    for element in root.iter():
        for key, value in element.attrib.items():
            if _local(key) == "href" and value.startswith("#"):
                found[value[1:]] = None
            for match in _REFERENCE.finditer(value):
                found[match[1]] = None
    return list(found)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
