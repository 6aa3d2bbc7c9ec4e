"""Write the report: one HTML file that needs no network, and the figures as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ..utils.files import atomic_write
from . import style, words
from .agreement import Layout, agreement_figure
from .canvas import to_png
from .gallery import Gallery, data_uri, gallery_figure, score_text, value_range
from .results import Experiment, Results, parse
from .style import Style
from .svg import css_variables, inline_svg
from .tables import chosen_epochs, rows

WIDE = Layout(width=860, titles=False, height=330, points=9.0)
NARROW = Layout(width=370, titles=False, short=True, height=290, points=9.4)
SINGLE = Layout(width=860, points=9.0, height=330)
PAIR = Layout(width=900, columns=2, points=8.6, distance=False, height=280)
TRIPLE = Layout(width=900, columns=3, points=8.0, distance=False, height=260, short=True)


def write(results: Mapping[str, Any], out: Path, galleries: Mapping[str, Gallery] | None = None) -> list[Path]:
    """Write ``report.html``, ``agreement.png``, and a PNG for each experiment and gallery.

    Everything is drawn before anything is written, and each file is renamed into place, so an error
    leaves an earlier report as it was.

    Args:
        results: what ``results.json`` holds.
        out: folder, made where it is missing.
        galleries: experiment name → gallery.

    Returns:
        The files, ``report.html`` first.

    Raises:
        ValueError: a key is missing from the results (the message names it), or a gallery belongs
            to no experiment.
    """
    parsed = parse(results)
    shown = dict(galleries or {})
    names = [e.name for e in parsed.experiments]
    for name in shown:
        if name not in names:
            raise ValueError(f"galleries: no experiment is named {name!r}; there are {names}")
    chosen = style.styles(m.name for e in parsed.experiments for m in e.methods)
    files = {"report.html": _html(parsed, chosen, shown).encode()}
    hero = _hero(len(parsed.experiments))
    files["agreement.png"] = to_png(agreement_figure(parsed.experiments, chosen, hero))
    for e in parsed.experiments:
        files[f"agreement_{e.slug}.png"] = to_png(agreement_figure([e], chosen, SINGLE))
        if e.name in shown:
            files[f"gallery_{e.slug}.png"] = to_png(gallery_figure(shown[e.name]))
    for name, data in files.items():
        with atomic_write(out / name) as temporary:
            temporary.write_bytes(data)
    return [out / name for name in files]


def _hero(n: int) -> Layout:
    """Side by side: two panels have room for full names, three for short ones."""
    if n == 1:
        return Layout(width=900, points=9.0, height=330, distance=False)
    return PAIR if n in (2, 4) else TRIPLE


def _html(parsed: Results, chosen: dict[str, Style], galleries: dict[str, Gallery]) -> str:
    theme = style.dark_theme(chosen.values())
    light, dark = css_variables(theme)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        number=style.number,
        interval=style.interval,
        percent=style.percent,
        seconds=style.seconds,
        epoch=style.epoch,
        score_text=score_text,
    )
    return environment.get_template("report.html.j2").render(
        light=Markup(light),  # our own palette
        dark=Markup(dark),
        lead=words.lead(parsed.experiments, chosen),
        experiments=[_section(i, e, chosen, theme, galleries.get(e.name)) for i, e in enumerate(parsed.experiments)],
        environment=parsed.environment,
        own_seeds=any(m.own_cosine is not None for e in parsed.experiments for m in e.methods),
    )


def _section(
    i: int,
    e: Experiment,
    chosen: dict[str, Style],
    theme: dict[str, str],
    gallery: Gallery | None,
) -> dict[str, Any]:
    described = words.figure_description(e, chosen)
    figures = {
        kind: Markup(  # serialised by ElementTree, which escapes
            inline_svg(agreement_figure([e], chosen, layout), f"f{i}{kind[0]}", described, theme)
        )
        for kind, layout in (("wide", WIDE), ("narrow", NARROW))
    }
    section: dict[str, Any] = {
        "e": e,
        "answer": words.answer(e, chosen),
        "figures": figures,
        "at": chosen_epochs(e),
        "rows": rows(e, chosen),
        "styles": chosen,
        "gallery": gallery,
    }
    if gallery is not None:
        low, high = value_range(gallery)
        section["picture"] = lambda image: data_uri(image, low, high)
    return section
