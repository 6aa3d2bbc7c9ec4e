"""The table of a run, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

_CPU_FLOORS = "Floors are measured with each case, on its own bytes; those that fit into the cache are read faster."
_CUDA_FLOORS = (
    "The floor is the longer of the fewest bytes at the speed of reading and the operations at the rate of torch's "
    "product in the case's type; torch's float32 products are without TF32. Every call starts with a cold cache."
)
_TYPES = {"float32": "f32", "float64": "f64", "bfloat16": "bf16", "float16": "f16", "int8": "int8"}


def headings(results: Mapping[str, Any]) -> list[str]:
    """Of the columns; the last names the number of threads."""
    threads = results["machine"]["threads"]
    columns = ["case", "type", "time", "rate", "of floor", "torch", "peers"]
    if results["predicted_for"] is not None:
        columns += [f"predicted for {results['predicted_for']}", "of floor, predicted"]
    return [*columns, f"1 → {threads} threads"] if threads > 1 else columns


def row(case: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """The cells of one case of the results, as text."""
    threads = results["machine"]["threads"]
    scaling = case["scaling"]
    return [
        case["name"],
        _TYPES[case["dtype"]],
        duration(case["seconds"]) + " !" * case["disturbed"],
        _rate(case),
        _of_floor(case),
        _best_torch(case),
        _peers(case),
        *(_predicted(case) if results["predicted_for"] is not None else []),
        *(["" if scaling is None else f"{scaling:.1f}×"] if threads > 1 else []),
    ]


def _of_floor(case: Mapping[str, Any]) -> str:
    if case["of_floor"] is None:
        return ""
    return f"{case['of_floor']:.2f} ({case['of_floor_median']:.2f}) {floor_name(case)}"


def floor_name(case: Mapping[str, Any]) -> str:
    """``read``, or the name of the product."""
    return {"read": "read", "sgemm": str(case["product"])}[case["bound"]]


def _predicted(case: Mapping[str, Any]) -> list[str]:
    """Time and fraction of the floor; empty without a prediction."""
    found = case["predicted"]
    if found is None:
        return ["", ""]
    return [duration(found["seconds"]), f"{found['floor_seconds'] / found['seconds']:.2f} {found['bound']}"]


def duration(seconds: float) -> str:
    """Three digits and a unit: ``5.21 µs``, ``11.0 ms``, ``1.06 s``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds / 1e-6)} µs"


def _digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _rate(case: Mapping[str, Any]) -> str:
    if case["bound"] == "read":
        return f"{_digits(case['moved_bytes'] / case['seconds'] / 1e9)} GB/s"
    if case["bound"] == "sgemm":
        return flops(case["operations"] / case["seconds"])
    # The fixed cost of a call: what a product of two tiny matrices costs in the same library, to compare.
    return ", ".join(f"{r['name']}: {duration(r['seconds'])}" for r in case["baselines"])


def flops(rate: float) -> str:
    """``131 GFLOP/s``, ``45.2 TFLOP/s``."""
    unit, size = ("TFLOP/s", 1e12) if rate >= 9.995e12 else ("GFLOP/s", 1e9)
    return f"{_digits(rate / size)} {unit}"


def machine_line(results: Mapping[str, Any]) -> str:
    """The processor or device, and how it was used."""
    machine = results["machine"]
    if machine["device"] != "cpu":
        return f"{machine['device']}, compute capability {machine['cuda']['capability']}"
    return f"{machine['cpu']}, {machine['isa']}, {machine['threads']} thread{'s' * (machine['threads'] > 1)}"


def _times(baseline: Mapping[str, Any]) -> str:
    return f"{_digits(baseline['times']) if baseline['times'] < 10 else format(baseline['times'], ',.0f')}×" + (
        "*" if baseline["share"] < 1 else ""
    )


def _best_torch(case: Mapping[str, Any]) -> str:
    found = [r for r in case["baselines"] if r["kind"] == "torch"]
    return _times(min(found, key=lambda r: r["seconds"])) if found and case["bound"] != "call" else ""


def _peers(case: Mapping[str, Any]) -> str:
    """Each library with its fastest baseline, named by the first word of the baseline."""
    best: dict[str, Mapping[str, Any]] = {}
    for baseline in sorted((r for r in case["baselines"] if r["kind"] == "peer"), key=lambda r: r["seconds"]):
        best.setdefault(baseline["name"].split()[0], baseline)
    return ", ".join(f"{name} {_times(baseline)}" for name, baseline in best.items())


def notes(results: Mapping[str, Any]) -> list[str]:
    """Below the table: the machine, the meaning of the columns, and what is missing."""
    machine, peaks, on_cuda = results["machine"], results["peaks"], results["machine"]["device"] != "cpu"
    products = ", ".join(f"{name} {flops(rate)}" for name, rate in peaks.items() if name != "read")
    lines = [
        f"{machine_line(results)}, torch {machine['torch']}, fimo_fast {machine['fimo_fast']}, {machine['date']}.",
        f"Peak: reading {_digits(peaks['read'] / 1e9)} GB/s, {products}. {_CUDA_FLOORS if on_cuda else _CPU_FLOORS}",
        "Times and ratios are of minima, in parentheses of medians. torch, peers: how many times faster the kernel is "
        "than the best torch expression, and than other libraries.",
    ]
    if any(r["share"] < 1 for c in results["cases"] for r in c["baselines"] if r["kind"] != "gemm"):
        lines.append("* timed on a part of the work, to which the cost is proportional.")
    if (predicted := results["predicted_for"]) is not None:
        lines.append(
            f"Predicted: from counted bytes and instructions for an {predicted}, which need not be this device; no "
            "measurement (docs/cuda_performance.md). An empty cell: no prediction."
        )
    elif on_cuda:
        lines.append("Without predicted times: --predictions names a file of them (docs/cuda_performance.md).")
    if any(c["disturbed"] for c in results["cases"]):
        cause = "others used the device, or its clock fell" if on_cuda else "others used the machine"
        lines.append(f"! {cause}: beside this case the product stayed below 0.8 of its rate. Run it again.")
    missing = sorted({f"{name}: {why}" for c in results["cases"] for name, why in c["missing"].items()})
    lines += [f"{line}." for line in missing]
    lines += [f"WRONG: {name}: {' '.join(why.split())}" for name, why in results["wrong"].items()]
    lines += [f"Skipped: {name}: {why}." for name, why in results["skipped"].items()]
    return lines


def _by_operation(results: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for case in results["cases"]:
        groups.setdefault(case["operation"], []).append(case)
    return groups


def terminal(results: Mapping[str, Any]) -> Group:
    """For ``rich.print``: one table, a section an operation, and the notes."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, heading in enumerate(headings(results)):
        table.add_column(heading, justify="left" if i < 2 else "right")
    for operation, cases in _by_operation(results).items():
        table.add_section()
        table.add_row(Text(operation, style="bold"))
        for case in cases:
            cells = row(case, results)
            table.add_row(Text("  " + cells[0]), *map(Text, cells[1:]))
    return Group(table, *(Text(line, style="dim") for line in notes(results)))


def markdown(results: Mapping[str, Any]) -> str:
    """One table an operation, then the notes, for documentation."""
    parts = []
    for operation, cases in _by_operation(results).items():
        rows = [row(case, results) for case in cases]
        # Columns without any cell are left out.
        kept = [i for i in range(len(rows[0])) if any(cells[i] for cells in rows)]
        names = [operation if i == 0 else headings(results)[i] for i in kept]
        lines = ["| " + " | ".join(names) + " |", "|" + "|".join("---" if i < 2 else "---:" for i in kept) + "|"]
        lines += ["| " + " | ".join(cells[i] for i in kept) + " |" for cells in rows]
        parts.append("\n".join(lines))
    # A star at the start of a line would be a list.
    parts.append("\n".join(f"{line}  ".replace("* timed", "\\* timed") for line in notes(results)).rstrip())
    return "\n\n".join(parts) + "\n"
