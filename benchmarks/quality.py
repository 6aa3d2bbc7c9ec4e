"""Quality beside speed: what each sketch loses on real per-example gradients, and what it costs.

Trains a small convolutional network on CIFAR-10 and a small transformer on SST-2, takes the gradients of training
examples and of queries by all parameters, and compares inner products of sketches with the true ones. Writes
quality.json, quality.md, quality.png and quality.svg. About ten minutes on two cores; --quick takes one.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import quality_figure
import quality_problems
import torch
import typer
from quality_figure import Panel
from quality_measure import BATCH, KINDS, quality, time_all
from quality_problems import Gradients

from fimo_fast import build_info
from fimo_fast.progress import Plan

SKETCH_DIMS = (256, 512, 1024, 2048, 4096, 8192)
NOISE_DIMS = (2048,)
DESCRIPTION = (
    "Error of inner products and recall of the best training examples against the time that sketching takes, a curve "
    "for each sketch over its size"
)


def main(
    cifar: Annotated[
        Path, typer.Option(help=".npz with x_train, y_train, x_test, y_test; images uint8, channels last")
    ],
    sst2_train: Annotated[Path, typer.Option(help="tab-separated sentences and labels 0 or 1")],
    sst2_validation: Annotated[Path, typer.Option(help="likewise; the queries")],
    out: Annotated[Path, typer.Option(help="folder for the four files")] = Path("quality"),
    train: Annotated[int, typer.Option(min=50, help="training examples whose gradients are taken")] = 1000,
    queries: Annotated[int, typer.Option(min=1)] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="of each sketch")] = 2,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    quick: Annotated[bool, typer.Option(help="two sizes, one seed, one epoch of training")] = False,
) -> None:
    """Measures, draws and writes."""
    torch.set_num_threads(threads)
    dims, noise_dims = ((256, 512), (256,)) if quick else (SKETCH_DIMS, NOISE_DIMS)
    epochs, rounds, seeds = ((1, 1), 3, 1) if quick else ((6, 3), 10, seeds)
    panels: list[Panel] = []

    def noise(advance: Callable[[float], None]) -> Gradients:
        return quality_problems.noise(train, queries, 100_000)

    # For each set how to get gradients, sizes of sketches, and the seconds that the three stages take on two cores.
    sets = {
        "CIFAR-10": (
            lambda advance: quality_problems.cifar(cifar, train, queries, epochs[0], advance), dims, (50, 100, 20)
        ),
        "SST-2": (
            lambda advance: quality_problems.sst2(sst2_train, sst2_validation, train, queries, epochs[1], advance),
            dims, (25, 200, 40),
        ),
        "noise": (noise, noise_dims, (1, 30, 3)),
    }  # fmt: skip
    stages = ("gradients", "sketches", "times")
    plan = Plan({f"{name}: {what}": cost for name, (_, _, costs) in sets.items()
                 for what, cost in zip(stages, costs, strict=True)})  # fmt: skip
    with plan.showing():
        for name, (take, sizes, _) in sets.items():
            with plan.stage(f"{name}: gradients"):
                gradients = take(plan.advance)
            with plan.stage(f"{name}: sketches"):
                results = quality(gradients, KINDS, sizes, range(seeds), plan.advance)
            with plan.stage(f"{name}: times"):
                reading = time_all(gradients, KINDS, results, rounds, plan.advance)
            panels.append(Panel(gradients.title, gradients.facts, results, reading))
    facts = {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "isa": build_info()["isa"],
        "threads": threads,
        "torch": torch.__version__,
        "train": train,
        "queries": queries,
        "seeds": seeds,
        "batch": BATCH,
    }
    _write(out, facts, panels)


def _write(out: Path, facts: dict[str, object], panels: list[Panel]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    numbers = {"machine": facts, "problems": [dataclasses.asdict(panel) for panel in panels]}
    (out / "quality.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    (out / "quality.md").write_text(quality_figure.table(panels), encoding="utf-8")
    # Noise has no examples worth finding: it is in the table for contrast.
    drawn = quality_figure.figure(panels[:-1])
    quality_figure.save(drawn, out / "quality", DESCRIPTION)
    typer.echo(f"{out / 'quality.png'}, .svg, .md, .json")


def _processor() -> str:
    """The processor's name where Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    typer.run(main)
