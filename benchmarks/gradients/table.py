"""The results of gradients.py as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HEADINGS = ["", "examples/s", "median", "of forward + backward", "parameters", "numbers an example"]


def markdown(results: Mapping[str, Any]) -> str:
    """A section for each model, then Grad-Dot, then what was measured on."""
    sections = [_model(each) for each in results["models"].values()]
    if results["dot"]:
        sections.append(_dot(results["dot"]))
    return "\n\n".join([*sections, _machine(results["machine"])]) + "\n"


def last(results: Mapping[str, Any]) -> str:
    """The section that was measured last."""
    return (_dot(results["dot"]) if results["dot"] else _model([*results["models"].values()][-1])) + "\n"


def _model(model: Mapping[str, Any]) -> str:
    title = f"### {model['title']}: {model['parameters']:,} parameters, batch {model['batch']}"
    floor = next(each for each in model["contenders"] if each["name"] == "forward + backward")
    rows = []
    for each in sorted(model["contenders"], key=lambda each: -each["examples_per_second"]):
        times = floor["examples_per_second"] / each["examples_per_second"]
        cells = [each["name"] + ("*" if each["note"] else ""), _digits(each["examples_per_second"])]
        cells += [_digits(each["median"]), f"{_digits(times)}×", f"{each['covers']:.0%}"]
        rows.append([*cells, "" if each["result"] == "none" else _count(each["result"])])
    notes = [f"\\* {each['name']}: {each['note']}." for each in model["contenders"] if each["note"]]
    notes += [f"Not in the table: {name}: {reason}." for name, reason in model["failed"].items()]
    return "\n\n".join([title, table(_HEADINGS, rows), *notes])


def _dot(cases: list[Mapping[str, Any]]) -> str:
    headings = ["", "training examples × queries", "formed", "`GradDot`", "times faster", "largest difference"]
    rows = [
        [
            f"{case['title']}, {case['parameters']:,} parameters",
            f"{case['train']:,} × {case['queries']:,}",
            f"{_digits(case['formed'])} s",
            f"{_digits(case['factored'])} s",
            f"{_digits(case['formed'] / case['factored'])}×",
            f"{case['difference']:.0e}",
        ]
        for case in cases
    ]
    note = "Formed: `vmap(grad)` and one product, timed for as many gradients as fit in memory and scaled."
    return "\n\n".join(["### Exact Grad-Dot", table(headings, rows), note])


def _machine(machine: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    return (
        f"{machine['cpu']}, {machine['isa']}, {machine['threads']} threads, {machine['date']}. {packages}. "
        "Examples/s are those of the shortest round; *of forward + backward* is time over time."
    )


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are right-aligned."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _count(result: str | int) -> str:
    return f"{result:,}" if isinstance(result, int) else result


def _digits(value: float) -> str:
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"
