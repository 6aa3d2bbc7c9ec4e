"""Quality beside speed: what each sketch loses on real per-example gradients, and what it costs.

Trains a small convolutional network on CIFAR-10 and a small transformer on SST-2, takes the gradients of training
examples and of queries by all parameters, and compares inner products of sketches with the true ones; for the
transformer's linear layers also sketches that never form the gradient. Writes quality.json, quality.md, quality.png,
quality-layers.png and both as .svg. About ten minutes on two cores; --quick takes one.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from fimo_fast import build_info
from fimo_fast.bench.results import cpu_model
from fimo_fast.utils.progress import Plan

from . import figure, gradients, problems
from .figure import Panel
from .gradients import Gradients
from .kinds import LAYER, VECTOR, Kind
from .measure import BATCH, quality, time_all

SKETCH_DIMS = (256, 512, 1024, 2048, 4096, 8192)
LAYER_DIMS = (128, 512, 2048, 8192)  # of eight layers together, a power of four each
NOISE_DIMS = (2048,)
DESCRIPTION = (
    "Error of inner products and recall of the best training examples against the time that sketching takes, a curve "
    "for each sketch over its size"
)
# What is measured and about how many seconds each step takes on two cores: training, gradients, sketches, times.
COSTS = {"CIFAR-10": (40, 20, 60, 20), "SST-2": (20, 20, 120, 30), "layers": (0, 1, 5, 5), "noise": (0, 1, 20, 3)}


def main(
    cifar: Annotated[
        Path, typer.Option(help=".npz with x_train, y_train, x_test, y_test; images uint8, channels last")
    ],
    sst2_train: Annotated[Path, typer.Option(help="tab-separated sentences and labels 0 or 1")],
    sst2_validation: Annotated[Path, typer.Option(help="likewise; the queries")],
    out: Annotated[Path, typer.Option(help="folder for what is written")] = Path("quality"),
    train: Annotated[int, typer.Option(min=50, help="training examples whose gradients are taken")] = 1000,
    queries: Annotated[int, typer.Option(min=1)] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="of each sketch; two at most of dense ones")] = 5,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    quick: Annotated[bool, typer.Option(help="two sizes, one seed, one epoch of training")] = False,
) -> None:
    """Measures, draws and writes."""
    torch.set_num_threads(threads)
    epochs, rounds, seeds = ((1, 1), 2, 1) if quick else ((6, 3), 10, seeds)
    sizes = (train, queries)
    steps = ("training", "gradients", "sketches", "times")
    plan = Plan(
        {f"{name}: {step}": cost for name, costs in COSTS.items() for step, cost in zip(steps, costs, strict=True)}
    )
    panels: dict[str, Panel] = {}

    def measure(name: str, gradients: Gradients, kinds: Sequence[Kind], dims: Sequence[int]) -> None:
        dims = dims[:2] if quick else dims
        with plan.stage(f"{name}: sketches"):
            results = quality(gradients, kinds, dims, range(seeds), plan.advance)
        with plan.stage(f"{name}: times"):
            reading = time_all(gradients, kinds, results, rounds, plan.advance)
        panels[name] = Panel(gradients.title, gradients.facts, results, reading)

    with plan.showing():
        with plan.stage("CIFAR-10: training"):
            trained = problems.cifar(cifar, *sizes, epochs[0], plan.advance)
        with plan.stage("CIFAR-10: gradients"):
            taken = gradients.rows(trained, plan.advance)
        measure("CIFAR-10", taken, VECTOR, SKETCH_DIMS)
        with plan.stage("SST-2: training"):
            trained = problems.sst2(sst2_train, sst2_validation, *sizes, epochs[1], plan.advance)
        with plan.stage("SST-2: gradients"):
            taken = gradients.rows(trained, plan.advance)
        measure("SST-2", taken, VECTOR, SKETCH_DIMS)
        with plan.stage("layers: gradients"):
            taken = gradients.layers(trained, "layers.")
        measure("layers", taken, LAYER, LAYER_DIMS)
        with plan.stage("noise: gradients"):
            taken = gradients.noise(*sizes, 100_000)
        measure("noise", taken, VECTOR, NOISE_DIMS)
    facts = {
        "date": datetime.date.today().isoformat(),
        "processor": cpu_model(),
        "isa": build_info()["isa"],
        "threads": threads,
        "torch": torch.__version__,
        "train": train,
        "queries": queries,
        "seeds": seeds,
        "batch": min(BATCH, train),
    }
    _write(out, facts, panels)


def _write(out: Path, facts: dict[str, object], panels: dict[str, Panel]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    numbers = {"machine": facts, "problems": {name: dataclasses.asdict(panel) for name, panel in panels.items()}}
    (out / "quality.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    (out / "quality.md").write_text(figure.table(list(panels.values())), encoding="utf-8")
    # Noise has no examples worth finding: it is in the table for contrast.
    for name, shown in (("quality", ("CIFAR-10", "SST-2")), ("quality-layers", ("layers",))):
        drawn = figure.figure([panels[each] for each in shown])
        figure.save(drawn, out / name, DESCRIPTION)
    typer.echo(f"{out}: quality.json, quality.md; quality and quality-layers as .png and .svg")


if __name__ == "__main__":
    typer.run(main)
