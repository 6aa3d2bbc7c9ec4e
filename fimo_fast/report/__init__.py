"""Figures, tables and the HTML report of "how well does each method predict further training?".

    results ──> write(results, out) ──> report.html, agreement*.png, gallery_*.png
            └─> summary_table(results) ──> terminal

Modules, each importing only those before it: ``results`` (the checked input), ``style`` (names,
colours, numbers), ``labels`` (labels that do not overlap), ``tables`` and ``words`` (what the
numbers say), ``agreement`` and ``gallery`` (figures), ``svg`` and ``page`` (output),
``terminal``.

May import: utils.
"""

from .gallery import Gallery, GalleryImage, GalleryRow
from .page import write
from .terminal import summary_table

__all__ = ["Gallery", "GalleryImage", "GalleryRow", "summary_table", "write"]
