"""The tables of the report for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from .results import Experiment, parse
from .style import Style, epoch, number, percent, seconds, styles
from .tables import Row, chosen_epochs, rows


def summary_table(results: Mapping[str, Any]) -> Group:
    """The agreement of each method with the gold standard, one table an experiment.

    Args:
        results: what ``results.json`` holds.

    Returns:
        Something that ``rich.print`` shows; it fits 80 columns with the usual method names.

    Raises:
        ValueError: a key is missing; the message names it.
    """
    parsed = parse(results)
    chosen = styles(m.name for e in parsed.experiments for m in e.methods)
    return Group(*(_table(e, chosen) for e in parsed.experiments))


def _table(experiment: Experiment, chosen: dict[str, Style]) -> Table:
    # Text objects throughout: in plain strings rich would read "[...]" as markup.
    last = epoch(experiment.epochs[-1])
    table = Table(
        title=Text(experiment.title, style="bold"),
        caption=Text(
            f"Cosine with the gold standard. Spearman and % of ceiling at epoch {last}."
            " Held: epochs at ≥ 90 % of the ceiling."
        ),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("Method", min_width=19, max_width=24)
    for i in chosen_epochs(experiment):
        table.add_column(f"epoch\n{epoch(experiment.epochs[i])}", justify="right")
    for heading in ("Spear-\nman", "% of\nceiling", "held", "sec."):
        table.add_column(heading, justify="right")
    for row in rows(experiment, chosen):
        if row.kind == "ceiling":
            table.add_section()
        table.add_row(*_cells(row, chosen))
    return table


def _cells(row: Row, chosen: dict[str, Style]) -> list[Text]:
    quiet = row.kind != "method"
    marks = ["bold" if best else "" for best in row.best]
    name = Text(f"  {row.label}" if row.kind == "own" else row.label, style="dim" * quiet)
    if row.kind == "method":
        name.stylize(chosen[row.method].dark)
    values = [*map(float, row.cosine), row.spearman]
    return [
        name,
        *(Text(number(v), style=mark) for v, mark in zip(values, marks, strict=True)),
        Text(percent(row.of_ceiling)),
        Text(row.held),
        Text(seconds(row.seconds)),
    ]
