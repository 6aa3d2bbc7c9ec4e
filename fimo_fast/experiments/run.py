"""How well does each method predict further training? One task: the oracle, every method, their agreement."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..curvature import GaussNewton
from ..evaluate import Agreement, agreement
from ..methods import METHODS, CurvatureMethod, spectral_scores
from ..oracle import FurtherTrainingResult, UnrolledDerivative, UnrolledResponse
from ..oracle.sampling import steps_per_epoch
from ..oracle.unrolled import unrolled_scores
from ..report import Gallery, GalleryImage, GalleryRow
from ..utils.files import atomic_write
from ..utils.progress import Plan
from . import Task

# Steps that take as long as one training step of one replica; measured on the demo's problems. They only divide the
# progress bar.
_DERIVATIVE_COST = 2.5
_GALLERY_QUERIES = 4
_GALLERY_IMAGES = 5


@dataclass(frozen=True)
class Outcome:
    """What an experiment found.

    Attributes:
        entry: Its part of results.json.
        result: The oracle's effects.
        scores: {method: [n_train or left_out, n_queries], or [epochs, ...] for methods that know the horizon}.
        gallery: Most helpful and most harmful training images, where the task has images.
    """

    entry: dict[str, Any]
    result: FurtherTrainingResult
    scores: dict[str, Tensor]
    gallery: Gallery | None

    def save(self, folder: Path) -> None:
        """Writes the oracle's effects and all scores beside the report."""
        self.result.save(folder / f"{self.entry['name']}.oracle.safetensors")
        with atomic_write(folder / f"{self.entry['name']}.scores.safetensors") as temporary:
            save_file({name: scores.contiguous() for name, scores in self.scores.items()}, temporary)


def stages(task: Task) -> dict[str, float]:
    """{stage: estimated cost} of ``run``, for a Plan."""
    training = task.training
    steps = training.steps(len(task.train[0]))
    own, other = (len(each.seed_values) * steps for each in (training, task.unrolled))
    direction = _DERIVATIVE_COST * len(task.left_out)
    plan = {
        f"{task.name}: further training, with and without": own * (1 + len(task.left_out)),
        f"{task.name}: gradient methods": 0.1 * own * direction,
        f"{task.name}: unrolling, other seeds": other * direction,
        f"{task.name}: unrolling, own seeds": own * direction,
    }
    if task.images is not None:
        plan[f"{task.name}: images"] = _DERIVATIVE_COST * other * _GALLERY_QUERIES
    return plan


def run(task: Task, plan: Plan) -> Outcome:
    """Runs the oracle and all methods on a task.

    Args:
        task: From `fimo_fast.experiments`.
        plan: With the task's ``stages`` in it.
    """
    oracle, gradients, other, own, *images = stages(task)
    with plan.stage(oracle):
        result = task.training.run(task.train, task.queries, task.left_out, progress=plan)
    with plan.stage(gradients):
        timed = _gradient_methods(task)
    with plan.stage(other):
        unrolled = _unrolled_methods(task, plan)
    with plan.stage(own):
        derivative = UnrolledDerivative(task.training)
        own_scores = derivative.by_epoch(task.problem, task.train, task.queries, task.left_out, progress=plan)
    gallery = None
    if images:
        with plan.stage(images[0]):
            gallery = _gallery(task, plan)
    entry = _entry(task, result)
    scores = {}
    for name, (values, seconds, settings) in (timed | unrolled).items():
        scores[name] = values
        found = agreement(values, result, task.left_out if name in unrolled else None)
        entry["methods"][name] = _numbers(found) | {"seconds": seconds, "settings": settings}
    found = agreement(own_scores, result, task.left_out)
    entry["methods"]["UnrolledDerivative"]["own_seeds"] = _numbers(found)
    entry["reliability_interval"] = _listed(found.ceiling_interval)
    scores["UnrolledDerivative, own seeds"] = own_scores
    return Outcome(entry, result, scores, gallery)


Timed = tuple[Tensor, float, str]


def _gradient_methods(task: Task) -> dict[str, Timed]:
    """All registered methods; those that know the horizon after each epoch, the exact matrix decomposed once."""
    problem, train, queries = task.problem, task.train, task.queries
    steps = steps_per_epoch(len(train[0]), task.training.batch_size)
    rate = task.training.rule.learning_rate
    horizons = [steps * epoch for epoch in range(1, task.training.epochs + 1)]
    began = time.perf_counter()
    spectrum = spectral_scores(problem, train, queries)
    decomposition = time.perf_counter() - began
    timed = {}
    for name, kind in METHODS.items():
        methods = [kind.for_horizon(rate, horizon) for horizon in (horizons if kind.knows_horizon else horizons[-1:])]
        began = time.perf_counter()
        exact = [m.filter for m in methods if isinstance(m, CurvatureMethod) and m.curvature is GaussNewton]
        if exact:
            scores = [spectrum.score(f) for f in exact]
        else:
            scores = [method.attribute(problem, train, queries) for method in methods]
        seconds = time.perf_counter() - began + (decomposition if exact else 0)
        settings = methods[0].settings + (", T = steps so far" if kind.knows_horizon else "")
        timed[name] = torch.stack(scores) if kind.knows_horizon else scores[0], seconds, settings
    return timed


def _unrolled_methods(task: Task, plan: Plan) -> dict[str, Timed]:
    """Both unrolled methods by the seeds that the oracle does not use; one pass gives both, so each costs all of it."""
    began = time.perf_counter()
    names = {"derivative": UnrolledDerivative.__name__, "response": UnrolledResponse.__name__}
    found = unrolled_scores(task.unrolled, task.problem, task.train, task.queries, task.left_out, progress=plan)
    seconds = time.perf_counter() - began
    count = len(task.unrolled.seed_values)
    settings = f"{count} seeds, none of them the oracle's; the left-out examples at every epoch"
    return {names[reading]: (scores, seconds, settings) for reading, scores in found.items()}


def _entry(task: Task, result: FurtherTrainingResult) -> dict[str, Any]:
    return {
        "name": task.name,
        "title": task.title,
        "n_train": len(task.train[0]),
        "n_queries": len(task.queries[0]),
        "left_out": len(task.left_out),
        "seeds": len(result.seeds),
        "epochs": list(range(1, task.training.epochs + 1)),
        "reliability": _listed(result.reliability),
        "split_half": _listed(result.split_half),
        "distance": _listed(result.distance.mean(0) / result.parameter_norm),
        "left_out_indices": list(result.left_out),
        "seed_values": list(result.seeds),
        "setup": task.setup,
        "oracle": {"seconds": result.seconds, "run_epochs_per_second": result.run_epochs_per_second},
        "methods": {},
    }


def _numbers(found: Agreement) -> dict[str, Any]:
    names = ("cosine", "cosine_interval", "spearman", "spearman_interval")
    return {name: _listed(getattr(found, name)) for name in names}


def _listed(values: Tensor) -> list[Any]:
    """Nested lists with None for NaN, which JSON does not have."""
    if values.dim() > 1:
        return [_listed(row) for row in values]
    return [None if value != value else value for value in values.tolist()]


def _gallery(task: Task, plan: Plan) -> Gallery:
    """The queries with the largest loss, each with the training images that help and harm it most."""
    assert task.images is not None
    train_images, query_images = task.images
    inputs, targets = task.queries
    with torch.no_grad():
        parameters = task.problem.parameters()
        predicted = task.problem.forward(parameters, inputs).argmax(1)
        hardest = task.problem.losses(parameters, inputs, targets).argsort(descending=True)[:_GALLERY_QUERIES]
    method = UnrolledDerivative(task.unrolled)
    scores = method.attribute(task.problem, task.train, (inputs[hardest], targets[hardest]), progress=plan)

    def picture(index: int, column: int) -> GalleryImage:
        label = task.labels(int(task.train[1][index]))
        return GalleryImage(train_images[index].numpy(), label, float(scores[index, column]), index)

    rows = []
    for column, query in enumerate(hardest.tolist()):
        order = scores[:, column].argsort(descending=True).tolist()
        rows.append(
            GalleryRow(
                query_images[query].numpy(),
                task.labels(int(targets[query])),
                task.labels(int(predicted[query])),
                [picture(index, column) for index in order[:_GALLERY_IMAGES]],
                [picture(index, column) for index in order[: -_GALLERY_IMAGES - 1 : -1]],
            )
        )
    caption = (
        f"The {len(rows)} test images with the largest loss, and the training images whose removal would raise that "
        f"loss most (helpful) or lower it most (harmful) after {task.training.epochs} epochs of further training, by "
        "the exact derivative. Labels are those the model was trained on."
    )
    return Gallery(rows, caption)
