"""``fimo-fast bench``: the kernels compared with the machine's floors, with torch and with other libraries."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from .. import build_info
from ..testing import available_isas, force_isa
from ..utils.files import atomic_write
from ..utils.progress import Plan
from . import OPERATIONS, cases
from .case import Case, WrongResult, dtype_name
from .clock import time_call
from .measured import Result
from .peak import matmul_precision, peak_rates
from .predictions import Predictions, read
from .results import available_memory, document, reason_to_skip
from .roofline import draw
from .table import markdown, terminal
from .timing import measure

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
    predictions: Annotated[
        Path | None, typer.Option(help="Show the predicted times of this file, too (docs/cuda_performance.md).")
    ] = None,
    out_json: Annotated[Path | None, typer.Option("--json", help="Write all rounds and the machine.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Write the roofline as PNG.")] = None,
    out_markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the table.")] = None,
) -> None:
    """Time the kernels and compare them with the machine's floors, torch and other libraries (about a minute).

    Ends with status 1 if a result was wrong.
    """
    chosen = _cases(_known("--op", op, list(OPERATIONS)), _known("--dtype", dtype, list(_DTYPES)), full)
    where = _device(device)
    if isa is not None and isa not in available_isas():
        raise typer.BadParameter(f"expected one of {', '.join(available_isas())}, got {isa!r}", param_hint="--isa")
    if memory is not None and memory <= 0:
        raise typer.BadParameter(f"expected more than 0 GiB, got {memory:g}", param_hint="--memory")
    if figure is not None and all(case.bound == "call" for case in chosen):
        raise typer.BadParameter("expected an operation with a floor beside overhead", param_hint="--figure")
    limit = int(memory * 2**30) if memory is not None else available_memory(where) * 3 // 4
    if where.type == "cuda" and threads is not None:
        raise typer.BadParameter(f"expected nothing with --device cuda, got {threads}", param_hint="--threads")
    count = 1 if where.type == "cuda" else threads or torch.get_num_threads()
    predicted = _predictions(predictions, where)
    with ExitStack() as stack:
        if isa is not None:
            stack.enter_context(force_isa(isa))
        stack.enter_context(matmul_precision("highest"))
        results = _run(chosen, where, count, peers, limit, predicted)
    _console.print(terminal(results))
    if out_json is not None:
        _write(out_json, (json.dumps(results, indent=1, allow_nan=False) + "\n").encode())
    if out_markdown is not None:
        _write(out_markdown, markdown(results).encode())
    if figure is not None and results["cases"]:
        _write(figure, draw(results))
    if results["wrong"]:
        raise typer.Exit(1)


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
    if name == "cuda" and not build_info()["cuda"]:
        raise typer.BadParameter(
            "expected fimo_fast built with CUDA, got a build without, which runs plain torch there; see README.md",
            param_hint="--device",
        )
    return torch.device(name) if name == "cpu" else torch.device(name, torch.cuda.current_device())


def _predictions(path: Path | None, device: torch.device) -> Predictions:
    if path is None:
        return Predictions()
    if device.type != "cuda":
        raise typer.BadParameter(f"expected nothing without --device cuda, got {path}", param_hint="--predictions")
    try:
        return read(path)
    except OSError as error:
        raise typer.BadParameter(f"expected a file, got {path}: {error.strerror}", param_hint="--predictions") from None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--predictions") from None


def _run(
    chosen: list[Case], device: torch.device, threads: int, peers: bool, memory: int, predictions: Predictions
) -> dict[str, Any]:
    torch.manual_seed(0)
    peaks = peak_rates(device, threads, time_call)
    reasons = {case: reason_to_skip(case, peers, memory, peaks["SGEMM"], _PATIENCE, device.type) for case in chosen}
    kept = [case for case in chosen if reasons[case] is None]
    # A guess: each case is rounds of about three seconds, or three rounds where one takes longer.
    plan = Plan(
        {str(case): max(2.0, 15 * case.operations / peaks["SGEMM"], 15 * case.moved / peaks["read"]) for case in kept}
    )
    results: list[Result] = []
    wrong: dict[str, str] = {}
    with plan.showing():
        for case in kept:
            with plan.stage(str(case)):
                try:
                    result = measure(case, device, threads, peers, peaks, advance=plan.advance)
                except (WrongResult, RuntimeError) as error:
                    # The other cases still run. The command ends with status 1.
                    _console.print(f"[bold red]{error}[/]", highlight=False)
                    wrong[str(case)] = str(error)
                    continue
            # The machine may have been busy at the start: the peak rates are the best of the whole run.
            if (rate := result.product_rate) is not None and result.product_name in peaks:
                peaks[result.product_name] = max(peaks[result.product_name], rate)
            peaks["read"] = max(peaks["read"], result.read_rate or 0.0)
            results.append(result)
    skipped = {str(case): reason for case, reason in reasons.items() if reason is not None}
    command = " ".join(["fimo-fast", *sys.argv[1:]])
    return document(results, skipped, peaks, device, threads, command, wrong, predictions)


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    _console.print(f"written: {path}")
