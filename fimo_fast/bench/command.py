"""``fimo-fast bench``: the kernels beside the floors of this machine and beside what others offer."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from ..files import replacing
from ..progress import Plan
from ..testing import available_isas, force_isa
from . import OPERATIONS, cases
from .case import Case, WrongResult, dtype_name
from .results import available_memory, document, reason_to_skip
from .roofline import draw
from .roofs import machine_roofs
from .table import markdown, terminal
from .timing import measure, time_call

_PATIENCE = 10.0  # seconds of one call at SGEMM's rate: a case is called about ten times, on one thread, too
_DTYPES = {dtype_name(d): d for operation in OPERATIONS.values() for d in operation.supported}
_console = Console()


def bench(
    op: Annotated[
        list[str] | None, typer.Option(help=f"Only this operation: {', '.join(OPERATIONS)}. Repeatable.")
    ] = None,
    dtype: Annotated[list[str] | None, typer.Option(help=f"Only this type: {', '.join(_DTYPES)}. Repeatable.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads, compared with one; default: torch's.", min=1)] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    isa: Annotated[str | None, typer.Option(help="Force an instruction set of the kernels.")] = None,
    peers: Annotated[bool, typer.Option("--peers", help="Time TRAK, dattri and FAISS, too, if installed.")] = False,
    full: Annotated[bool, typer.Option("--full", help="All sizes: tens of minutes.")] = False,
    memory: Annotated[float | None, typer.Option(help="GiB a case may take; default: 3/4 of what is free.")] = None,
    out_json: Annotated[Path | None, typer.Option("--json", help="Write all rounds and the machine.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Write the roofline as PNG.")] = None,
    out_markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the table.")] = None,
) -> None:
    """Time the kernels beside the floors of this machine, torch and other libraries (about a minute)."""
    chosen = _cases(_known("--op", op, list(OPERATIONS)), _known("--dtype", dtype, list(_DTYPES)), full)
    where = _device(device)
    if isa is not None and isa not in available_isas():
        raise typer.BadParameter(f"expected one of {', '.join(available_isas())}, got {isa!r}", param_hint="--isa")
    if memory is not None and memory <= 0:
        raise typer.BadParameter(f"expected more than 0 GiB, got {memory:g}", param_hint="--memory")
    if figure is not None and all(case.bound == "call" for case in chosen):
        raise typer.BadParameter("expected an operation with a floor beside overhead", param_hint="--figure")
    limit = int(memory * 2**30) if memory is not None else available_memory() * 3 // 4
    if where.type == "cuda" and threads is not None:
        raise typer.BadParameter(f"expected nothing with --device cuda, got {threads}", param_hint="--threads")
    count = 1 if where.type == "cuda" else threads or torch.get_num_threads()
    with force_isa(isa) if isa is not None else nullcontext():
        results = _run(chosen, where, count, peers, limit)
    _console.print(terminal(results))
    if out_json is not None:
        _write(out_json, (json.dumps(results, indent=1, allow_nan=False) + "\n").encode())
    if out_markdown is not None:
        _write(out_markdown, markdown(results).encode())
    if figure is not None:
        _write(figure, draw(results))


def _known(option: str, given: list[str] | None, known: list[str]) -> list[str]:
    for name in given or []:
        if name not in known:
            raise typer.BadParameter(f"expected one of {', '.join(known)}; got {name!r}", param_hint=option)
    return given or []


def _cases(operations: list[str], dtypes: list[str], full: bool) -> list[Case]:
    chosen = list(dict.fromkeys(operations)) or list(OPERATIONS)
    found = [case for op in chosen for case in cases(op, tuple(_DTYPES[d] for d in dict.fromkeys(dtypes)), full)]
    if not found:
        raise typer.BadParameter(
            f"expected a type of {', '.join(chosen)}; got {', '.join(dtypes)}", param_hint="--dtype"
        )
    return found


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise typer.BadParameter(f"expected cpu or cuda, got {name!r}", param_hint="--device")
    if name == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter(
            f"expected a CUDA device that torch can use, got none (torch {torch.__version__})", param_hint="--device"
        )
    return torch.device(name)


def _run(chosen: list[Case], device: torch.device, threads: int, peers: bool, memory: int) -> dict[str, object]:
    torch.manual_seed(0)
    roofs = machine_roofs(device, threads, time_call)
    reasons = {case: reason_to_skip(case, peers, memory, roofs["sgemm"], _PATIENCE) for case in chosen}
    kept = [case for case in chosen if reasons[case] is None]
    # A guess: each case is rounds of about three seconds, or three rounds where one takes longer.
    plan = Plan(
        {str(case): max(2.0, 15 * case.operations / roofs["sgemm"], 15 * case.moved / roofs["read"]) for case in kept}
    )
    results = []
    with plan.showing():
        for case in kept:
            with plan.stage(str(case)):
                try:
                    result = measure(case, device, threads, peers, roofs["sgemm"], advance=plan.advance)
                except WrongResult as error:
                    _console.print(f"[bold red]{error}[/]", highlight=False)
                    raise typer.Exit(1) from error
            # The machine may have been busy at the start: its roofs are the best that it showed at any time.
            roofs["sgemm"] = max(roofs["sgemm"], result.sgemm_rate or 0.0)
            roofs["read"] = max(roofs["read"], result.read_rate or 0.0)
            results.append(result)
    for result in results:
        result.known_sgemm = roofs["sgemm"]
    skipped = {str(case): reason for case, reason in reasons.items() if reason is not None}
    return document(results, skipped, roofs, device, threads, " ".join(["fimo-fast", *sys.argv[1:]]))


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    _console.print(f"written: {path}")
