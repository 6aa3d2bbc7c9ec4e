"""Regression on tables: the paper's Concrete and Energy, and scikit-learn's diabetes."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from ..oracle import FurtherTraining
from ..problem import Problem
from ..problem.losses import squared_error
from .task import Task, fit, other_seeds


@dataclass(frozen=True)
class Protocol:
    """One table's numbers in arXiv 2412.03906, app. C."""

    title: str
    rows: int
    left_out: tuple[int, ...]


PROTOCOLS = {
    "concrete": Protocol("Concrete compressive strength", 1030, tuple(range(0, 892, 9))),
    "energy": Protocol("Energy efficiency, heating load", 768, (*range(0, 687, 7), 690)),
}


def from_csv(name: str, path: Path, epochs: int, seeds: int) -> Task:
    """Concrete or Energy by the paper's protocol.

    Args:
        name: ``"concrete"`` or ``"energy"``.
        path: Comma-separated numbers, no header; the last column is the target.
        epochs: Of further training.
        seeds: Of further training.

    Raises:
        ValueError: An unknown name, or a file of another form.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"name: expected one of {sorted(PROTOCOLS)}, got {name!r}")
    protocol = PROTOCOLS[name]
    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(f"data: expected numbers separated by commas, no header, in {path}: {error}") from error
    if table.shape != (protocol.rows, 9):
        raise ValueError(f"data: expected {protocol.rows} rows of 9 columns for {name}, got {table.shape} in {path}")
    if not np.isfinite(table).all():
        raise ValueError(f"data: expected finite numbers, got NaN or infinity in {path}")
    return _regression(
        name,
        protocol.title,
        (table[:, :-1], table[:, -1]),
        width=128,
        initial={"lr": 0.3, "epochs": 1000, "batch_size": 128},
        further={"lr": 0.03, "epochs": epochs, "batch_size": 128, "seeds": seeds},
        unrolled_seeds=2 * seeds,
        left_out=list(protocol.left_out),
    )


def diabetes(epochs: int = 16, seeds: int = 8) -> Task:
    """scikit-learn's diabetes data with a small network."""
    inputs, targets = load_diabetes(return_X_y=True)
    return _regression(
        "diabetes",
        "Diabetes progression, tabular regression",
        (inputs, targets),
        width=32,
        initial={"lr": 0.05, "epochs": 200, "batch_size": 64},
        further={"lr": 0.01, "epochs": epochs, "batch_size": 64, "seeds": seeds},
        unrolled_seeds=seeds,
        left_out=list(range(0, 400, 9))[:40],
    )


def _regression(
    name: str,
    title: str,
    table: tuple[np.ndarray, np.ndarray],
    width: int,
    initial: dict[str, float],
    further: dict[str, float],
    unrolled_seeds: int,
    left_out: list[int],
) -> Task:
    """MLP d-width-width-1 with ReLU in float64; split and standardisation as in the paper."""
    parts = train_test_split(*table, test_size=0.1, random_state=0)
    x_train, x_test, y_train, y_test = (torch.from_numpy(np.asarray(part, dtype=np.float64)) for part in parts)
    x_train, x_test = _standardise(x_train, x_test)
    y_train, y_test = _standardise(y_train, y_test)
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(
        nn.Linear(x_train.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1),
        nn.Flatten(0),
    ).double()  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=initial["lr"])
    train = (x_train, y_train)
    model = fit(model, squared_error, train, optimizer, int(initial["epochs"]), int(initial["batch_size"]))
    problem = Problem(model, squared_error)
    training = FurtherTraining(
        problem,
        functools.partial(torch.optim.SGD, lr=further["lr"]),
        epochs=int(further["epochs"]),
        batch_size=int(further["batch_size"]),
        seeds=int(further["seeds"]),
    )
    # A derivative is no small difference, so float32 is enough for it, at half the time.
    unrolled = dataclasses.replace(training, seeds=other_seeds(training, unrolled_seeds), dtype=torch.float32)
    with torch.no_grad():
        errors = [squared_error(model(x), y).mean().item() for x, y in (train, (x_test, y_test))]
    setup = {
        "Data": f"{len(x_train)} training and {len(x_test)} test rows (10%, random_state 0) of {x_train.shape[1]} "
        "features; features and target standardised on the training rows.",
        "Final model": f"Multilayer perceptron {x_train.shape[1]}-{width}-{width}-1 with ReLU ({problem.numel:,} "
        f"parameters), {initial['epochs']} epochs of SGD at {initial['lr']}, batches of {initial['batch_size']}; mean "
        f"squared error {errors[0]:.3f} on training and {errors[1]:.3f} on test rows.",
        "Further training": f"{further['epochs']} epochs of SGD at {further['lr']}, batches of "
        f"{further['batch_size']}, {further['seeds']} seeds; all runs of a seed see the same batches, a left-out row "
        "has weight 0.",
        "Left out": f"{len(left_out)} training rows, one at a time.",
        "Queries": f"The loss of each of the {len(x_test)} test rows.",
        "Precision": "float64; float32 for the unrolled methods with other seeds.",
    }
    return Task(name, title, problem, train, (x_test, y_test), training, unrolled, left_out, setup)


def _standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    mean, deviation = train.mean(0), train.std(0, unbiased=False)
    # A constant column carries nothing; dividing by 0 would make it NaN.
    deviation = torch.where(deviation > 0, deviation, 1.0)
    return (train - mean) / deviation, (test - mean) / deviation
