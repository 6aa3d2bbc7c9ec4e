"""Exact Grad-Dot of training examples and queries: formed gradients and their product, against `GradDot`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

import fimo_fast as ff

from .contenders import matrix_of
from .models import Subject, mlp
from .timing import Contender, Part, take_turns

TRAIN, QUERIES = (1_000, 10_000), 1_000
_WIDTHS = ((100, 256, 256, 10), (784, 1024, 1024, 10))
_FORMED = 2 * 2**30  # bytes that formed gradients may take, of queries and of training examples each


def measure(threads: int, seconds: float) -> list[dict[str, Any]]:
    """Seconds of both paths for each model and number of training examples."""
    subjects = [mlp(widths, max(TRAIN) + QUERIES) for widths in _WIDTHS]
    return [_measured(subject, train, threads, seconds) for subject in subjects for train in TRAIN]


def _measured(subject: Subject, count: int, threads: int, seconds: float) -> dict[str, Any]:
    queries, train = _part(subject, 0, QUERIES), _part(subject, QUERIES, QUERIES + count)
    # As many gradients as fit, in whole parts of the queries; of as many training examples at a time.
    parts = next(n for n in (1, 2, 4, 8, 10, 20, 40) if 4 * subject.numel * QUERIES <= n * _FORMED)
    some = QUERIES // parts
    form_train, form_queries = matrix_of(_part(train, 0, some)), matrix_of(_part(queries, 0, some))
    rows: dict[str, Tensor] = {}

    def of_train() -> None:
        rows["train"] = form_train()

    def of_queries() -> None:
        rows["queries"] = form_queries()

    def product() -> None:
        rows["scores"] = rows["train"] @ rows["queries"].T

    problem = ff.Problem(subject.model, subject.loss)
    data = [(each.inputs, each.targets) for each in (train, queries)]
    scores: list[Tensor] = []

    def factored() -> None:
        scores[:] = [ff.GradDot().attribute(problem, *data)]

    steps = [
        Part(of_train, some / count),
        Part(of_queries, some / QUERIES),
        Part(product, some * some / (count * QUERIES)),
    ]
    contenders = [Contender("formed", count, steps), Contender("GradDot", count, [Part(factored)])]
    take_turns(contenders, threads, seconds)
    expected = rows["scores"]
    difference = ((scores[0][:some, :some] - expected).abs().max() / expected.abs().max()).item()
    if not difference < 1e-4:
        raise RuntimeError(f"{subject.title}: scores differ by {difference:.1e} of the largest")
    return {
        "title": subject.title,
        "parameters": subject.numel,
        "train": count,
        "queries": QUERIES,
        "formed_at_a_time": some,
        "formed": min(contenders[0].rounds),
        "factored": min(contenders[1].rounds),
        "difference": difference,
        "rounds": {each.name: each.rounds for each in contenders},
    }


def _part(subject: Subject, start: int, stop: int) -> Subject:
    return replace(subject, inputs=subject.inputs[start:stop], targets=subject.targets[start:stop])
