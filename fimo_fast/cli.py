"""The command line: ``fimo-fast demo``, ``fimo-fast reproduce`` and ``fimo-fast bench``."""

from __future__ import annotations

import datetime
import json
import sys
import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from . import __version__, build_info, experiments, report
from .bench.command import bench
from .experiments import run
from .utils.files import atomic_write
from .utils.progress import Plan

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_show_locals=False)
_console = Console()

app.command()(bench)


class Table(str, Enum):
    """The tables of the paper that `reproduce` can repeat."""

    concrete = "concrete"
    energy = "energy"


Out = Annotated[Path, typer.Option(help="Folder for report.html, results.json, figures and raw scores.")]


@app.command()
def demo(
    out: Out, quick: Annotated[bool, typer.Option(help="Fewer seeds and epochs: about half a minute.")] = False
) -> None:
    """Compare attribution methods with further training on a table and on images (about two minutes)."""
    began = time.perf_counter()
    with _console.status("training the final models"):
        if quick:
            chosen = [experiments.diabetes(epochs=8, seeds=4), experiments.digits(epochs=3, seeds=4)]
        else:
            chosen = [experiments.diabetes(), experiments.digits()]
    _run(chosen, out, began)


@app.command()
def reproduce(
    name: Annotated[Table, typer.Argument(help="Which of the paper's tables.")],
    data: Annotated[
        Path, typer.Option(help="CSV: 8 features, then the target; no header.", exists=True, dir_okay=False)
    ],
    out: Out,
    epochs: Annotated[int, typer.Option(help="Epochs of further training (the paper: 500).", min=1)] = 20,
    seeds: Annotated[int, typer.Option(help="Seeds (the paper: 100).", min=2)] = 8,
) -> None:
    """Repeat the paper's experiment on Concrete or Energy (arXiv 2412.03906), all methods and the exact derivative."""
    began = time.perf_counter()
    with _console.status("training the final model"):
        try:
            chosen = [experiments.from_csv(name.value, data, epochs, seeds)]
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--data") from error
    _run(chosen, out, began)


@app.command()
def info() -> None:
    """Show how the extension was built and which instruction set it uses."""
    _console.print_json(data=build_info())


def _run(chosen: list[experiments.Task], out: Path, began: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    plan = Plan({stage: cost for task in chosen for stage, cost in run.stages(task).items()})
    outcomes = []
    with plan.showing():
        for task in chosen:
            outcomes.append(run.run(task, plan))
            outcomes[-1].save(out)
    results = {
        "experiments": [outcome.entry for outcome in outcomes],
        "environment": {
            "fimo_fast": __version__,
            "torch": torch.__version__,
            "isa": build_info()["isa"],
            "threads": torch.get_num_threads(),
            "date": datetime.date.today().isoformat(),
            "command": " ".join(["fimo-fast", *sys.argv[1:]]),
            "seconds": time.perf_counter() - began,
        },
    }
    with atomic_write(out / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    galleries = {outcome.entry["name"]: outcome.gallery for outcome in outcomes if outcome.gallery is not None}
    report.write(results, out, galleries)
    _console.print(report.summary_table(results))
    _console.print(f"report: {out / 'report.html'}")
