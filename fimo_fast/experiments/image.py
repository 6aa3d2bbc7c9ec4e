"""Images: scikit-learn's handwritten digits, some with wrong labels, and a small convolutional network."""

from __future__ import annotations

import functools

import torch
from sklearn.datasets import load_digits
from torch import nn

from ..oracle import FurtherTraining
from ..problem import Problem
from ..problem.losses import cross_entropy
from .task import Task, fit, other_seeds

_TRAIN, _QUERIES, _MISLABELLED = 1024, 32, 60
_LEARNING_RATE, _BATCH = 0.02, 64


def digits(epochs: int = 6, seeds: int = 8, left_out: int = 40) -> Task:
    """1,024 digits of 8×8 pixels, 60 of them with a random label, and a convolutional network in float32."""
    generator = torch.Generator().manual_seed(0)
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float() / 16
    classes = torch.from_numpy(bunch.target)
    order = torch.randperm(len(images), generator=generator)
    train_index, query_index = order[:_TRAIN], order[_TRAIN : _TRAIN + _QUERIES]
    labels = classes[train_index].clone()
    wrong = torch.randperm(_TRAIN, generator=generator)[:_MISLABELLED]
    labels[wrong] = torch.randint(10, (_MISLABELLED,), generator=generator)
    train = (images[train_index][:, None], labels)
    queries = (images[query_index][:, None], classes[query_index])
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model = fit(model, cross_entropy, train, optimizer, epochs=20, batch_size=_BATCH)
    problem = Problem(model, cross_entropy)
    training = FurtherTraining(
        problem, functools.partial(torch.optim.SGD, lr=_LEARNING_RATE), epochs, batch_size=_BATCH, seeds=seeds
    )
    with torch.no_grad():
        accuracy = [(model(x).argmax(1) == y).double().mean().item() for x, y in (train, queries)]
    setup = {
        "Data": f"{_TRAIN} training and {_QUERIES} test images, 8×8 pixels; {_MISLABELLED} of the training images have "
        "a random label.",
        "Final model": f"Two convolutions and a linear layer ({problem.numel:,} parameters), 20 epochs of SGD at 0.1 "
        f"with momentum 0.9, batches of {_BATCH}; {accuracy[0]:.1%} of the training labels and {accuracy[1]:.1%} of "
        "the test labels right.",
        "Further training": f"{epochs} epochs of SGD at {_LEARNING_RATE}, batches of {_BATCH}, {seeds} seeds; all runs "
        "of a seed see the same batches, a left-out image has weight 0.",
        "Left out": f"{left_out} training images, one at a time.",
        "Queries": f"The loss of each of {_QUERIES} test images.",
        "Precision": "float32.",
    }
    spaced = torch.linspace(0, _TRAIN - 1, left_out).long().tolist()
    return Task(
        "digits", "Handwritten digits, small CNN", problem, train, queries, training,
        training.with_seeds(other_seeds(training, seeds)), spaced, setup,
        images=(train[0][:, 0], queries[0][:, 0]),
    )  # fmt: skip
