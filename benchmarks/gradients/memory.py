"""Peak memory: a training step against sketches of the same batch, and Grad-Dot over more and more examples.

    python benchmarks/memory.py --markdown memory.md

Each number comes from a process of its own: the largest resident size during the measured call (``VmHWM`` of Linux, set
back before it) minus the resident size before it. Before it, imports, the model, its batch and the same call on the
first examples have been made, and freed memory has been given back, so that code, thread pools and what is done once
for a model are not counted; the column "first call" is that of a first call in a new process, with all of these but the
imports. What the call returns is counted: gradients of all parameters for the step, [batch, 4096] for sketches, the
scores for Grad-Dot.
"""

from __future__ import annotations

import ctypes
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.utils.data import Dataset

import fimo_fast as ff
from fimo_fast.bench import Unavailable

from .contenders import layers_call, matrix_of, srht_call, step_call
from .models import SUBJECTS, Subject, mlp
from .table import table

_MIB = 2**20
_WIDTHS = (100, 256, 256, 10)
_QUERIES = 10
_TRAIN = (1_000, 10_000, 100_000)
PATHS: dict[str, str] = {
    "step": "forward + backward",
    "srht": "fimo_fast, SRHT",
    "layers": "fimo_fast, LayerSketch factored",
    "formed": "vmap(grad)",
    "first": "fimo_fast, SRHT, first call",
}


class Examples(Dataset[tuple[Tensor, Tensor]]):
    """Random examples of the small network, each made when it is read: the data themselves take no memory."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(index)
        return torch.randn(_WIDTHS[0], generator=generator), torch.tensor(index % _WIDTHS[-1])


def main(
    model: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(SUBJECTS)}; repeatable")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="all numbers")] = None,
    markdown: Annotated[Path | None, typer.Option(help="the tables")] = None,
    measure: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measures, prints and writes."""
    torch.set_num_threads(threads)
    if measure:
        typer.echo(json.dumps(_measured(measure)))
        return
    steps = {name: {path: _in_process(f"{path} {name}", threads) for path in PATHS} for name in model or SUBJECTS}
    dots = {str(count): _in_process(f"dot {count}", threads) for count in _TRAIN}
    text = _markdown(steps, dots)
    typer.echo(text)
    if json_file:
        json_file.write_text(json.dumps({"bytes": steps, "grad_dot_bytes": dots}, indent=1) + "\n", encoding="utf-8")
    if markdown:
        markdown.write_text(text, encoding="utf-8")


def _in_process(what: str, threads: int) -> int | str:
    """Bytes, or why there are none."""
    command = [sys.executable, "-m", "benchmarks.gradients.memory", "--measure", what, "--threads", str(threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{what}: the process that measures ended with {done.returncode}")
    found: int | str = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(what: str) -> int | str:
    path, _, name = what.partition(" ")
    try:
        warm, call = _grad_dot(int(name)) if path == "dot" else _batch(path, SUBJECTS[name]())
    except Unavailable as error:
        return str(error)
    warm()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the largest size so far is the present one
    before = _resident("VmRSS")
    kept = call()
    after = _resident("VmHWM")
    del kept
    return after - before


def _batch(path: str, subject: Subject) -> tuple[Callable[[], object], Callable[[], object]]:
    """One of `PATHS` on a few examples, and on the batch."""
    layers = functools.partial(layers_call, matrices="factored")
    make = {"step": step_call, "srht": srht_call, "layers": layers, "formed": matrix_of, "first": srht_call}[path]
    call = make(subject)
    return (step_call(subject.first(1)) if path == "first" else call), call


def _grad_dot(count: int) -> tuple[Callable[[], object], Callable[[], object]]:
    subject = mlp(_WIDTHS, 1)
    problem = ff.Problem(subject.model, subject.loss)
    queries = Examples(_QUERIES)
    few, all_ = Examples(max(1000, count // 100)), Examples(count)
    return lambda: ff.GradDot().attribute(problem, few, queries), lambda: ff.GradDot().attribute(problem, all_, queries)


def _resident(which: str) -> int:
    """Bytes of this process in memory: now (VmRSS) or at most (VmHWM)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) * 1024


def _markdown(steps: dict[str, dict[str, int | str]], dots: dict[str, int | str]) -> str:
    rows = [[name, *(_cell(found) for found in paths.values())] for name, paths in steps.items()]
    first = table(["peak memory, MiB", *PATHS.values()], rows)
    grown = [[f"{int(count):,}", _cell(found), _cell(int(count) * _QUERIES * 4)] for count, found in dots.items()]
    second = table([f"`GradDot`, examples × {_QUERIES} queries", "peak memory, MiB", "of these scores"], grown)
    return f"{first}\n\n{second}\n"


def _cell(found: int | str) -> str:
    return f"{found / _MIB:,.1f}" if isinstance(found, int) else "–"


if __name__ == "__main__":
    typer.run(main)
