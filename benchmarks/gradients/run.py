"""Per-example gradients: examples a second of fimo_fast, torch and other libraries, beside a plain training step.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.gradients.run --peers --markdown gradients.md --json gradients.json

All contenders of a model take turns in one process. Minutes; --model selects.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from fimo_fast.bench import Unavailable
from fimo_fast.bench.results import machine

from . import dot, table
from .contenders import CONTENDERS
from .models import SUBJECTS, Subject
from .peers import PEERS
from .timing import Contender, take_turns

_PACKAGES = ("torch", "transformers", "traker", "dattri", "bergson", "logix-ai")


def main(
    model: Annotated[list[str] | None, typer.Option(help=f"one of {', '.join([*SUBJECTS, 'dot'])}; repeatable")] = None,
    peers: Annotated[bool, typer.Option(help="time other libraries, too")] = False,
    only: Annotated[list[str] | None, typer.Option(help="names of contenders; the floor always runs")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="of all rounds of a model, about; what is slow adds")] = 20,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="all numbers")] = None,
    markdown: Annotated[Path | None, typer.Option(help="the tables")] = None,
) -> None:
    """Times, prints and writes."""
    torch.set_num_threads(threads)
    names = model or [*SUBJECTS, "dot"]
    if unknown := sorted(set(names) - {*SUBJECTS, "dot"}):
        raise typer.BadParameter(f"model: expected some of {', '.join([*SUBJECTS, 'dot'])}, got {', '.join(unknown)}")
    logging.disable(logging.WARNING)  # of other libraries, between the lines of the table
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # likewise; what bergson and LogIX want
    about = {**machine(torch.device("cpu"), threads, " ".join(sys.argv)), "packages": _versions()}
    results: dict[str, Any] = {"machine": about, "models": {}, "dot": []}
    for name in names:
        if name == "dot":
            results["dot"] = dot.measure(threads, seconds)
        else:
            results["models"][name] = _measured(SUBJECTS[name](), peers, only, threads, seconds)
        typer.echo(table.last(results))
    if json_file:
        json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if markdown:
        markdown.write_text(table.markdown(results), encoding="utf-8")


def _measured(subject: Subject, peers: bool, only: list[str] | None, threads: int, seconds: float) -> dict[str, Any]:
    """Results of one model; a contender that cannot run is named with the reason."""
    makers = {**CONTENDERS, **(PEERS if peers else {})}
    if only:
        if unknown := sorted(set(only) - makers.keys()):
            raise typer.BadParameter(f"only: expected some of {', '.join(makers)}, got {', '.join(unknown)}")
        makers = {name: make for name, make in makers.items() if name in {*only, "forward + backward"}}
    ready: list[Contender] = []
    failed: dict[str, str] = {}
    for name, make in makers.items():
        try:
            ready.append(make(subject))
        except Unavailable as error:
            failed[name] = str(error)
        except Exception as error:
            if name not in PEERS:
                raise
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    take_turns(ready, threads, seconds)
    return {
        "title": subject.title,
        "parameters": subject.numel,
        "batch": len(subject.inputs),
        "contenders": [_numbers(contender) for contender in ready],
        "failed": failed,
    }


def _numbers(contender: Contender) -> dict[str, Any]:
    return {
        "name": contender.name,
        "examples_per_second": contender.best,
        "median": contender.median,
        "covers": contender.covers,
        "result": contender.result,
        "note": contender.note,
        "rounds": contender.rounds,
    }


def _versions() -> dict[str, str]:
    """Of what takes part."""
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


if __name__ == "__main__":
    typer.run(main)
